//! Instances that are replaced one by one, and what one has fetched and another serves.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::rig::Fleet;
use crate::crash::oracle::check_conversation;
use crate::crash::storm::{IM_RATE_PER_SECOND, Load, SEED, number_from_env};

const CUSTOMERS: [&str; 6] = ["ann", "ben", "cai", "dan", "eva", "fay"];

/// Invariants 1 to 6. Nothing is unknown, because each instance finishes what it has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_are_replaced_one_by_one_under_load_answer_nothing_but_200() {
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let Some(mut fleet) = Fleet::start().await else { return };
    fleet.rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    let customers = CUSTOMERS.map(str::to_owned);
    let load = Load::start_calm(&fleet.rig, &customers, &mut random);
    for number in 0..fleet.instances.len() {
        let status = fleet.terminate(number).await;
        assert!(status.success(), "{status}\n{}", fleet.logs());
        fleet.spawn(number, &[]);
        fleet.wait_until_even().await;
    }
    let conversations = load.stop().await;
    let answers = conversations.iter().map(|conversation| conversation.answers.len()).sum();
    fleet.rig.wait_until_answers_are_stored(answers).await;
    let stored = fleet.stop_and_read_store().await;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        check_conversation(&fleet.rig, customer, conversation, &stored);
    }
    assert_eq!((stored.count("refused"), stored.count("unknown")), (0, 0), "{:?}", stored.answers);
    let (count, slowest, others) = fleet.answers();
    println!("{count} answers of nginx, the slowest after {slowest} s");
    assert!(others.is_empty(), "{others:#?}\n{}", fleet.logs());
    for number in 0..fleet.instances.len() {
        assert!(!fleet.log_of(number).contains("gone without a word"), "{}", fleet.logs());
    }
}

/// The version before serves PostgreSQL alone: `FLEET_OLD=PROGRAM cargo test -- --ignored fleet_upgrade`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program of the version before"]
async fn fleet_upgrade() {
    let old = std::env::var("FLEET_OLD").expect("FLEET_OLD names the program");
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let Some(mut fleet) = Fleet::without_instances().await else { return };
    fleet.rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    fleet.spawn_program(0, std::path::Path::new(&old), &[]);
    let is_ready = async || fleet.ready(0).await.is_some_and(|(status, _)| status == 200);
    assert!(crate::world::eventually(crate::crash::rig::TIMEOUT, is_ready).await, "{}", fleet.logs());
    let customers = CUSTOMERS.map(str::to_owned);
    let load = Load::start_calm(&fleet.rig, &customers, &mut random);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for number in [1, 2] {
        fleet.spawn(number, &[]);
        let waits = async || {
            fleet.ready(number).await.is_some_and(|(status, body)| {
                status == 200 && body["fleet"]["why"].as_str().is_some_and(|why| why.contains("alone"))
            })
        };
        assert!(crate::world::eventually(crate::crash::rig::TIMEOUT, waits).await, "{}", fleet.logs());
    }
    assert!(fleet.terminate(0).await.success());
    fleet.spawn(0, &[]);
    fleet.wait_until_even().await;
    let conversations = load.stop().await;
    let answers = conversations.iter().map(|conversation| conversation.answers.len()).sum();
    fleet.rig.wait_until_answers_are_stored(answers).await;
    let stored = fleet.stop_and_read_store().await;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        check_conversation(&fleet.rig, customer, conversation, &stored);
    }
    assert_eq!((stored.count("refused"), stored.count("unknown")), (0, 0), "{:?}", stored.answers);
    let (count, slowest, others) = fleet.answers();
    println!("{SEED}={seed}: {count} answers of nginx, the slowest after {slowest} s");
    assert!(others.is_empty(), "{others:#?}\n{}", fleet.logs());
}
