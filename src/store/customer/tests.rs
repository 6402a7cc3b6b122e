use super::HOUR_MS;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Direction, ImUserId, Millis, Move, OpenId, OutboundCall};
use crate::store::value::params;
use crate::store::{Closing, Customer, NewMessage, Settlement, Store, StoreError, testing};

fn open(clock: &Clock) -> (Store, Closing) {
    Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap()
}

fn question(openid: &OpenId) -> NewMessage {
    testing::message(Direction::ToIm, openid, OutboundCall::ImportAccount)
}

#[tokio::test]
async fn a_customer_is_read_as_it_was_stored() {
    let (store, closing) =
        Store::open(&crate::store::testing::location(), Clock::system(), Metrics::default()).unwrap();
    let mut customer = Customer::new(OpenId::new("oA").unwrap());
    customer.agent = Some(ImUserId::new("user1").unwrap());
    customer.number = 3;
    customer.known_since = Millis(1_600_000_000_000);
    customer.next_seq = u32::MAX;
    customer.message_until = Millis(1_700_000_000_000);
    customer.message_left = 5;
    customer.group = Some("Sales".to_owned());
    let stored = customer.clone();
    store.write(move |tx| tx.put_customer(&stored)).await.unwrap();
    let openid = customer.openid.clone();
    let read = store.read(move |tx| tx.customer(&openid)).await.unwrap().unwrap();
    customer.conversation = read.conversation;
    assert!(read.conversation > 0);
    assert_eq!(read, customer);
    closing.close();
}

fn customer_of(name: &str) -> Customer {
    Customer { agent: Some(ImUserId::new("user1").unwrap()), ..Customer::new(OpenId::new(name).unwrap()) }
}

#[tokio::test]
async fn a_new_conversation_goes_on_with_all_that_the_last_one_had() {
    let clock = Clock::movable();
    let (store, closing) = open(&clock);
    store
        .write(|tx| {
            let mut customer = Customer { next_seq: 7, message_left: 3, ..customer_of("oA") };
            customer.active_at = tx.now();
            tx.begin_conversation(&mut customer)?;
            let first = tx.add(&question(&customer.openid))?;
            let old = customer.conversation;
            tx.begin_conversation(&mut customer)?;
            let second = tx.add(&question(&customer.openid))?;
            assert_ne!(customer.conversation, old);
            assert_eq!(tx.customer(&customer.openid)?, Some(customer.clone()));
            let all: Vec<i64> = tx.messages_of(&customer.openid)?.iter().map(|message| message.id).collect();
            assert_eq!(all, [first.0, second.0]);
            // Nobody's, because no such customer is stored.
            let stray = tx.add(&question(&OpenId::new("oB").unwrap()))?;
            assert_eq!(tx.messages_of(&OpenId::new("oB").unwrap())?[0].id, stray.0);
            assert_eq!(tx.messages_of(&customer.openid)?.len(), 2);
            Ok(())
        })
        .await
        .unwrap();
    closing.close();
}

#[tokio::test]
async fn a_conversation_goes_when_it_is_over_and_empty_and_only_then() {
    let clock = Clock::movable();
    let (store, closing) = open(&clock);
    store
        .write(|tx| {
            let (mut anna, mut ben) = (customer_of("oA"), customer_of("oB"));
            tx.begin_conversation(&mut anna)?;
            let kept = tx.add(&question(&anna.openid))?;
            tx.begin_conversation(&mut anna)?;
            tx.begin_conversation(&mut ben)?;
            tx.begin_conversation(&mut anna)?;
            let count = || tx.session.value::<i64>("SELECT count(*) FROM conversation", params![]);
            let prune = || {
                let mut after = Some(0);
                while let Some(from) = after {
                    after = tx.prune_conversations(from, 2)?;
                }
                Ok::<_, StoreError>(())
            };
            // With a message, empty, present; present.
            assert_eq!(count()?, 4);
            prune()?;
            assert_eq!(count()?, 3);
            tx.settle(kept, Move::Refuse, &Settlement::default())?;
            prune()?;
            assert_eq!(count()?, 3);
            tx.forget_customer(&anna.openid)?;
            assert_eq!(count()?, 2);
            let former = tx.customer(&anna.openid)?.unwrap();
            assert_eq!((former.known, former.agent, former.next_seq), (false, None, anna.next_seq));
            tx.set_account(&anna.openid, 0, false)?;
            assert_eq!((count()?, tx.customer(&anna.openid)?), (1, None));
            assert_eq!(tx.customer(&ben.openid)?, Some(ben));
            Ok(())
        })
        .await
        .unwrap();
    closing.close();
}

#[tokio::test]
async fn agents_have_the_conversations_that_were_active_lately() {
    let clock = Clock::movable();
    let (store, closing) = open(&clock);
    store
        .write(|tx| {
            for (name, ago_ms) in [("oA", 0), ("oB", HOUR_MS - 1), ("oC", HOUR_MS + 1), ("oD", 5 * HOUR_MS)] {
                let active_at = tx.now().plus(-ago_ms);
                tx.put_customer(&Customer { active_at, ..customer_of(name) })?;
            }
            let count = |ago_ms: i64| tx.conversations_by_agent(tx.now().plus(-ago_ms));
            assert_eq!(count(HOUR_MS)?, [("user1".to_owned(), 2)]);
            assert_eq!(count(2 * HOUR_MS)?, [("user1".to_owned(), 3)]);
            tx.forget_customer(&OpenId::new("oA").unwrap())?;
            assert_eq!(count(HOUR_MS)?, [("user1".to_owned(), 1)]);
            Ok(())
        })
        .await
        .unwrap();
    closing.close();
}
