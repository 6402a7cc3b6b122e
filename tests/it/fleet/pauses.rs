//! Instances that are paused in the middle of a send, or cut off from the database, and come back when others have taken
//! over.

use std::time::Duration;

use super::load::under_load;
use super::proxy::DatabaseProxy;
use super::rig::Fleet;
use crate::crash::rig::TIMEOUT;
use crate::crash::storm::number_from_env;
use crate::world::eventually;

/// Environment variable with the length of a pause, in seconds.
const PAUSE_S: &str = "FLEET_PAUSE_S";
/// Longer than the time after which the others take over.
const DEFAULT_PAUSE_S: u64 = 5;
/// Each point between the record of an attempt and the record of its outcome.
const POINTS: [&str; 4] = ["outbox.recorded", "im.ready", "wechat.ready", "outbox.called"];
/// So many that each instance has some of them.
const CUSTOMERS: usize = 16;

/// One that wakes when others have taken its customers over must send nothing and record nothing.
async fn pause_at(point: &str) {
    let Some(mut fleet) = Fleet::start().await else { return };
    let pause = Duration::from_secs(number_from_env(PAUSE_S).unwrap_or(DEFAULT_PAUSE_S));
    under_load(&mut fleet, CUSTOMERS, async |fleet| {
        assert!(fleet.terminate(1).await.success());
        // The first calls fetch the token and import accounts.
        fleet.spawn(1, &[("BRIDGE_PAUSE_AT", &format!("{point}:5"))]);
        fleet.wait_until_paused(1).await;
        tokio::time::sleep(pause).await;
        let (status, body) = fleet.ready(0).await.unwrap();
        assert_eq!((status, &body["fleet"]["alive"]), (200, &2.into()), "{point}: it is taken for dead");
        fleet.go_on(1);
        fleet.wait_until_even().await;
    })
    .await;
    assert!(fleet.log_of(1).contains("the other instances have taken this one for dead"), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_paused_between_an_attempt_and_its_call_sends_nothing_when_it_wakes() {
    for point in POINTS {
        println!("{point}");
        pause_at(point).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_reach_the_database_stops_sending_and_joins_again() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let proxy = DatabaseProxy::start(fleet.schema.socket()).await;
    under_load(&mut fleet, CUSTOMERS, async |fleet| {
        assert!(fleet.terminate(1).await.success());
        fleet.set_database(1, fleet.schema.url_at(proxy.port()));
        fleet.spawn(1, &[]);
        fleet.wait_until_even().await;
        proxy.freeze(true);
        let is_alone = eventually(TIMEOUT, async || {
            fleet.ready(0).await.is_some_and(|(_, body)| body["fleet"]["alive"] == 2)
        });
        assert!(is_alone.await, "it is taken for dead\n{}", fleet.logs());
        // It knows that itself, and says so while it is cut off.
        let knows = eventually(TIMEOUT, async || {
            fleet.ready(1).await.is_some_and(|(_, body)| body["fleet"]["ok"] == false)
        });
        assert!(knows.await, "{}", fleet.logs());
        proxy.freeze(false);
        fleet.wait_until_even().await;
    })
    .await;
    // Its requests went to others.
    let (count, slowest, others) = fleet.answers();
    // Conversations whose locks it held wait until the server ends its sessions.
    println!("cut off: {} of {count} answers were not 200; the slowest after {slowest} s", others.len());
}
