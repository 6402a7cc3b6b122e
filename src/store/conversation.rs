//! Conversations as agents see them: the last messages, and which agent receives the pending ones.

use const_format::formatcp;

use super::column::{DEFERRED, GIVEN_UP, HELD, OPEN};
use super::customer::OF_CUSTOMER;
use super::position::POSITION;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Direction, ImUserId, MessageKind, Millis, OpenId, OutboundCall, State};

/// A message that a customer or an agent sent earlier.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    /// The direction in which it was sent.
    pub direction: Direction,
    /// The agent who received it or wrote it.
    pub agent: Option<ImUserId>,
    /// The calls that sent it.
    pub calls: Vec<OutboundCall>,
    /// When it was accepted.
    pub accepted_at: Millis,
}

impl Tx<'_> {
    /// Up to `limit` of the last messages of a conversation that `agent` has not received, in
    /// order. Leaves out messages from before the agent last took the conversation over, refused and
    /// recalled messages, and customers' messages that still wait to be sent.
    pub fn past_messages(
        &self,
        openid: &OpenId,
        agent: &ImUserId,
        limit: u32,
    ) -> Result<Vec<PastMessage>, StoreError> {
        let sql = formatcp!(
            "SELECT direction, agent, calls, created_at FROM
                   (SELECT id, direction, agent, calls, created_at FROM message
                    WHERE {OF_CUSTOMER} AND kind = ?2 AND agent IS DISTINCT FROM ?3 AND NOT ({GIVEN_UP})
                    AND NOT (direction = ?4 AND state IN (?5, ?8) AND calls_done = 0)
                    AND id > (SELECT coalesce(max(id), 0) FROM message
                              WHERE {OF_CUSTOMER} AND kind = ?6 AND agent = ?3)
                    ORDER BY id DESC LIMIT ?7) AS last ORDER BY id"
        );
        let values = params![
            openid.as_str(),
            MessageKind::Message,
            agent.as_str(),
            Direction::ToIm,
            State::Accepted,
            MessageKind::Transfer,
            limit,
            State::Deferred,
        ];
        self.session.all(sql, values, |row| {
            Ok(PastMessage {
                direction: row.get(0)?,
                agent: super::column::parse_optional_agent(row.get(1)?)?,
                calls: serde_json::from_str(row.text(2)?)?,
                accepted_at: Millis(row.get(3)?),
            })
        })
    }

    /// Reassigns to `agent` all of the customer's pending and deferred messages that are known not to have reached
    /// any agent, in order, and numbers them from `next_seq` on: in a conversation that is new to
    /// the agent, they must come after the history shown there. Returns the next free `MsgSeq`.
    pub fn reassign_pending(
        &self,
        openid: &OpenId,
        agent: &ImUserId,
        next_seq: u32,
    ) -> Result<u32, StoreError> {
        // OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "SELECT id, json_array_length(calls), {POSITION} AS at FROM message
             WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND state = ?3 AND kind = ?4 AND calls_done = 0
             UNION ALL
             SELECT id, json_array_length(calls), {POSITION} AS at FROM message INDEXED BY message_deferred
             WHERE openid = ?2 AND {DEFERRED}
             ORDER BY at"
        );
        let values = params![Direction::ToIm, openid.as_str(), State::Accepted, MessageKind::Message];
        let pending: Vec<(i64, u32)> = self.session.all(sql, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let update = "UPDATE message SET agent = ?2, seq = ?3 WHERE id = ?1";
        let mut seq = next_seq;
        for (id, call_count) in pending {
            self.session.run(update, params![id, agent.as_str(), seq])?;
            seq = seq.wrapping_add(call_count);
        }
        Ok(seq)
    }

    /// The number of held answers to the customer.
    pub fn count_held(&self, openid: &OpenId) -> Result<u32, StoreError> {
        let sql =
            formatcp!("SELECT count(*) FROM message INDEXED BY message_held WHERE openid = ?1 AND {HELD}");
        self.session.value(sql, params![openid.as_str()])
    }
}
