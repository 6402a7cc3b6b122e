//! The bridge starts with a large backlog.

use std::time::{Duration, Instant};

use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::metrics::Metrics;
use wechat_im_bridge::internals::model::{Direction, ImUserId, MessageKind, OpenId, OutboundCall};
use wechat_im_bridge::internals::sandbox::im::Direction as CallDirection;
use wechat_im_bridge::internals::store::{Customer, NewMessage, Store, StoreLocation};

use super::proxy::Proxy;
use super::rig::{Rig, TIMEOUT, recovery_limit};
use crate::world::openid;

const CUSTOMERS: u32 = 20_000;
const MESSAGES_EACH: u32 = 5;
/// More than the bridge needs, but less than it would need to read the whole backlog.
const MAX_MEMORY_KB: u64 = 100_000;
/// Concurrent calls of IM, and the request that asks for its time.
const MAX_CONCURRENT: usize = 128 + 1;

async fn fill(rig: &Rig) {
    let (store, closing) =
        Store::open(&StoreLocation::File(rig.store()), Clock::system(), Metrics::default()).unwrap();
    let agent = ImUserId::new("user1").unwrap();
    let filled = store.write(move |tx| {
        for customer in 0..CUSTOMERS {
            let openid = OpenId::new(openid(&format!("c{customer}"))).unwrap();
            let mut customer = Customer::new(openid.clone());
            customer.agent = Some(agent.clone());
            customer.next_seq = MESSAGES_EACH + 1;
            tx.put_customer(&customer)?;
            for n in 1..=MESSAGES_EACH {
                tx.add(&NewMessage {
                    direction: Direction::ToIm,
                    kind: MessageKind::Message,
                    openid: openid.clone(),
                    agent: Some(agent.clone()),
                    calls: vec![OutboundCall::TextToAgent(format!("question {n}"))],
                    msg_seq: n,
                    msg_random: n,
                    source: format!("{} {n}", openid.as_str()),
                    erase: false,
                })?;
            }
        }
        Ok(())
    });
    filled.await.unwrap();
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
}

fn memory_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Invariants 7 and 8: the bridge makes its first call within two seconds, and its memory does not grow with
/// the backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_a_hundred_thousand_starts_within_two_seconds_in_bounded_memory() {
    let mut rig = Rig::on_sqlite().await;
    fill(&rig).await;
    // While IM answers slowly, the number of concurrent calls must stay bounded.
    let im = Proxy::start(&rig.im.base_url()).await;
    im.delay_answers(Duration::from_millis(1500));
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    let mut calls = rig.im.events();
    let started = Instant::now();
    rig.spawn(None);
    let first = async {
        while calls.recv().await.unwrap().direction != CallDirection::Received {}
        started.elapsed()
    };
    let first = tokio::time::timeout(TIMEOUT, first).await.expect("the bridge makes no call");
    rig.wait_until_ready().await;
    let ready = started.elapsed();
    let enough_sends = rig.im.wait_for(|ledger| ledger.sends().len() >= 500, TIMEOUT).await;
    assert!(enough_sends.is_ok(), "{}", rig.log());
    let memory = memory_kb(rig.pid());
    let concurrent = im.max_concurrent();
    println!(
        "{} waiting: first call after {first:?}, ready after {ready:?}, {memory} kB, {concurrent} concurrent calls",
        CUSTOMERS * MESSAGES_EACH
    );
    let limit = recovery_limit();
    assert!(first <= limit && ready <= limit, "first call after {first:?}, ready after {ready:?}");
    assert!(memory <= MAX_MEMORY_KB, "{memory} kB");
    assert!((64..=MAX_CONCURRENT).contains(&concurrent), "{concurrent} concurrent calls");
    rig.kill();
}
