//! Trace steps: what happened to a customer's messages, attempt by attempt.
//!
//! The step of a delivery that has nothing to tell but its duration has no row: the message has what it says.

use const_format::formatcp;

use super::customer::OF_CUSTOMER;
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MessageId, Millis, OpenId, OutboundCall, State};

/// A trace step: one event in the life of a customer's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The message; `None` if the step is about no single message.
    pub message: Option<MessageId>,
    /// When it happened.
    pub at: Millis,
    /// `accepted`, the name of a call, `settled` and so on.
    pub event: String,
    /// The outcome: a code or a reason; no message content, no secrets.
    pub detail: String,
    /// The duration in milliseconds, if it was measured.
    pub took_ms: Option<i64>,
}

impl Tx<'_> {
    /// Records a trace step. Stores nothing for a customer who is not known.
    pub fn record_step(
        &self,
        openid: &OpenId,
        message: Option<MessageId>,
        event: &str,
        detail: &str,
        took_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let (event, detail) = (event.to_owned(), detail.to_owned());
        self.insert_step(openid, &TraceStep { message, at: self.now, event, detail, took_ms })
    }

    fn insert_step(&self, openid: &OpenId, step: &TraceStep) -> Result<(), StoreError> {
        let sql = "INSERT INTO step (openid, message, at, event, detail, took_ms)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM customer WHERE openid = ?1 AND known = 1";
        let message = step.message.map(|id| id.0);
        let values = params![openid.as_str(), message, step.at.0, &step.event, &step.detail, step.took_ms];
        self.session.run(sql, values)?;
        Ok(())
    }

    /// The trace steps of a customer's messages, in order. Retention bounds their number.
    pub fn steps(&self, openid: &OpenId) -> Result<Vec<TraceStep>, StoreError> {
        let sql = "SELECT message, at, event, detail, took_ms FROM step WHERE openid = ?1 ORDER BY id";
        let mut steps = self.session.all(sql, params![openid.as_str()], |row| {
            Ok(TraceStep {
                message: row.get::<Option<i64>>(0)?.map(MessageId),
                at: Millis(row.get(1)?),
                event: row.get(2)?,
                detail: row.get(3)?,
                took_ms: row.get(4)?,
            })
        })?;
        let sql = formatcp!(
            "SELECT id, settled_at, took_ms, calls FROM message
             WHERE {OF_CUSTOMER} AND took_ms IS NOT NULL ORDER BY id"
        );
        steps.extend(self.session.all(sql, params![openid.as_str()], read_delivery)?);
        // The sort is stable: steps of the same millisecond stay in the order in which they were recorded.
        steps.sort_by_key(|step| step.at);
        Ok(steps)
    }

    /// Records the step of a delivery that only its message has, because the message is about to lose it.
    pub(super) fn keep_delivery_step(&self, id: MessageId) -> Result<(), StoreError> {
        let sql = "SELECT id, settled_at, took_ms, calls FROM message WHERE id = ?1 AND took_ms IS NOT NULL";
        let Some(step) = self.session.one(sql, params![id.0], read_delivery)? else { return Ok(()) };
        self.insert_step(&self.lane_of(id)?.customer, &step)
    }
}

/// The step of a delivery, from its message: id, `settled_at`, `took_ms`, calls.
fn read_delivery(row: Row<'_>) -> Result<TraceStep, StoreError> {
    // A trace must show what it can: the calls of another version have no name here.
    let calls: Vec<OutboundCall> = serde_json::from_str(row.text(3)?).unwrap_or_default();
    Ok(TraceStep {
        message: Some(MessageId(row.get(0)?)),
        at: Millis(row.get(1)?),
        event: calls.last().map_or("send", OutboundCall::api_name).to_owned(),
        detail: State::Delivered.name().to_owned(),
        took_ms: row.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Move, OpenId, OutboundCall};
    use crate::store::{Customer, Settlement, Store, testing};

    #[tokio::test]
    async fn a_plain_delivery_is_a_step_without_a_row_and_stays_one_when_it_is_repeated() {
        let clock = Clock::movable();
        let (store, closing) =
            Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let deliver = |took_ms: i64| {
            let openid = openid.clone();
            move |tx: &crate::store::Tx<'_>| {
                tx.put_customer(&Customer::new(openid.clone()))?;
                let id = match tx.messages_of(&openid)?.first() {
                    Some(message) => crate::model::MessageId(message.id),
                    None => tx.add(&testing::message(
                        Direction::ToIm,
                        &openid,
                        OutboundCall::TextToAgent("hello".to_owned()),
                    ))?,
                };
                tx.record_attempt_at(id)?;
                let plain = Settlement { took_ms: Some(took_ms), ..Settlement::default() };
                tx.settle(id, Move::Deliver, &plain)?;
                Ok(id)
            }
        };
        let id = store.write(deliver(35)).await.unwrap();
        clock.advance(1_000);
        store.write(move |tx| tx.act_as_operator(id, Move::Reopen, None)).await.unwrap();
        clock.advance(1_000);
        store.write(deliver(7)).await.unwrap();
        let steps = store.read(move |tx| tx.steps(&openid)).await.unwrap();
        let shown: Vec<_> =
            steps.iter().map(|step| (step.event.as_str(), step.detail.as_str(), step.took_ms)).collect();
        assert_eq!(shown, [("sendmsg", "delivered", Some(35)), ("sendmsg", "delivered", Some(7))]);
        assert!(steps[1].at.since(steps[0].at) >= 2_000, "{steps:?}");
        closing.close();
    }
}
