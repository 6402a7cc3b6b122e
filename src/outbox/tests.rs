use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::bridge::WorkSignal;
use crate::bridge::tests::bridge_with_defaults;
use crate::model::{ImUserId, MessageId, OpenId, OutboundCall, Resolution, State, Verdict};
use crate::store::{Customer, NewMessage, StoreError, Tx, testing};

const OPENID: &str = "oABCD1234efgh5678IJKL90_-mno";

/// A platform whose calls panic if the text says so.
#[derive(Debug, Default)]
struct Panicking {
    panics: AtomicU32,
}

impl Courier for Panicking {
    fn send<'a>(
        &'a self,
        pending: &'a PendingCall,
        _: &'a Payload,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            if matches!(&pending.call, OutboundCall::TextToAgent(text) if text == "panic") {
                self.panics.fetch_add(1, Ordering::Relaxed);
                panic!("a test's panic");
            }
            Verdict::Delivered
        })
    }

    fn resolve<'a>(&'a self, _: &'a PendingCall) -> Pin<Box<dyn Future<Output = Resolution> + Send + 'a>> {
        Box::pin(std::future::ready(Resolution::NotDelivered))
    }
}

/// An outbox with four calls in flight, whose platforms are both `courier`.
fn parts(
    store: &Store,
    bridge: Bridge,
    courier: Arc<dyn Courier>,
    clock: &Clock,
    metrics: Metrics,
) -> OutboxParts {
    OutboxParts {
        store: store.clone(),
        bridge,
        to_im: Arc::clone(&courier),
        to_wechat: courier,
        work_signal: WorkSignal::new(crate::fleet::Fleet::alone(0)),
        clock: clock.clone(),
        metrics,
        in_flight: 4,
        limits: Limits { unknown_after: None, give_up_ms: None, tell_waiting_ms: None },
        panics: Panics::default(),
    }
}

fn add(tx: &Tx<'_>, text: &str) -> Result<MessageId, StoreError> {
    tx.add(&NewMessage {
        agent: ImUserId::new("user1").ok(),
        source: text.to_owned(),
        ..testing::message(
            Direction::ToIm,
            &OpenId::new(OPENID).unwrap(),
            OutboundCall::TextToAgent(text.to_owned()),
        )
    })
}

#[tokio::test]
async fn a_message_whose_processing_panics_three_times_ends_and_the_next_one_follows() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let metrics = Metrics::default();
    let (store, closing) = Store::open(&testing::location(), clock.clone(), metrics.clone()).unwrap();
    let bridge = bridge_with_defaults(&store, &clock, folder.path()).await;
    let (bad, good) = store
        .write(|tx| {
            tx.put_customer(&Customer { known: true, ..Customer::new(OpenId::new(OPENID).unwrap()) })?;
            Ok((add(tx, "panic")?, add(tx, "fine")?))
        })
        .await
        .unwrap();
    let (courier, panics, stop) =
        (Arc::new(Panicking::default()), Panics::default(), CancellationToken::new());
    let parts =
        OutboxParts { panics: panics.clone(), ..parts(&store, bridge, courier.clone(), &clock, metrics) };
    let running = tokio::spawn(Outbox::new(parts, stop.clone()).run());
    let ended = async {
        loop {
            let states = store.read(move |tx| Ok((tx.state(bad)?, tx.state(good)?))).await.unwrap();
            if states == (State::Unknown, State::Delivered) {
                return;
            }
            clock.advance(100);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
    assert_eq!(courier.panics.load(Ordering::Relaxed), 3);
    assert_eq!(panics.shown(clock.now()).map(|panicked| panicked.count), Some(3));
    stop.cancel();
    running.await.unwrap();
    closing.close();
}

/// A platform that counts what it is sent and asked. Each send waits until the test lets it go on.
#[derive(Debug)]
struct Counting {
    sends: AtomicU32,
    questions: AtomicU32,
    go_on: tokio::sync::Semaphore,
}

impl Courier for Counting {
    fn send<'a>(
        &'a self,
        _: &'a PendingCall,
        _: &'a Payload,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            self.sends.fetch_add(1, Ordering::Relaxed);
            self.go_on.acquire().await.unwrap().forget();
            Verdict::Delivered
        })
    }

    fn resolve<'a>(&'a self, _: &'a PendingCall) -> Pin<Box<dyn Future<Output = Resolution> + Send + 'a>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Resolution::NotDelivered))
    }
}

