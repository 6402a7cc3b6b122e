//! Reads for operators, and the one change that operators make besides the moves of the model.

use const_format::formatcp;
use rusqlite::{OptionalExtension as _, Row};

use super::column::{DETACHED, MESSAGE, OPEN, in_states};
use super::{StoreError, TraceStep, Tx};
use crate::model::{Direction, MessageId, Millis, OpenId, State};

/// A message as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MessageSummary {
    /// Its message id.
    pub id: i64,
    /// `waiting`, `held`, `delivered`, `refused` or `unknown`.
    pub state: &'static str,
    /// `to_im` or `to_wechat`.
    pub direction: &'static str,
    /// The customer.
    pub openid: String,
    /// The agent who receives it or wrote it.
    pub agent: Option<String>,
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// The number of attempts made.
    pub attempts: u32,
    /// The reason for its state.
    pub last_error: Option<String>,
}

const SUMMARY_COLUMNS: &str = "id, state, direction, openid, agent, created_at, attempts, last_error";

impl Tx<'_> {
    /// Up to `limit` of the customers' and agents' messages with ids above `after`, in order of id.
    pub fn list(
        &self,
        after: MessageId,
        states: &[State],
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let in_states = in_states(states);
        let sql = format!(
            "SELECT {SUMMARY_COLUMNS} FROM message WHERE id > ?1 AND {MESSAGE} AND {in_states} ORDER BY id LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((after.0, i64::try_from(limit).unwrap_or(i64::MAX)), read_summary)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One message of any kind.
    pub fn message_summary(&self, id: MessageId) -> Result<MessageSummary, StoreError> {
        let sql = formatcp!("SELECT {SUMMARY_COLUMNS} FROM message WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row([id.0], read_summary).optional()?.ok_or(StoreError::NoMessage(id))
    }

    /// All stored messages of a customer, of any kind, in order of id. Retention bounds their
    /// number.
    pub fn messages_of(&self, openid: &OpenId) -> Result<Vec<MessageSummary>, StoreError> {
        let sql = formatcp!("SELECT {SUMMARY_COLUMNS} FROM message WHERE openid = ?1 ORDER BY id");
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([openid.as_str()], read_summary)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The trace steps of a customer's messages, in order. Retention bounds their number.
    pub fn steps(&self, openid: &OpenId) -> Result<Vec<TraceStep>, StoreError> {
        let sql = "SELECT message, at, event, detail, took_ms FROM step WHERE openid = ?1 ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([openid.as_str()], |row| {
            Ok(TraceStep {
                message: row.get::<_, Option<i64>>(0)?.map(MessageId),
                at: Millis(row.get(1)?),
                event: row.get(2)?,
                detail: row.get(3)?,
                took_ms: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes a message that waits for its next attempt due now. Returns whether it did: a message
    /// attached to a passive reply has to wait until that reply is confirmed.
    pub fn make_due(&self, id: MessageId) -> Result<bool, StoreError> {
        let sql = formatcp!("UPDATE message SET due_at = 0 WHERE id = ?1 AND {OPEN} AND {DETACHED}");
        Ok(self.connection.prepare_cached(sql)?.execute([id.0])? > 0)
    }
}

fn read_summary(row: &Row<'_>) -> rusqlite::Result<MessageSummary> {
    Ok(MessageSummary {
        id: row.get(0)?,
        state: row.get::<_, State>(1)?.name(),
        direction: row.get::<_, Direction>(2)?.name(),
        openid: row.get(3)?,
        agent: row.get(4)?,
        created_at: row.get(5)?,
        attempts: row.get(6)?,
        last_error: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Lane, MessageId, MessageKind, Millis, Move, OpenId, OutboundCall};
    use crate::store::{Customer, Head, NewMessage, Settlement, Store, StoreError, StoreLocation};

    fn message(openid: &OpenId) -> NewMessage {
        NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::Message,
            openid: openid.clone(),
            agent: None,
            calls: vec![OutboundCall::TextToCustomer("hello".to_owned())],
            msg_seq: 1,
            msg_random: 1,
            source: "a".to_owned(),
            erase: false,
        }
    }

    #[tokio::test]
    async fn a_customers_messages_and_steps_are_found_and_no_others() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), Metrics::default()).unwrap();
        let (anna, ben) = (OpenId::new("oAnna").unwrap(), OpenId::new("oBen").unwrap());
        store
            .write(move |tx| {
                let mut ids = Vec::new();
                for openid in [&anna, &ben, &anna] {
                    tx.put_customer(&Customer::new(openid.clone()))?;
                    let id = tx.add(&message(openid))?;
                    tx.record_step(openid, Some(id), "custom/send", "45015", Some(12))?;
                    ids.push(id);
                }
                let found: Vec<_> = tx.messages_of(&anna)?.iter().map(|row| row.id).collect();
                assert_eq!(found, [ids[0].0, ids[2].0]);
                let steps = tx.steps(&anna)?;
                assert_eq!(
                    steps.iter().map(|step| step.message).collect::<Vec<_>>(),
                    [Some(ids[0]), Some(ids[2])]
                );
                assert_eq!((steps[0].event.as_str(), steps[0].took_ms), ("custom/send", Some(12)));
                assert_eq!(tx.message_summary(ids[1])?.openid, "oBen");
                assert!(matches!(
                    tx.message_summary(MessageId(99)),
                    Err(StoreError::NoMessage(MessageId(99)))
                ));
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn only_a_message_that_waits_for_its_next_attempt_can_be_made_due() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        store
            .write(move |tx| {
                let id = tx.add(&message(&openid))?;
                tx.record_attempt(id)?;
                let later = Settlement { due_at: tx.now().plus(60_000), ..Settlement::default() };
                tx.settle(id, Move::Requeue, &later)?;
                assert!(matches!(tx.head(&lane)?, Head::NotBefore(_)));
                assert!(tx.make_due(id)?);
                assert!(matches!(tx.head(&lane)?, Head::Ready(_)));
                tx.settle(id, Move::Hold, &Settlement::default())?;
                assert!(!tx.make_due(id)?, "a held message waits for its customer");
                tx.attach(id, 1, "push", Millis(i64::MAX))?;
                assert!(!tx.make_due(id)?, "it is attached to a reply");
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
