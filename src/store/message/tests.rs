use super::*;
use crate::clock::Clock;
use crate::model::OpenId;
use crate::store::{NewMessage, Store, testing};

#[tokio::test]
async fn a_due_time_beyond_the_longest_wait_is_ignored() {
    let (store, closing) =
        Store::open(&testing::location(), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
    let message = NewMessage {
        kind: MessageKind::Account,
        ..testing::message(lane.direction, &lane.customer, OutboundCall::ImportAccount)
    };
    for (wait_ms, is_ready) in [(0, true), (3_600_000, false), (24 * 3_600_000, true)] {
        let (lane, message) = (lane.clone(), message.clone());
        let ready = store.write(move |tx| {
            if wait_ms == 0 {
                tx.add(&message)?;
            }
            let Head::Ready(pending) = tx.head(&lane)? else { panic!("it is not ready at first") };
            tx.postpone(pending.id, tx.now().plus(wait_ms), "busy")?;
            let ready = matches!(tx.head(&lane)?, Head::Ready(_));
            tx.postpone(pending.id, Millis(0), "busy")?;
            Ok(ready)
        });
        assert_eq!(ready.await.unwrap(), is_ready, "due in {wait_ms} ms");
    }
    closing.close();
}
