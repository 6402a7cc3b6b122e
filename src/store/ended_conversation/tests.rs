use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Direction, ImUserId, OpenId, OutboundCall};
use crate::store::{Store, testing};

/// Whoever has written at night waits from the opening on, and a record keeps what a later look does not find.
#[tokio::test]
async fn the_night_is_no_waiting_and_what_was_recorded_stays() {
    let clock = Clock::movable();
    let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
    let openid = OpenId::new("oAnna").unwrap();
    let message =
        |direction| testing::message(direction, &openid, OutboundCall::TextToAgent("hello".to_owned()));
    let (question, answer) = (message(Direction::ToIm), message(Direction::ToWechat));
    let (customer, night) = (openid.clone(), question);
    let begun = store.write(move |tx| {
        let agent = Some(ImUserId::new("user1").unwrap());
        let mut customer = Customer { agent, active_at: tx.now(), ..Customer::new(customer.clone()) };
        tx.begin_conversation(&mut customer)?;
        tx.add_deferred(&night, "closed")?;
        Ok((tx.now(), tx.customer(&customer.openid)?.unwrap()))
    });
    let (begun_at, customer) = begun.await.unwrap();
    clock.advance(8 * HOUR_MS);
    let released = openid.clone();
    let agent = ImUserId::new("user1").unwrap();
    store.write(move |tx| tx.release_deferred(&released, &agent)).await.unwrap();
    clock.advance(60_000);
    let of_anna = customer.clone();
    let found = store.write(move |tx| {
        tx.add(&answer)?;
        let all = Silence { from: Millis(0), before: Millis(i64::MAX), again: false };
        let found = tx.silent_conversations(all, 0, 9)?;
        tx.end_conversation(&of_anna, Ending::Agent)?;
        tx.end_conversation(&of_anna, Ending::Agent)?;
        assert_eq!(tx.silent_conversations(all, 0, 9)?, (Vec::new(), None));
        assert_eq!(tx.silent_conversations(Silence { again: true, ..all }, 0, 9)?.0.len(), 0, "it is final");
        let less = ConversationFacts {
            messages_in: 0,
            messages_out: 9,
            first_answer_ms: None,
            ..found.0[0].clone()
        };
        tx.record_ended(&less, Ending::Agent, true)?;
        Ok(found)
    });
    let (found, next) = found.await.unwrap();
    assert_eq!((found.len(), next), (1, None));
    assert_eq!((found[0].begun_at, found[0].messages_in, found[0].messages_out), (begun_at, 1, 1));
    let waited_ms = found[0].first_answer_ms.unwrap();
    assert!((60_000..90_000).contains(&waited_ms), "{waited_ms}");
    let ended = store.write(move |tx| {
        let (ended, next) = tx.ended_conversations((begun_at, 0), 9)?;
        assert_eq!((ended.len(), next), (1, None));
        assert_eq!(tx.count_ended(9)?, ended);
        assert_eq!(tx.count_ended(9)?, []);
        tx.prune_ended(begun_at)?;
        assert_eq!(tx.ended_conversations((Millis(0), 0), 9)?.0.len(), 1);
        tx.prune_ended(begun_at.plus(1))?;
        assert_eq!(tx.ended_conversations((Millis(0), 0), 9)?.0.len(), 0);
        Ok(ended)
    });
    let ended = ended.await.unwrap();
    assert_eq!((ended[0].messages_in, ended[0].messages_out), (1, 9));
    assert_eq!(ended[0].first_answer_ms, Some(waited_ms));
    assert!(ended[0].resolution_ms.unwrap() >= 8 * HOUR_MS + 60_000);
    closing.close();
}
