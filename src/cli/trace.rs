//! `trace`: shows every step of one message, or of all messages of a customer, but never their
//! text.

use super::messages;
use super::output::{Columns, print};
use super::{Error, ErrorWithHint, with_store};
use crate::clock::Clock;
use crate::clock::calendar::utc;
use crate::config::Config;
use crate::model::{MessageId, Millis, OpenId};
use crate::store::{MessageSummary, StoreError, TraceStep, Tx};

/// The stored records of a customer or a message.
#[derive(Debug)]
struct TraceRecords {
    steps: Vec<TraceStep>,
    messages: Vec<MessageSummary>,
}

pub(super) fn run(openid_or_id: &str, config: &Config, clock: &Clock) -> Result<(), Error> {
    let query = openid_or_id.to_owned();
    let found = with_store(config, clock, async |store| {
        Ok(store.read(move |tx| find(tx, &query)).await.map_err(anyhow::Error::from)?)
    })?;
    if let Some(found) = found {
        return print(&render(&found));
    }
    let problem = format!("nothing is stored about {}", openid_or_id.escape_default());
    let hint = "give an openid, or an id that `messages list` shows".to_owned();
    Err(ErrorWithHint { problem, hint }.into())
}

/// Takes a number for a message's id. If there is no such message, takes it for an openid.
fn find(tx: &Tx<'_>, openid_or_id: &str) -> Result<Option<TraceRecords>, StoreError> {
    if let Ok(id) = openid_or_id.parse() {
        match find_message(tx, MessageId(id)) {
            Err(StoreError::NoMessage(_)) => {}
            found => return found,
        }
    }
    let Ok(openid) = OpenId::new(openid_or_id) else { return Ok(None) };
    let (steps, messages) = (tx.steps(&openid)?, tx.messages_of(&openid)?);
    let known = tx.customer(&openid)?.is_some_and(|customer| customer.known);
    let is_known = known || !steps.is_empty() || !messages.is_empty();
    Ok(is_known.then_some(TraceRecords { steps, messages }))
}

fn find_message(tx: &Tx<'_>, id: MessageId) -> Result<Option<TraceRecords>, StoreError> {
    let listed = tx.message_summary(id)?;
    let mut steps = tx.steps(&tx.lane_of(id)?.customer)?;
    steps.retain(|step| step.message == Some(id));
    Ok(Some(TraceRecords { steps, messages: vec![listed] }))
}

fn render(found: &TraceRecords) -> String {
    const HEADER: [&str; 5] = ["TIME", "MESSAGE", "STEP", "TOOK", "OUTCOME"];
    let accepted = found.messages.iter().map(|message| TraceStep {
        message: Some(MessageId(message.id)),
        at: Millis(message.created_at),
        event: "accepted".to_owned(),
        detail: message.direction.to_owned(),
        took_ms: None,
    });
    let mut steps: Vec<TraceStep> = accepted.chain(found.steps.iter().cloned()).collect();
    // The sort is stable: steps of the same millisecond stay in the order in which they were
    // recorded.
    steps.sort_by_key(|step| step.at);
    let rows: Vec<_> = steps.into_iter().map(cells).collect();
    let columns = Columns::fitting(HEADER, &rows);
    let mut text = columns.table(HEADER, &rows);
    if !found.messages.is_empty() {
        let rows: Vec<_> = found.messages.iter().map(messages::row).collect();
        let columns = Columns::fitting(messages::HEADER, &rows);
        text.push('\n');
        text.push_str(&columns.line(messages::HEADER));
        text.push_str(&columns.lines(&rows));
    }
    text
}

fn cells(step: TraceStep) -> [String; 5] {
    [
        utc(step.at),
        step.message.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        step.event,
        step.took_ms.map_or_else(|| "-".to_owned(), |took| format!("{took} ms")),
        step.detail,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Move, OutboundCall};
    use crate::store::{Customer, Settlement, Store, testing};

    #[tokio::test]
    async fn a_trace_shows_each_step_and_the_state_of_each_message() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        store
            .write(move |tx| {
                tx.put_customer(&Customer::new(openid.clone()))?;
                tx.record_step(&openid, None, "subscribe", "event", None)?;
                let mut ids = Vec::new();
                for _ in 0..2 {
                    ids.push(tx.add(&testing::message(
                        Direction::ToIm,
                        &openid,
                        OutboundCall::TextToAgent("private words".to_owned()),
                    ))?);
                }
                tx.record_attempt_at(ids[0])?;
                tx.record_step(&openid, Some(ids[0]), "sendmsg", "delivered", Some(35))?;
                tx.settle(ids[0], Move::Deliver, &Settlement::default())?;

                let all = render(&find(tx, "oAnna")?.unwrap());
                assert_eq!(all.lines().count(), 1 + 4 + 1 + 3, "{all}");
                for part in ["subscribe", "accepted", "sendmsg", "35 ms", "waiting"] {
                    assert!(all.contains(part), "{part} is not in\n{all}");
                }
                let one = render(&find(tx, &ids[0].to_string())?.unwrap());
                assert_eq!(one.lines().count(), 1 + 2 + 1 + 2, "{one}");
                assert!(one.contains("sendmsg") && !one.contains("subscribe"), "{one}");
                assert!(!all.contains("private") && !one.contains("private"));
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn nothing_is_found_about_unknown_and_erased_customers() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        store
            .write(move |tx| {
                tx.put_customer(&Customer::new(openid.clone()))?;
                assert!(find(tx, "oAnna")?.is_some());
                tx.forget_customer(&openid)?;
                for unknown in ["oAnna", "oBen", "17", "not an openid", ""] {
                    assert!(find(tx, unknown)?.is_none(), "{unknown}");
                }
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
