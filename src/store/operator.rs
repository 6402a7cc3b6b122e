//! Reads for operators, and the one change that operators make besides the moves of the model.

use rusqlite::OptionalExtension as _;

use super::message::{LISTED, listed};
use super::{Listed, Step, StoreError, Tx};
use crate::model::{MessageId, Millis, OpenId};

impl Tx<'_> {
    /// One message of any kind.
    pub fn listed(&self, id: MessageId) -> Result<Listed, StoreError> {
        let sql = format!("SELECT {LISTED} FROM message WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row([id.0], listed).optional()?.ok_or(StoreError::NoMessage(id))
    }

    /// All stored messages of a customer, of any kind, in order of id. Retention bounds their
    /// number.
    pub fn messages_of(&self, openid: &OpenId) -> Result<Vec<Listed>, StoreError> {
        let sql = format!("SELECT {LISTED} FROM message WHERE openid = ?1 ORDER BY id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([openid.as_str()], listed)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The trace steps of a customer's messages, in order. Retention bounds their number.
    pub fn steps(&self, openid: &OpenId) -> Result<Vec<Step>, StoreError> {
        let sql = "SELECT message, at, what, detail, took_ms FROM step WHERE openid = ?1 ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([openid.as_str()], |row| {
            Ok(Step {
                message: row.get::<_, Option<i64>>(0)?.map(MessageId),
                at: Millis(row.get(1)?),
                what: row.get(2)?,
                detail: row.get(3)?,
                took_ms: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes a message that waits for its next attempt due now. Returns whether it did: a message
    /// attached to a passive reply has to wait until that reply is confirmed.
    pub fn due_now(&self, id: MessageId) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET due_at = 0 WHERE id = ?1 AND state IN (0, 1) AND riding = 0";
        Ok(self.connection.prepare_cached(sql)?.execute([id.0])? > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Lane, MessageId, MessageKind, Millis, Move, OpenId, OutboundCall};
    use crate::store::{Customer, Head, NewMessage, Place, Settled, Store, StoreError};

    fn message(openid: &OpenId) -> NewMessage {
        NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::Message,
            openid: openid.clone(),
            agent: None,
            orders: vec![OutboundCall::TextToCustomer("hello".to_owned())],
            msg_seq: 1,
            msg_random: 1,
            source: "a".to_owned(),
            erase: false,
        }
    }

    #[tokio::test]
    async fn a_customers_messages_and_steps_are_found_and_no_others() {
        let (store, closing) = Store::open(&Place::Memory, Clock::system(), Metrics::default()).unwrap();
        let (anna, ben) = (OpenId::new("oAnna").unwrap(), OpenId::new("oBen").unwrap());
        store
            .write(move |tx| {
                let mut ids = Vec::new();
                for openid in [&anna, &ben, &anna] {
                    tx.put_customer(&Customer::new(openid.clone()))?;
                    let id = tx.add(&message(openid))?;
                    tx.step(openid, Some(id), "custom/send", "45015", Some(12))?;
                    ids.push(id);
                }
                let listed: Vec<_> = tx.messages_of(&anna)?.iter().map(|row| row.id).collect();
                assert_eq!(listed, [ids[0].0, ids[2].0]);
                let steps = tx.steps(&anna)?;
                assert_eq!(
                    steps.iter().map(|step| step.message).collect::<Vec<_>>(),
                    [Some(ids[0]), Some(ids[2])]
                );
                assert_eq!((steps[0].what.as_str(), steps[0].took_ms), ("custom/send", Some(12)));
                assert_eq!(tx.listed(ids[1])?.openid, "oBen");
                assert!(matches!(tx.listed(MessageId(99)), Err(StoreError::NoMessage(MessageId(99)))));
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn only_a_wait_for_the_next_attempt_can_be_ended() {
        let (store, closing) = Store::open(&Place::Memory, Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        store
            .write(move |tx| {
                let id = tx.add(&message(&openid))?;
                tx.record_attempt(id)?;
                let later = Settled { due_at: tx.now().plus(60_000), ..Settled::default() };
                tx.settle(id, Move::Requeue, &later)?;
                assert!(matches!(tx.head(&lane)?, Head::NotBefore(_)));
                assert!(tx.due_now(id)?);
                assert!(matches!(tx.head(&lane)?, Head::Ready(_)));
                tx.settle(id, Move::Hold, &Settled::default())?;
                assert!(!tx.due_now(id)?, "a held message waits for its customer");
                tx.ride(id, 1, "push", Millis(i64::MAX))?;
                assert!(!tx.due_now(id)?, "it is attached to a reply");
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
