//! Groups of writes: what one of them asks, and how the server carries out what is asked for all.

use super::*;
use crate::model::{DedupKey, ImUserId, MessageId, MessageKind, Millis, Move, OutboundCall};
use crate::store::session::Session;
use crate::store::value::params;
use crate::store::writer::Engine as _;
use crate::store::{AttachState, Head, NewMessage, PendingCall, Settlement};

#[tokio::test]
async fn a_question_that_fails_fails_its_own_write_and_no_other_one() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let ask =
        |tx: &Tx<'_>, number: i64| tx.session.find::<i64>("SELECT 6 / CAST(?1 AS bigint)", params![number]);
    // The first one keeps the thread busy until all others are in the queue.
    let (go_on, waits) = mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let busy = store.write(move |_| Ok(waits.lock().unwrap().recv().is_ok()));
    let writes = [1, 2, 0, 3].map(|number| {
        let scope = Scope::task(&number.to_string());
        store.write_foreseen(
            scope,
            move |tx| drop(ask(tx, number)),
            move |tx| {
                tx.put_kv(&number.to_string(), "there")?;
                ask(tx, number)
            },
        )
    });
    let release = async {
        tokio::task::yield_now().await;
        go_on.send(()).unwrap();
    };
    let (written, found, ()) = tokio::join!(busy, futures_util::future::join_all(writes), release);
    assert!(written.unwrap());
    let found: Vec<Option<i64>> = found.into_iter().map(|found| found.ok().flatten()).collect();
    assert_eq!(found, [Some(6), Some(3), None, Some(2)]);
    let stored = store
        .read(|tx| ["1", "2", "0", "3"].map(|key| tx.kv(key)).into_iter().collect::<Result<Vec<_>, _>>());
    assert_eq!(
        stored.await.unwrap().iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, false, true]
    );
    assert_eq!(store.outage(), None);
    close(store, closing).await;
}

/// The life of one message.
fn life(tx: &Tx<'_>, lane: &Lane, key: &DedupKey) -> Result<(), StoreError> {
    assert!(tx.first_copy(key)?.is_none());
    let mut customer = Customer::new(lane.customer.clone());
    if tx.customer(&lane.customer)?.is_none() {
        tx.begin_conversation(&mut customer)?;
    }
    let claimed = tx.add_claimed(NewMessage {
        direction: lane.direction,
        kind: MessageKind::Message,
        openid: lane.customer.clone(),
        agent: ImUserId::new("user1").ok(),
        calls: vec![OutboundCall::TextToAgent("hello".to_owned())],
        msg_seq: 1,
        msg_random: 1,
        source: key.as_str().to_owned(),
        erase: false,
    })?;
    tx.put_customer(&customer)?;
    tx.record_dedup(key.as_str(), None)?;
    let Head::Ready(pending) = tx.head(lane)? else { panic!("a message waits") };
    tx.record_attempt(&pending)?;
    tx.settle(claimed.id, Move::Deliver, &Settlement::default())?;
    Ok(())
}

/// On the empty tables of a new database all plans cost the same, and one that is chosen then stays for a while.
#[test]
fn what_is_asked_for_many_writes_reads_no_whole_index() {
    let Some(schema) = cluster::empty_schema() else { return };
    let StoreLocation::Postgres(server) = location(&schema) else { panic!("it is on PostgreSQL") };
    let runtime = runtime().unwrap();
    let (connector, of_instance) = (Connector::new(&server).unwrap(), Arc::<Life>::default());
    let (_membership, control) =
        control::start(connector.clone(), Arc::clone(&of_instance), Metrics::default()).unwrap();
    let mut engine = Postgres::open(connector, Queue::Doors, of_instance, runtime).unwrap();
    let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
    let key = DedupKey::of_message("m:1", 1);
    let pending = PendingCall {
        id: MessageId(1),
        lane: lane.clone(),
        kind: MessageKind::Message,
        agent: None,
        call: OutboundCall::ImportAccount,
        call_index: 0,
        call_count: 1,
        msg_seq: 1,
        msg_random: 1,
        created_at: Millis(0),
        attempts: 0,
        attempt_at: Millis(0),
        unsettled: false,
        attached: AttachState::Detached,
        before_backfill: false,
        rounds: 0,
        generation: 0,
        waiting_since: Millis(0),
        burst: None,
    };
    let now = Millis(1_700_000_000_000);
    let foresee = |session: Session<'_>| {
        let tx = Tx { session, now };
        tx.foresee_push(&key, &lane.customer, true);
        tx.foresee_claim(&lane);
        tx.foresee_outcome(&pending);
    };
    let mut work = |session: Session<'_>| life(&Tx { session, now }, &lane, &key);
    assert!(engine.transact(&[Scope::lane(&lane)], &foresee, &mut work).is_ok());
    let texts = engine.link.as_ref().unwrap().texts_for_many();
    assert!(texts.len() > 10, "{texts:#?}");
    let asked: Vec<String> = texts.iter().map(|text| text.replace('$', "?")).collect();
    for (text, plan) in texts.iter().zip(cluster::plans(&schema.config, asked)) {
        for (step, next) in plan.iter().zip(plan.iter().skip(1).chain([&String::new()])) {
            let is_index = step.contains("Index Scan") || step.contains("Index Only Scan");
            let reads_all = step.contains("Seq Scan") || (is_index && !next.contains("Index Cond"));
            let is_large = [" on message", " on customer", " on conversation", " on dedup"]
                .iter()
                .any(|table| step.contains(table));
            let is_bad = (is_large && reads_all) || step.contains("hashed");
            assert!(!is_bad, "{text}\n{}", plan.join("\n"));
        }
    }
    engine.close();
    control.close();
}
