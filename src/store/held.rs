//! Held answers: they wait for their customer, are attached to passive replies, or are released to
//! be pushed.

use const_format::formatcp;

use super::column::{ACCEPTED, ATTACHED, HELD, NOTICE, OPEN, SENDING, parse_optional_agent};
use super::position::POSITION;
use super::session::Row;
use super::value::params;
use super::{AttachState, Settlement, StoreError, Tx};
use crate::model::{Direction, ImUserId, MessageId, Millis, Move, OpenId, OutboundCall};

/// A held answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAnswer {
    /// Its message id.
    pub id: MessageId,
    /// The agent who wrote it.
    pub agent: Option<ImUserId>,
    /// The calls that are still to be made.
    pub calls: Vec<OutboundCall>,
    /// It was accepted before the backfill of its conversation: earlier answers may still be
    /// missing.
    pub before_backfill: bool,
}

/// An answer that was attached to a passive reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedAnswer {
    /// Its message id.
    pub id: MessageId,
    /// When it was accepted.
    pub created_at: Millis,
    /// The reply contained all of its remaining calls; none is left for a later reply.
    pub is_complete: bool,
    /// Its agent recalled it while it was attached.
    pub recall_requested: bool,
}

impl Tx<'_> {
    /// Up to `limit` of the customer's held answers, in lane order. Sets those aside that cannot be
    /// read.
    pub fn held(&self, openid: &OpenId, limit: u32) -> Result<Vec<HeldAnswer>, StoreError> {
        let sql = formatcp!(
            "SELECT id, agent, calls, calls_done, before_backfill FROM message INDEXED BY message_held
             WHERE openid = ?1 AND {HELD} ORDER BY {POSITION} LIMIT ?2"
        );
        let mut unreadable = Vec::new();
        let held =
            self.session.all(sql, params![openid.as_str(), limit], |row| match read_held_answer(row) {
                Err(error) if error.is_unreadable() => {
                    unreadable.push(MessageId(row.get(0)?));
                    Ok(None)
                }
                answer => answer.map(Some),
            })?;
        // It could never be released, and those behind it would wait with it.
        unreadable.into_iter().try_for_each(|id| self.set_aside(id))?;
        Ok(held.into_iter().flatten().collect())
    }

    /// Attaches the next `count` calls of a held answer to the reply to the push `key`. If the
    /// reply is not confirmed by then, the outbox settles the message at `until`.
    pub fn attach(&self, id: MessageId, count: u32, key: &str, until: Millis) -> Result<(), StoreError> {
        let state = self.state(id)?.after(Move::Attempt)?;
        let sql = "UPDATE message SET state = ?2, attempts = attempts + 1, attempt_at = ?3, due_at = ?4,
                   attached = ?5, attached_to = ?6, attached_calls = ?7 WHERE id = ?1";
        self.session
            .run(sql, params![id.0, state, self.now.0, until.0, AttachState::MaybeSent, key, count,])?;
        Ok(())
    }

    /// Splits the rest of a held answer again: `calls` replaces the calls that are still to be
    /// made.
    pub fn resplit(&self, id: MessageId, calls: &[OutboundCall]) -> Result<(), StoreError> {
        let sql = "SELECT calls, calls_done FROM message WHERE id = ?1";
        let done = self.session.one(sql, params![id.0], |row| {
            let all: Vec<OutboundCall> = serde_json::from_str(row.text(0)?)?;
            Ok(all.into_iter().take(row.get::<u32>(1)? as usize).collect())
        })?;
        let mut all: Vec<OutboundCall> = done.ok_or(StoreError::NoMessage(id))?;
        all.extend_from_slice(calls);
        self.session.run(
            "UPDATE message SET calls = ?2 WHERE id = ?1",
            params![id.0, &serde_json::to_string(&all)?],
        )?;
        Ok(())
    }

    /// Whether answers are attached to a reply that is not yet confirmed.
    pub fn has_attached(&self, openid: &OpenId) -> Result<bool, StoreError> {
        // Only pending messages are attached. OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "SELECT EXISTS (SELECT 1 FROM message
                   WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {ATTACHED})"
        );
        self.session.value(sql, params![Direction::ToWechat, openid.as_str()])
    }

    /// How many held answers come before the first pending one in the lane: all of them if none is pending.
    pub fn count_held_before_pending(&self, openid: &OpenId) -> Result<u32, StoreError> {
        let first_pending = formatcp!(
            "SELECT {POSITION} FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN}
             ORDER BY {POSITION} LIMIT 1"
        );
        let first_pending: Option<i64> =
            self.session.find(first_pending, params![Direction::ToWechat, openid.as_str()])?;
        let sql = formatcp!(
            "SELECT count(*) FROM message INDEXED BY message_held
             WHERE openid = ?1 AND {HELD} AND {POSITION} < ?2"
        );
        self.session.value(sql, params![openid.as_str(), first_pending.unwrap_or(i64::MAX)])
    }

    /// Whether held answers come before message `id` in the lane.
    pub fn has_held_before(&self, openid: &OpenId, id: MessageId) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY message_held WHERE openid = ?1 AND {HELD}
             AND {POSITION} < (SELECT {POSITION} FROM message WHERE id = ?2))"
        );
        self.session.value(sql, params![openid.as_str(), id.0])
    }

    /// The reply to the push `key` is about to be sent again, so the answers attached to it wait
    /// until `until`. Returns whether there are any.
    pub fn reattach(&self, openid: &OpenId, key: &str, until: Millis) -> Result<bool, StoreError> {
        // OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "UPDATE message SET attached = ?4, due_at = ?5
                   WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {SENDING} AND attached_to = ?3"
        );
        let changed = self
            .session
            .run(sql, params![Direction::ToWechat, openid.as_str(), key, AttachState::MaybeSent, until.0,])?;
        Ok(changed > 0)
    }

    /// The reply to the push `key` was sent: the calls attached to it are delivered. A message with
    /// calls left makes the move `rest`: it is held, or goes on by itself. Returns the answers that
    /// were attached.
    pub fn settle_sent_reply(
        &self,
        openid: &OpenId,
        key: &str,
        rest_move: Move,
    ) -> Result<Vec<AttachedAnswer>, StoreError> {
        // OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "SELECT id, created_at, json_array_length(calls) <= calls_done + attached_calls, attached_calls,
                    recall_requested FROM message
             WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {SENDING} AND attached_to = ?3
             ORDER BY {POSITION}"
        );
        let answers = self.session.all(sql, params![Direction::ToWechat, openid.as_str(), key], |row| {
            let attached = AttachedAnswer {
                id: MessageId(row.get(0)?),
                created_at: Millis(row.get(1)?),
                is_complete: row.get(2)?,
                recall_requested: row.get(4)?,
            };
            Ok((attached, row.get::<u32>(3)?))
        })?;
        for (answer, count) in &answers {
            self.session.run(
                "UPDATE message SET calls_done = calls_done + ?2 WHERE id = ?1",
                params![answer.id.0, *count],
            )?;
            let transition = if answer.is_complete { Move::Deliver } else { rest_move };
            self.settle(answer.id, transition, &Settlement::default())?;
        }
        Ok(answers.into_iter().map(|(answer, _)| answer).collect())
    }

    /// Pushes nothing to the customer before `until`. Stores nothing for a customer who left.
    pub fn set_push_not_before(&self, openid: &OpenId, until: Millis) -> Result<(), StoreError> {
        let sql = "UPDATE customer SET push_not_before = ?2 WHERE openid = ?1 AND known = 1";
        self.session.run(sql, params![openid.as_str(), until.0])?;
        Ok(())
    }

    /// No message is pushed to the customer before this time; it may be in the past.
    pub fn push_not_before(&self, openid: &OpenId) -> Result<Millis, StoreError> {
        let sql = "SELECT push_not_before FROM customer WHERE openid = ?1";
        Ok(Millis(self.session.find(sql, params![openid.as_str()])?.unwrap_or_default()))
    }

    /// The reply to the push `key` was not sent. WeChat may still repeat the push and receive it
    /// then.
    pub fn mark_reply_not_sent(&self, openid: &OpenId, key: &str) -> Result<(), StoreError> {
        // OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "UPDATE message SET attached = ?4
                   WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {SENDING} AND attached_to = ?3"
        );
        self.session.run(sql, params![Direction::ToWechat, openid.as_str(), key, AttachState::NotSent,])?;
        Ok(())
    }

    /// Records that the agent gets a notice that this message is held. Returns whether it is the
    /// first.
    pub fn mark_held_noticed(&self, id: MessageId) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET hold_noticed = 1 WHERE id = ?1 AND hold_noticed = 0";
        Ok(self.session.run(sql, params![id.0])? > 0)
    }

    /// Merges another notice to this agent into a pending one that has had no attempt yet. `merge`
    /// returns the merged calls, or `None` if they are too long for one notice. Returns whether it
    /// merged.
    pub fn merge_notice(
        &self,
        openid: &OpenId,
        agent: &ImUserId,
        merge: impl Fn(&[OutboundCall]) -> Option<Vec<OutboundCall>>,
    ) -> Result<bool, StoreError> {
        // OPEN lets SQLite use the partial index message_open.
        let sql = formatcp!(
            "SELECT id, calls FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN}
             AND {ACCEPTED} AND {NOTICE} AND attempts = 0 AND calls_done = 0 AND agent = ?3 ORDER BY {POSITION} DESC LIMIT 1"
        );
        let values = params![Direction::ToIm, openid.as_str(), agent.as_str()];
        let notice = self.session.one(sql, values, |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?)))?;
        let Some((id, calls)) = notice else { return Ok(false) };
        // A notice that cannot be read is left to its lane.
        let Some(merged) =
            serde_json::from_str::<Vec<OutboundCall>>(&calls).ok().and_then(|calls| merge(&calls))
        else {
            return Ok(false);
        };
        self.session.run(
            "UPDATE message SET calls = ?2 WHERE id = ?1",
            params![id, &serde_json::to_string(&merged)?],
        )?;
        Ok(true)
    }
}

fn read_held_answer(row: Row<'_>) -> Result<HeldAnswer, StoreError> {
    let calls: Vec<OutboundCall> = serde_json::from_str(row.text(2)?)?;
    Ok(HeldAnswer {
        id: MessageId(row.get(0)?),
        agent: parse_optional_agent(row.get(1)?)?,
        calls: calls.into_iter().skip(row.get::<u32>(3)? as usize).collect(),
        before_backfill: row.get(4)?,
    })
}