async fn until(is_true: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_handed_over_is_made_once_and_places_are_offered_only_while_nothing_waits() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let metrics = Metrics::default();
    let (store, closing) =
        Store::open(&crate::store::testing::location(), clock.clone(), metrics.clone()).unwrap();
    let bridge = bridge_with_defaults(&store, &clock, folder.path()).await;
    let courier = Arc::new(Counting {
        sends: AtomicU32::new(0),
        questions: AtomicU32::new(0),
        go_on: tokio::sync::Semaphore::new(0),
    });
    let (work_signal, stop) = (WorkSignal::new(crate::fleet::Fleet::alone(0)), CancellationToken::new());
    let parts = OutboxParts {
        work_signal: work_signal.clone(),
        in_flight: 1,
        ..parts(&store, bridge, courier.clone(), &clock, metrics)
    };
    assert!(work_signal.places().take_offered().is_none(), "nobody makes calls yet");
    let running = tokio::spawn(Outbox::new(parts, stop.clone()).run());
    let sends = || courier.sends.load(Ordering::Relaxed);

    let mut place = None;
    for _ in 0..1_000 {
        place = work_signal.places().take_offered();
        if place.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let openid = OpenId::new(OPENID).unwrap();
    let claimed = move |tx: &Tx<'_>| {
        tx.add_claimed(testing::message(
            Direction::ToIm,
            &openid,
            OutboundCall::TextToAgent("hello".to_owned()),
        ))
    };
    let pending = store.write(claimed).await.unwrap();
    let (id, lane) = (pending.id, pending.lane.clone());
    assert_eq!(store.read(move |tx| tx.state(id)).await.unwrap(), State::Sending);
    let hold = work_signal.fleet().hold(&pending.lane.customer).unwrap();
    work_signal.hand_over(pending, place.unwrap(), hold);
    until(async || sends() == 1).await;
    // The only place is taken, so what is added now waits, and no place is offered.
    let next = store.write(|tx| add(tx, "next")).await.unwrap();
    work_signal.notify(lane);
    courier.go_on.add_permits(1);
    until(async || sends() == 2).await;
    assert!(work_signal.places().take_offered().is_none());
    assert_eq!(store.read(move |tx| tx.state(id)).await.unwrap(), State::Delivered);
    courier.go_on.add_permits(1);
    until(async || store.read(move |tx| tx.state(next)).await.unwrap() == State::Delivered).await;
    until(async || work_signal.places().take_offered().is_some()).await;
    assert_eq!((sends(), courier.questions.load(Ordering::Relaxed)), (2, 0));
    stop.cancel();
    running.await.unwrap();
    closing.close();
}

#[tokio::test]
async fn what_was_stored_in_an_outage_and_never_signalled_is_sent_after_it() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let metrics = Metrics::default();
    let (store, closing) = Store::open(&testing::location(), clock.clone(), metrics.clone()).unwrap();
    let bridge = bridge_with_defaults(&store, &clock, folder.path()).await;
    let (courier, stop) = (Arc::new(Panicking::default()), CancellationToken::new());
    let parts = parts(&store, bridge, courier.clone(), &clock, metrics);
    let (work_signal, signalled) = (parts.work_signal.clone(), OpenId::new("oFirst").unwrap());
    let running = tokio::spawn(Outbox::new(parts, stop.clone()).run());
    // The first scan is over once a lane is worked on that it did not find.
    let lane = Lane { direction: Direction::ToIm, customer: signalled };
    let text = OutboundCall::TextToAgent("first".to_owned());
    let message = testing::message(lane.direction, &lane.customer, text);
    until(async || work_signal.places().take_offered().is_some()).await;
    let first = store.write(move |tx| tx.add(&message)).await.unwrap();
    work_signal.notify(lane);
    until(async || store.read(move |tx| tx.state(first)).await.unwrap() == State::Delivered).await;

    // A commit that takes longer than a caller waits.
    let stored = store.write(|tx| {
        std::thread::sleep(Duration::from_millis(2_100));
        add(tx, "fine")
    });
    let stored = stored.await.unwrap();
    until(async || store.recoveries() == 1).await;
    until(async || store.read(move |tx| tx.state(stored)).await.unwrap() == State::Delivered).await;
    stop.cancel();
    running.await.unwrap();
    closing.close();
}
