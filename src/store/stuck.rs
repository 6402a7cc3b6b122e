//! Messages that get nowhere: the rounds without an answer, the attempts that no longer count, the
//! rows that cannot be read, and the agents' messages that wait for long.

use super::column::{DETACHED, MESSAGE, OPEN, TO_WECHAT, TRANSFER, parse_openid};
use super::position::POSITION;
use super::value::params;
use super::{PendingCall, Settlement, StoreError, Tx};
use crate::model::{Direction, Lane, MessageId, Millis, Move, OpenId};
use const_format::formatcp;

/// An agent's message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingAnswer {
    /// Its message id.
    pub id: MessageId,
    /// The customer.
    pub openid: OpenId,
    /// The last failure of the message, or of the first message of its lane.
    pub why: Option<String>,
}

/// What was told about a message while it was being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its agent recalled it when it could no longer be dropped.
    pub recall_requested: bool,
    /// The agent got a notice that it waits.
    pub wait_noticed: bool,
}

const FIRST_PENDING_ID: &str = formatcp!(
    "SELECT id FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN} ORDER BY {POSITION} LIMIT 1"
);
const FIRST_TRANSFER_ID: &str = formatcp!(
    "SELECT id FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {TRANSFER}
     ORDER BY {POSITION} LIMIT 1"
);

impl Tx<'_> {
    /// The platform neither answered the call nor has it in its history.
    pub fn record_round(&self, id: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET rounds = rounds + 1 WHERE id = ?1";
        self.session.run(sql, params![id.0])?;
        Ok(())
    }

    /// What was told about the message, if it is still as `pending` says: it is pending, and no operator has acted on
    /// it since. If not, the outcome of what was done with `pending` must be dropped.
    pub fn current(&self, pending: &PendingCall) -> Result<Option<Current>, StoreError> {
        let sql = formatcp!(
            "SELECT recall_requested, wait_noticed FROM message WHERE id = ?1 AND {OPEN} AND generation = ?2"
        );
        self.session.one(sql, params![pending.id.0, pending.generation], |row| {
            Ok(Current { recall_requested: row.get(0)?, wait_noticed: row.get(1)? })
        })
    }

    /// Sets a message aside whose stored data cannot be read, so that its lane goes on.
    pub fn set_aside(&self, id: MessageId) -> Result<(), StoreError> {
        let why = "this version cannot read the stored message".to_owned();
        self.settle(id, Move::SetAside, &Settlement { why: Some(why), ..Settlement::default() })?;
        Ok(())
    }

    /// The id of the message at the head of `lane`, without reading the message.
    pub fn head_id(&self, lane: &Lane) -> Result<Option<MessageId>, StoreError> {
        for sql in [FIRST_TRANSFER_ID, FIRST_PENDING_ID] {
            let found = self.session.find(sql, params![lane.direction, lane.customer.as_str()])?;
            if found.is_some() {
                return Ok(found.map(MessageId));
            }
        }
        Ok(None)
    }

    /// Whether the lane of `pending` has another pending message.
    pub fn has_other_pending(&self, pending: &PendingCall) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT EXISTS (SELECT 1 FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND id <> ?3)"
        );
        let Lane { direction, customer } = &pending.lane;
        self.session.value(sql, params![*direction, customer.as_str(), pending.id.0])
    }

    /// Up to `limit` agents' messages that have waited since `before` or longer and whose agent has
    /// not been told, those that wait longest first. Leaves out those attached to a passive reply.
    pub fn long_waiting(&self, before: Millis, limit: u32) -> Result<Vec<WaitingAnswer>, StoreError> {
        let sql = formatcp!(
            "SELECT id, openid, last_error FROM message INDEXED BY message_waiting
             WHERE {OPEN} AND {TO_WECHAT} AND {MESSAGE} AND wait_noticed = 0 AND {DETACHED}
             AND waiting_since <= ?1
             ORDER BY waiting_since, id LIMIT ?2"
        );
        let head_sql = formatcp!(
            "SELECT last_error FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN}
             ORDER BY {POSITION} LIMIT 1"
        );
        let waiting: Vec<(i64, String, Option<String>)> =
            self.session
                .all(sql, params![before.0, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut answers = Vec::with_capacity(waiting.len());
        for (id, openid, own) in waiting {
            let why = match own {
                Some(own) => Some(own),
                None => self.session.find(head_sql, params![Direction::ToWechat, &openid])?.flatten(),
            };
            answers.push(WaitingAnswer { id: MessageId(id), openid: parse_openid(openid)?, why });
        }
        Ok(answers)
    }

    /// Records that the agent gets a notice that the message waits.
    pub fn mark_wait_noticed(&self, id: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET wait_noticed = 1 WHERE id = ?1";
        self.session.run(sql, params![id.0])?;
        Ok(())
    }
}
