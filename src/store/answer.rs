//! Agents' messages as IM's later events name them: found by their key, recalled, edited.

use super::column::{ALSO_TO_WECHAT, TO_WECHAT, parse_openid, parse_optional_agent};
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, MessageId, Millis, OpenId, OutboundCall, State};
use const_format::formatcp;

/// An agent's message, as far as a recall or an edit depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnswer {
    /// The message.
    pub id: MessageId,
    /// The customer it is for.
    pub openid: OpenId,
    /// The agent who wrote it.
    pub agent: Option<ImUserId>,
    /// Its state.
    pub state: State,
    /// Some of its calls were made: the customer has a part of it.
    pub has_begun: bool,
    /// Its agent recalled it when it could no longer be dropped.
    pub recall_requested: bool,
    /// The hash of the elements that its agent sent last; empty if it is not known.
    pub content_hash: String,
    /// IM's time of its last edit; 0 if it was never edited.
    pub edited_at: Millis,
    /// All its calls.
    pub calls: Vec<OutboundCall>,
}

const ANSWER_COLUMNS: &str =
    "id, openid, agent, state, calls_done > 0, recall_requested, content_hash, edited_at, calls";

impl Tx<'_> {
    /// The agent's message that was accepted under the dedup key `source`.
    pub fn answer_by_source(&self, source: &str) -> Result<Option<StoredAnswer>, StoreError> {
        let sql = formatcp!("SELECT {ANSWER_COLUMNS} FROM message WHERE source = ?1 AND {TO_WECHAT} LIMIT 1");
        self.session.one(sql, params![source], read_answer)
    }

    /// The agent's message with this id.
    pub fn answer(&self, id: MessageId) -> Result<Option<StoredAnswer>, StoreError> {
        let sql = formatcp!("SELECT {ANSWER_COLUMNS} FROM message WHERE id = ?1 AND {ALSO_TO_WECHAT}");
        self.session.one(sql, params![id.0], read_answer)
    }

    /// Records the hash of what an agent sent, and IM's time of the edit; 0 for the first version.
    pub fn set_content_hash(&self, id: MessageId, hash: &str, edited_at: Millis) -> Result<(), StoreError> {
        let sql = "UPDATE message SET content_hash = ?2, edited_at = ?3 WHERE id = ?1";
        self.session.run(sql, params![id.0, hash, edited_at.0])?;
        Ok(())
    }

    /// Replaces all calls of a message of which nothing has been sent.
    pub fn replace_calls(&self, id: MessageId, calls: &[OutboundCall]) -> Result<(), StoreError> {
        let sql = "UPDATE message SET calls = ?2 WHERE id = ?1 AND calls_done = 0";
        self.session.run(sql, params![id.0, &serde_json::to_string(calls)?])?;
        Ok(())
    }

    /// Records that the agent recalled a message that may be leaving or have left. [`Tx::settle`] drops it if it
    /// turns out not to have left.
    pub fn request_recall(&self, id: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET recall_requested = 1 WHERE id = ?1";
        self.session.run(sql, params![id.0])?;
        Ok(())
    }

    /// Whether the agent recalled the message when it could no longer be dropped. `false` for a message that is not
    /// stored.
    pub fn is_recall_requested(&self, id: MessageId) -> Result<bool, StoreError> {
        let sql = "SELECT recall_requested FROM message WHERE id = ?1";
        let found: Option<bool> = self.session.find(sql, params![id.0])?;
        Ok(found.unwrap_or(false))
    }
}

fn read_answer(row: Row<'_>) -> Result<StoredAnswer, StoreError> {
    Ok(StoredAnswer {
        id: MessageId(row.get(0)?),
        openid: parse_openid(row.get(1)?)?,
        agent: parse_optional_agent(row.get(2)?)?,
        state: row.get(3)?,
        has_begun: row.get(4)?,
        recall_requested: row.get(5)?,
        content_hash: row.get(6)?,
        edited_at: Millis(row.get(7)?),
        calls: serde_json::from_str(row.text(8)?)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Move, OpenId, OutboundCall, State};
    use crate::store::{Settlement, Store, testing};

    #[tokio::test]
    async fn a_message_that_is_recalled_while_it_is_being_sent_is_not_sent_again() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let message = testing::message(
            Direction::ToWechat,
            &OpenId::new("oA").unwrap(),
            OutboundCall::TextToCustomer("hello".to_owned()),
        );
        for (transition, expected) in [
            (Move::Requeue, State::Recalled),
            (Move::Hold, State::Recalled),
            (Move::Deliver, State::Delivered),
            (Move::MarkUnknown, State::Unknown),
            (Move::Refuse, State::Refused),
        ] {
            let message = message.clone();
            let ended = store.write(move |tx| {
                let id = tx.add(&message)?;
                tx.record_attempt_at(id)?;
                tx.request_recall(id)?;
                tx.settle(id, transition, &Settlement::default())
            });
            assert_eq!(ended.await.unwrap(), expected, "{transition:?}");
        }
        closing.close();
    }
}
