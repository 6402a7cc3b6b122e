//! A start with much to do.

use std::time::{Duration, Instant};

use wechat_im_bridge::clock::Clock;
use wechat_im_bridge::metrics::Metrics;
use wechat_im_bridge::model::{Direction, ImUserId, MessageKind, OpenId, OutboundCall};
use wechat_im_bridge::sandbox::im::Direction as Way;
use wechat_im_bridge::store::{Customer, NewMessage, Store, StoreLocation};

use super::proxy::Proxy;
use super::rig::{BACK, Rig, SETTLED};
use crate::world::openid;

const CUSTOMERS: u32 = 20_000;
const EACH: u32 = 5;
/// More than it takes, less than a start that reads everything would.
const MOST_MEMORY_KB: u64 = 100_000;
/// Calls of IM at once.
const MOST_AT_ONCE: usize = 128;

async fn fill(rig: &Rig) {
    let (store, closing) =
        Store::open(&StoreLocation::File(rig.store()), Clock::system(), Metrics::default()).unwrap();
    let agent = ImUserId::new("user1").unwrap();
    let filled = store.write(move |tx| {
        for customer in 0..CUSTOMERS {
            let openid = OpenId::new(openid(&format!("c{customer}"))).unwrap();
            let mut customer = Customer::new(openid.clone());
            customer.agent = Some(agent.clone());
            customer.next_seq = EACH + 1;
            tx.put_customer(&customer)?;
            for n in 1..=EACH {
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

/// Invariants 7 and 8: the first call comes within two seconds, and memory does not grow with what waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_a_hundred_thousand_starts_within_two_seconds_in_bounded_memory() {
    let mut rig = Rig::new().await;
    fill(&rig).await;
    // An IM that is slow to answer must not be asked ever more at once.
    let im = Proxy::start(&rig.im.base_url()).await;
    im.hold(Duration::from_millis(1500));
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    let mut calls = rig.im.events();
    let started = Instant::now();
    rig.spawn(None);
    let first = async {
        while calls.recv().await.unwrap().direction != Way::Received {}
        started.elapsed()
    };
    let first = tokio::time::timeout(SETTLED, first).await.expect("nothing is done about the backlog");
    rig.ready().await;
    let ready = started.elapsed();
    let many = rig.im.wait_for(|ledger| ledger.sends().len() >= 500, SETTLED).await;
    assert!(many.is_ok(), "{}", rig.log());
    let memory = memory_kb(rig.pid());
    let at_once = im.most_at_once();
    println!(
        "{} waiting: first call after {first:?}, ready after {ready:?}, {memory} kB, {at_once} calls at once",
        CUSTOMERS * EACH
    );
    assert!(first <= BACK && ready <= BACK, "first call after {first:?}, ready after {ready:?}");
    assert!(memory <= MOST_MEMORY_KB, "{memory} kB");
    assert!((64..=MOST_AT_ONCE).contains(&at_once), "{at_once} calls at once");
    rig.kill();
}
