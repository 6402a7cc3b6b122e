//! Crashes of PostgreSQL under load and faults, in both directions at once. The bridge goes on running.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::oracle::check_conversation;
use super::rig::{Rig, TIMEOUT};
use super::storm::{CUSTOMERS, IM_RATE_PER_SECOND, Load, SEED, number_from_env};
use crate::cluster::{self, Cluster};
use crate::world::eventually;

/// Environment variable with the number of crashes.
const CRASHES: &str = "CRASH_DATABASES";

/// Invariants 1 to 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_database_under_load_lose_double_and_reorder_no_message() {
    let Some(server) = cluster::cluster().and_then(|_| Cluster::start()) else { return };
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut rig = Rig::with_schema(Some(server.empty_schema())).await;
    rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    rig.start().await;
    let customers = CUSTOMERS.map(str::to_owned);
    let load = Load::start(&rig, &customers, &mut random);
    let crashes = number_from_env(CRASHES).unwrap_or(4);
    let mut slowest = Duration::ZERO;
    for _ in 0..crashes {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2_000))).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2_500))).await;
        server.start_again();
        server.run("SELECT 1");
        let answers_again = Instant::now();
        rig.wait_until_ready().await;
        slowest = slowest.max(answers_again.elapsed());
    }
    let conversations = load.stop().await;
    rig.im.faults().clear();
    rig.wechat.faults().clear();
    let answers = conversations.iter().map(|conversation| conversation.answers.len()).sum();
    rig.wait_until_answers_are_stored(answers).await;
    let stored = rig.stop_and_read_store().await;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        check_conversation(&rig, customer, conversation, &stored);
    }
    assert_eq!(stored.count("refused"), 0, "{:?}\n{}", stored.answers, rig.log());
    println!("{crashes} crashes: ready again after {slowest:?} at most; {answers} answers");
}

/// Nobody hears 200 while the database is away, and all are heard again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_pushes_are_refused_in_time_and_later_taken_again() {
    let Some(server) = cluster::cluster().and_then(|_| Cluster::start()) else { return };
    let mut rig = Rig::with_schema(Some(server.empty_schema())).await;
    rig.start().await;
    let phone = rig.follower("ann");
    assert!(!phone.say("before").await.fault_line);
    server.kill();
    let asked = Instant::now();
    assert!(phone.say("meanwhile").await.fault_line, "WeChat showed its customer that it failed");
    println!("three attempts were refused within {:?}", asked.elapsed());
    let is_shown = eventually(TIMEOUT, async || {
        let (status, body) = crate::world::get_json(&rig.readyz()).await;
        status == 503 && body["store"]["ok"] == false
    });
    assert!(is_shown.await, "{}", rig.log());
    server.start_again();
    rig.wait_until_ready().await;
    assert!(!phone.say("after").await.fault_line);
    rig.wait_until_idle().await;
    assert!(rig.terminate().await.success());
}
