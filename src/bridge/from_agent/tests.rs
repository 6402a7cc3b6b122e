use super::*;
use crate::bridge::tests::bridge_with_defaults;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::AnswerPart;
use crate::store::{Head, Store, StoreLocation};

/// Creates a bridge over a store in which `oAnna` is a customer.
async fn bridge_with_anna(store: &Store, clock: &Clock, folder: &std::path::Path) -> Bridge {
    let customer = Customer { known: true, ..Customer::new(OpenId::new("oAnna").unwrap()) };
    store.write(move |tx| tx.put_customer(&customer)).await.unwrap();
    bridge_with_defaults(store, clock, folder).await
}

fn answer(bridge: &Bridge, msg_time: i64, msg_seq: u32) -> Answer {
    Answer {
        from: bridge.agents()[0].clone(),
        to: ImUserId::new("oAnna").unwrap(),
        msg_key: format!("{msg_seq}_2_{msg_time}"),
        msg_time,
        msg_seq,
        msg_random: 2,
        quoted: None,
        parts: vec![AnswerPart::Text(format!("{msg_seq} at {msg_time}"))],
    }
}

/// A read may take long. If one answer waited for a read, the next one, which need not wait,
/// would overtake it.
#[tokio::test]
async fn accepting_an_answer_waits_for_no_read() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let sequence = StoreLocation::File(folder.path().join("bridge.db"));
    let (store, closing) = Store::open(&sequence, clock.clone(), Metrics::default()).unwrap();
    let bridge = bridge_with_anna(&store, &clock, folder.path()).await;
    let (read_started, started) = tokio::sync::oneshot::channel();
    let (end_read, read_ended) = std::sync::mpsc::channel::<()>();
    let mut read_started = Some(read_started);
    let reading_store = store.clone();
    let long_read = tokio::spawn(async move {
        let read = move |_: &Tx<'_>| {
            read_started.take().unwrap().send(()).unwrap();
            read_ended.recv().map_err(|_| StoreError::Closed)
        };
        reading_store.read(read).await
    });
    started.await.unwrap();
    let accepting = bridge.accept_answer(answer(&bridge, 3, 1));
    let accepted = tokio::time::timeout(std::time::Duration::from_secs(10), accepting).await;
    end_read.send(()).unwrap();
    long_read.await.unwrap().unwrap();
    assert_eq!(accepted.unwrap().unwrap(), AnswerOutcome::Accepted);
    closing.close();
}

#[tokio::test]
async fn callbacks_keep_their_order_within_a_second_and_are_put_in_order_beyond() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let (store, closing) =
        Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap();
    let bridge = bridge_with_anna(&store, &clock, folder.path()).await;
    for (msg_time, msg_seq) in [(20, 7), (20, 3), (30, 1), (10, 9), (20, 5)] {
        bridge.accept_answer(answer(&bridge, msg_time, msg_seq)).await.unwrap();
    }
    let lane = Lane { direction: Direction::ToWechat, customer: OpenId::new("oAnna").unwrap() };
    let drain = move |tx: &Tx<'_>| {
        let mut drained = Vec::new();
        while let Head::Ready(call) = tx.head(&lane)? {
            drained.push(call.call);
            tx.settle(call.id, Move::Refuse, &Settlement::default())?;
        }
        Ok(drained)
    };
    let in_order = ["9 at 10", "7 at 20", "3 at 20", "5 at 20", "1 at 30"];
    let in_order = in_order.map(|text| OutboundCall::TextToCustomer(text.to_owned()));
    assert_eq!(store.write(drain).await.unwrap(), in_order);
    closing.close();
}
