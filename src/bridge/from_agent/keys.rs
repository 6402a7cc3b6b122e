//! The keys by which a repeated or recalled message of an agent is recognised. Decides nothing about its content.

use super::Arrival;
use crate::model::{Answer, AnswerId};
use crate::store::{StoreError, Tx};

/// The dedup keys of an agent's message. A callback and the history may spell the message's key
/// differently, so the numbers that are equal in both count too. They count only between a callback
/// and the history; two callbacks are told apart by the key alone.
pub(super) struct DedupKeys {
    /// The key under which the message itself is recorded.
    pub message_key: String,
    numbers_key: String,
}

impl DedupKeys {
    /// The keys of `answer`.
    pub fn of(answer: &Answer) -> Self {
        let Answer { from, to, msg_time, msg_seq, msg_random, .. } = answer;
        let msg_key = format!("{msg_seq}_{msg_random}_{msg_time}");
        Self {
            message_key: message_key(&answer.id()),
            numbers_key: message_key(&AnswerId { from: from.clone(), to: to.clone(), msg_key }),
        }
    }

    /// Whether the message was recalled before it arrived.
    pub fn is_recalled(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        for key in [&self.message_key, &self.numbers_key] {
            if tx.first_reply(&recall_key(key))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn backfill_key(&self) -> String {
        format!("found:{}", self.numbers_key)
    }

    /// Whether the message is already recorded.
    pub fn exist(&self, tx: &Tx<'_>, arrival: Arrival) -> Result<bool, StoreError> {
        let reading_store = match arrival {
            Arrival::Callback => &self.backfill_key(),
            Arrival::History => &self.numbers_key,
        };
        Ok(tx.first_reply(&self.message_key)?.is_some() || tx.first_reply(reading_store)?.is_some())
    }

    /// Records the message.
    pub fn insert(&self, tx: &Tx<'_>, arrival: Arrival) -> Result<(), StoreError> {
        let reading_store = match arrival {
            Arrival::Callback => &self.numbers_key,
            Arrival::History => &self.backfill_key(),
        };
        for key in [&self.message_key, reading_store] {
            if tx.first_reply(key)?.is_none() {
                tx.record_dedup(key, None)?;
            }
        }
        Ok(())
    }
}

/// The dedup key under which an agent's message is recorded.
pub(super) fn message_key(id: &AnswerId) -> String {
    let AnswerId { from, to, msg_key } = id;
    format!("c:{from}:{to}:{msg_key}")
}

/// The dedup key of a recall, from that of its message.
pub(super) fn recall_key(message_key: &str) -> String {
    format!("recall:{message_key}")
}
