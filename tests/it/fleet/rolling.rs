//! Instances that are replaced one by one, also by those of a newer version.

use std::path::Path;
use std::time::Duration;

use super::load::under_load;
use super::rig::Fleet;
use crate::crash::oracle::Stored;
use crate::crash::rig::TIMEOUT;
use crate::world::eventually;

const CUSTOMERS: usize = 6;

/// Nobody in front notices, and nothing is unknown, because each instance finishes what it has begun.
fn check_unnoticed(fleet: &Fleet, stored: &Stored) {
    assert_eq!(stored.count("unknown"), 0, "{:?}", stored.answers);
    let (count, slowest, others) = fleet.answers();
    println!("{count} answers of nginx, the slowest after {slowest} s");
    assert!(others.is_empty(), "{others:#?}\n{}", fleet.logs());
    for number in 0..fleet.instances.len() {
        assert!(!fleet.log_of(number).contains("gone without a word"), "{}", fleet.logs());
    }
}

/// Invariants 1 to 6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_are_replaced_one_by_one_under_load_answer_nothing_but_200() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let stored = under_load(&mut fleet, CUSTOMERS, async |fleet| {
        for number in 0..fleet.instances.len() {
            let status = fleet.terminate(number).await;
            assert!(status.success(), "{status}\n{}", fleet.logs());
            fleet.spawn(number, &[]);
            fleet.wait_until_even().await;
        }
    });
    let stored = stored.await;
    check_unnoticed(&fleet, &stored);
}

/// The version before serves PostgreSQL alone: `FLEET_OLD=PROGRAM cargo test -- --ignored fleet_upgrade`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program of the version before"]
async fn fleet_upgrade() {
    let old = std::env::var("FLEET_OLD").expect("FLEET_OLD names the program");
    let Some(mut fleet) = Fleet::without_instances().await else { return };
    fleet.spawn_program(0, Path::new(&old), &[]);
    let is_ready = async || fleet.ready(0).await.is_some_and(|(status, _)| status == 200);
    assert!(eventually(TIMEOUT, is_ready).await, "{}", fleet.logs());
    let stored = under_load(&mut fleet, CUSTOMERS, async |fleet| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        for number in [1, 2] {
            fleet.spawn(number, &[]);
            let waits = async || {
                fleet.ready(number).await.is_some_and(|(status, body)| {
                    status == 200 && body["fleet"]["why"].as_str().is_some_and(|why| why.contains("alone"))
                })
            };
            assert!(eventually(TIMEOUT, waits).await, "{}", fleet.logs());
        }
        assert!(fleet.terminate(0).await.success());
        fleet.spawn(0, &[]);
        fleet.wait_until_even().await;
    });
    let stored = stored.await;
    check_unnoticed(&fleet, &stored);
}
