//! Conversations as agents see them: the last messages and notes, those that failed, and which agent receives the
//! pending ones.

use const_format::formatcp;

use super::column::{
    ALSO_TO_WECHAT, DEFERRED, FAILED, GIVEN_UP, HELD, MESSAGE, OPEN, QUEUED, SAID, parse_optional_agent,
};
use super::customer::OF_CUSTOMER;
use super::position::POSITION;
use super::session::Row;
use super::value::params;
use super::{Customer, StoreError, Tx};
use crate::model::{Direction, ImUserId, MessageId, MessageKind, Millis, OpenId, OutboundCall, State};

/// A message that a customer or an agent sent earlier, or a note of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    /// [`MessageKind::Message`] or [`MessageKind::Note`].
    pub kind: MessageKind,
    /// The direction in which it was sent.
    pub direction: Direction,
    /// The agent who received it or wrote it.
    pub agent: Option<ImUserId>,
    /// The calls that sent it.
    pub calls: Vec<OutboundCall>,
    /// When it was accepted.
    pub accepted_at: Millis,
}

const PAST_COLUMNS: &str = "kind, direction, agent, calls, created_at";

impl Tx<'_> {
    /// Up to `limit` of the last messages of a conversation that `agent` has not received, and of other agents' notes, in
    /// order. Leaves out messages from before the agent last took the conversation over, refused and
    /// recalled messages, and customers' messages that still wait to be sent.
    pub fn past_messages(
        &self,
        openid: &OpenId,
        agent: &ImUserId,
        limit: u32,
    ) -> Result<Vec<PastMessage>, StoreError> {
        let sql = formatcp!(
            "SELECT {PAST_COLUMNS} FROM
                   (SELECT id, {PAST_COLUMNS} FROM message
                    WHERE {OF_CUSTOMER} AND {SAID} AND agent IS DISTINCT FROM ?2 AND NOT ({GIVEN_UP})
                    AND NOT (direction = ?3 AND state IN (?4, ?7, ?8) AND calls_done = 0)
                    AND id > (SELECT coalesce(max(id), 0) FROM message
                              WHERE {OF_CUSTOMER} AND kind = ?5 AND agent = ?2)
                    ORDER BY id DESC LIMIT ?6) AS last ORDER BY id"
        );
        let values = params![
            openid.as_str(),
            agent.as_str(),
            Direction::ToIm,
            State::Accepted,
            MessageKind::Transfer,
            limit,
            State::Deferred,
            State::Queued,
        ];
        self.session.all(sql, values, read_past_message)
    }

    /// Up to `limit` of the last messages of a customer and of the notes about the customer, in order, whoever has
    /// received them. Leaves out refused and recalled messages, and customers' messages that still wait to be sent.
    pub fn last_messages(&self, openid: &OpenId, limit: u32) -> Result<Vec<PastMessage>, StoreError> {
        let sql = formatcp!(
            "SELECT {PAST_COLUMNS} FROM
                   (SELECT id, {PAST_COLUMNS} FROM message
                    WHERE {OF_CUSTOMER} AND {SAID} AND NOT ({GIVEN_UP})
                    AND NOT (direction = ?2 AND state IN (?3, ?5, ?6) AND calls_done = 0)
                    ORDER BY id DESC LIMIT ?4) AS last ORDER BY id"
        );
        let (waiting, deferred) = (State::Accepted, State::Deferred);
        let values = params![openid.as_str(), Direction::ToIm, waiting, limit, deferred, State::Queued];
        self.session.all(sql, values, read_past_message)
    }

    /// The agent whom the customer's last message went to, or goes to, or who took the conversation over after it. `None`:
    /// there was none.
    pub fn last_agent(&self, openid: &OpenId) -> Result<Option<ImUserId>, StoreError> {
        let sql = formatcp!(
            "SELECT agent FROM message
             WHERE {OF_CUSTOMER} AND +direction = ?2 AND kind IN (?3, ?4) AND agent IS NOT NULL
             ORDER BY id DESC LIMIT 1"
        );
        let values = params![openid.as_str(), Direction::ToIm, MessageKind::Message, MessageKind::Transfer];
        let found = self.session.one(sql, values, |row| parse_optional_agent(row.get(0)?))?;
        Ok(found.flatten())
    }

    /// The note about a customer that an agent wrote in the message with the dedup key `source`, unless it was removed.
    pub fn note_by_source(&self, openid: &OpenId, source: &str) -> Result<Option<MessageId>, StoreError> {
        let sql = formatcp!(
            "SELECT id FROM message
             WHERE {OF_CUSTOMER} AND kind = ?2 AND source = ?3 AND NOT ({GIVEN_UP}) LIMIT 1"
        );
        let found: Option<i64> =
            self.session.find(sql, params![openid.as_str(), MessageKind::Note, source])?;
        Ok(found.map(MessageId))
    }

    /// Up to `limit` of the agents' messages of the customer's present conversation that ended `refused` or `unknown`
    /// after an attempt, in lane order. Leaves out those that their agent recalled, that somebody discarded, and that
    /// were blank: the last two have no attempt.
    pub fn failed_answers(&self, customer: &Customer, limit: u32) -> Result<Vec<MessageId>, StoreError> {
        let sql = formatcp!(
            "SELECT id FROM message WHERE conversation = ?1 AND openid = ?2 AND {ALSO_TO_WECHAT} AND {MESSAGE}
             AND {FAILED} AND attempts > 0 AND recall_requested = 0 ORDER BY {POSITION} LIMIT ?3"
        );
        let values = params![customer.conversation, customer.openid.as_str(), limit];
        self.session.all(sql, values, |row| Ok(MessageId(row.get(0)?)))
    }

    /// Whether the agent has written in the customer's present conversation.
    pub fn has_answered(&self, customer: &Customer, agent: &ImUserId) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT 1 FROM message WHERE conversation = ?1 AND openid = ?2 AND {ALSO_TO_WECHAT} AND {MESSAGE}
             AND agent = ?3 LIMIT 1"
        );
        let values = params![customer.conversation, customer.openid.as_str(), agent.as_str()];
        Ok(self.session.find::<i64>(sql, values)?.is_some())
    }

    /// Reassigns to `agent` all of the customer's pending, deferred and queued messages that are known not to have reached
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
             UNION ALL
             SELECT id, json_array_length(calls), {POSITION} AS at FROM message INDEXED BY message_queued
             WHERE openid = ?2 AND {QUEUED}
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

/// Reads a row of [`PAST_COLUMNS`].
fn read_past_message(row: Row<'_>) -> Result<PastMessage, StoreError> {
    Ok(PastMessage {
        kind: row.get(0)?,
        direction: row.get(1)?,
        agent: parse_optional_agent(row.get(2)?)?,
        calls: serde_json::from_str(row.text(3)?)?,
        accepted_at: Millis(row.get(4)?),
    })
}
