//! Writes that share a transaction decide as if each had one of its own, whatever they foresaw.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use crate::model::{DedupKey, Direction, ImUserId, Lane, MessageKind, Move, OpenId, OutboundCall, State};
use crate::store::value::params;
use crate::store::*;

const CUSTOMERS: usize = 4;

/// What one write does. All writes of a list are handed over at once.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A customer's push with one of a few keys arrives.
    Push { customer: usize, key: u8, foresees: bool },
    /// The head of the customer's lane is claimed and delivered.
    Deliver { customer: usize, foresees: bool },
    /// Something that depends on everything.
    CountAll,
}

fn step() -> impl Strategy<Value = Step> {
    let push = (0..CUSTOMERS, 0..12_u8, prop::bool::weighted(0.8));
    let deliver = (0..CUSTOMERS, any::<bool>());
    prop_oneof![
        8 => push.prop_map(|(customer, key, foresees)| Step::Push { customer, key, foresees }),
        4 => deliver.prop_map(|(customer, foresees)| Step::Deliver { customer, foresees }),
        1 => Just(Step::CountAll),
    ]
}

fn lane(customer: usize) -> Lane {
    Lane { direction: Direction::ToIm, customer: OpenId::new(format!("o{customer}")).unwrap() }
}

/// Whether the push asks for the head of the lane only after it has added its message.
fn asks_late(key: u8) -> bool {
    key % 2 == 1
}

fn push(tx: &Tx<'_>, lane: &Lane, key: &DedupKey, asks_late: bool) -> Result<String, StoreError> {
    if tx.first_copy(key)?.is_some() {
        return Ok("a repeat".to_owned());
    }
    let found = tx.customer(&lane.customer)?;
    let is_new = found.is_none();
    let mut customer = found.unwrap_or_else(|| Customer::new(lane.customer.clone()));
    if is_new {
        tx.begin_conversation(&mut customer)?;
    }
    let has_held = tx.parked(&lane.customer)?.has_held;
    let before = if asks_late { None } else { tx.head_id(lane)? };
    let seq = customer.next_seq;
    tx.add(&NewMessage {
        direction: lane.direction,
        kind: MessageKind::Message,
        openid: lane.customer.clone(),
        agent: ImUserId::new("user1").ok(),
        calls: vec![OutboundCall::TextToAgent("hello".to_owned())],
        msg_seq: seq,
        msg_random: 0,
        source: key.as_str().to_owned(),
        erase: false,
    })?;
    // What was foreseen is not true any more.
    let after = if asks_late { tx.head_id(lane)? } else { None };
    customer.next_seq += 1;
    customer.active_at = tx.now();
    tx.put_customer(&customer)?;
    tx.record_dedup(key.as_str(), None)?;
    Ok(format!("message {seq}, held: {has_held}, some: {}", before.or(after).is_some()))
}

fn deliver(tx: &Tx<'_>, lane: &Lane) -> Result<String, StoreError> {
    let Head::Ready(pending) = tx.head(lane)? else { return Ok("nothing to send".to_owned()) };
    tx.record_attempt(&pending)?;
    let is_current = tx.current(&pending)?.is_some();
    let has_other = tx.has_other_pending(&pending)?;
    let state = tx.settle(pending.id, Move::Deliver, &Settlement::default())?;
    assert_eq!((state, is_current), (State::Delivered, true));
    Ok(format!("sent {}, others wait: {has_other}", pending.msg_seq))
}

fn count_all(tx: &Tx<'_>) -> Result<String, StoreError> {
    let count: i64 = tx.session.value("SELECT count(*) FROM message WHERE conversation > 0", params![])?;
    Ok(format!("{count} messages of conversations"))
}

/// What the steps should find.
#[derive(Default)]
struct Model {
    keys: HashSet<(usize, u8)>,
    next_seq: [u32; CUSTOMERS],
    pending: [VecDeque<u32>; CUSTOMERS],
}

impl Model {
    fn expected(&mut self, step: Step) -> String {
        match step {
            Step::Push { customer, key, .. } if !self.keys.insert((customer, key)) => "a repeat".to_owned(),
            Step::Push { customer, key, .. } => {
                self.next_seq[customer] += 1;
                let (seq, has_some) =
                    (self.next_seq[customer], asks_late(key) || !self.pending[customer].is_empty());
                self.pending[customer].push_back(seq);
                format!("message {seq}, held: false, some: {has_some}")
            }
            Step::Deliver { customer, .. } => match self.pending[customer].pop_front() {
                None => "nothing to send".to_owned(),
                Some(seq) => format!("sent {seq}, others wait: {}", !self.pending[customer].is_empty()),
            },
            Step::CountAll => format!("{} messages of conversations", self.keys.len()),
        }
    }
}

async fn run(store: Store, step: Step) -> Result<String, StoreError> {
    match step {
        Step::Push { customer, key, foresees } => {
            let (lane, asks_late) = (lane(customer), asks_late(key));
            let key = DedupKey::of_message(&format!("m:{customer}:{key}"), 1);
            let (of_lane, of_key) = (lane.clone(), key.clone());
            let foresee = move |tx: &Tx<'_>| {
                if foresees {
                    tx.foresee_push(&of_key, &of_lane.customer, true);
                }
            };
            let scope = Scope::lane(&lane);
            store.write_foreseen(scope, foresee, move |tx| push(tx, &lane, &key, asks_late)).await
        }
        Step::Deliver { customer, foresees } => {
            let lane = lane(customer);
            let (scope, of_lane) = (Scope::lane(&lane), lane.clone());
            let foresee = move |tx: &Tx<'_>| {
                if foresees {
                    tx.foresee_claim(&of_lane);
                }
            };
            store.write_foreseen(scope, foresee, move |tx| deliver(tx, &lane)).await
        }
        Step::CountAll => store.write(count_all).await,
    }
}

#[test]
fn writes_of_one_transaction_decide_as_if_each_had_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::with_cases(24) };
    let groups = prop::collection::vec(prop::collection::vec(step(), 1..30), 1..6);
    proptest!(config, |(groups in groups)| {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let mut model = Model::default();
        for group in groups {
            // So few are polled, and so queued, in this order.
            let writes = group.iter().map(|step| run(store.clone(), *step));
            let found = runtime.block_on(futures_util::future::join_all(writes));
            for (step, found) in group.into_iter().zip(found) {
                prop_assert_eq!((format!("{step:?}"), found.unwrap()), (format!("{step:?}"), model.expected(step)));
            }
        }
        prop_assert_eq!(runtime.block_on(store.write(count_all)).unwrap(), model.expected(Step::CountAll));
        drop(store);
        closing.close();
    });
}
