//! Drills. A drill breaks something on purpose while a customer and an agent keep writing. The
//! platforms' own ledgers then show whether the bridge kept its promises.
//!
//! A drill acts only on the platforms and on the bridge's process. It must leave no fault behind,
//! however it ends.

mod desk;
mod instances;
mod killed;
mod scene;
mod bad_pushes;
mod outages;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::bridges::Bridges;
use super::conditions::{Checked, Mismatch};
use super::session::{Busy, DrillPhase, DrillState, Session};
use scene::Scene;

/// One drill.
pub struct Drill {
    /// The name in URLs, events and text keys.
    pub name: &'static str,
    /// The drill fails if it takes longer.
    pub limit: Duration,
    play: for<'a> fn(&'a Scene) -> BoxFuture<'a, DrillResult>,
}

/// The measured values of a drill that passed, by name.
pub type Measurements = Map<String, Value>;

/// The result of a drill: its values, or the first condition that was not met.
pub type DrillResult = Checked<Measurements>;

const fn seconds(limit: u64) -> Duration {
    Duration::from_secs(limit)
}

/// The drills of any sandbox, in the order in which the page offers them.
pub static DRILLS: [Drill; 14] = [
    Drill { name: "im_down", limit: seconds(60), play: |scene| Box::pin(outages::im_down(scene)) },
    Drill { name: "im_slow", limit: seconds(60), play: |scene| Box::pin(outages::im_slow(scene)) },
    Drill { name: "wechat_busy", limit: seconds(60), play: |scene| Box::pin(outages::wechat_busy(scene)) },
    Drill {
        name: "token_revoked",
        limit: seconds(60),
        play: |scene| Box::pin(outages::token_revoked(scene)),
    },
    Drill {
        name: "window_closed",
        limit: seconds(60),
        play: |scene| Box::pin(windows::window_closed(scene)),
    },
    Drill {
        name: "budget_used_up",
        limit: seconds(60),
        play: |scene| Box::pin(windows::budget_used_up(scene)),
    },
    Drill {
        name: "personal_account",
        limit: seconds(90),
        play: |scene| Box::pin(windows::personal_account(scene)),
    },
    Drill {
        name: "callback_lost",
        limit: seconds(120),
        play: |scene| Box::pin(outages::callback_lost(scene)),
    },
    Drill {
        name: "duplicate_push",
        limit: seconds(60),
        play: |scene| Box::pin(bad_pushes::duplicate_push(scene)),
    },
    Drill { name: "forged_push", limit: seconds(60), play: |scene| Box::pin(bad_pushes::forged_push(scene)) },
    Drill { name: "bridge_killed", limit: seconds(90), play: |scene| Box::pin(killed::bridge_killed(scene)) },
    Drill { name: "nobody_there", limit: seconds(60), play: |scene| Box::pin(desk::nobody_there(scene)) },
    Drill { name: "agent_leaves", limit: seconds(60), play: |scene| Box::pin(desk::agent_leaves(scene)) },
    Drill { name: "night", limit: seconds(90), play: |scene| Box::pin(desk::night(scene)) },
];

/// The drills of several bridges, which follow the others.
pub static INSTANCE_DRILLS: [Drill; 5] = [
    Drill {
        name: "instance_killed",
        limit: seconds(240),
        play: |scene| Box::pin(instances::instance_killed(scene)),
    },
    Drill {
        name: "instance_paused",
        limit: seconds(240),
        play: |scene| Box::pin(instances::instance_paused(scene)),
    },
    Drill {
        name: "instance_cut_off",
        limit: seconds(240),
        play: |scene| Box::pin(instances::instance_cut_off(scene)),
    },
    Drill {
        name: "sessions_ended",
        limit: seconds(240),
        play: |scene| Box::pin(instances::sessions_ended(scene)),
    },
    Drill {
        name: "rolling_restart",
        limit: seconds(240),
        play: |scene| Box::pin(instances::rolling_restart(scene)),
    },
];

/// The drills that the page offers for these bridges, in order.
pub(super) fn offered(bridges: &Bridges) -> impl Iterator<Item = &'static Drill> {
    let of_several = if bridges.children().len() > 1 { INSTANCE_DRILLS.as_slice() } else { &[] };
    DRILLS.iter().chain(of_several)
}

/// Runs a drill to its end, then removes every fault that it left.
///
/// Fails if a condition is not met, if the drill exceeds its limit, or if the repair fails.
pub async fn run(session: &Arc<Session>, drill: &Drill) -> DrillResult {
    let scene = Scene::new(Arc::clone(session));
    scene.sign_everybody_in().await;
    let result = tokio::time::timeout(drill.limit, (drill.play)(&scene)).await;
    let repair = scene.repair().await;
    let result = result.unwrap_or_else(|_| {
        Err(Mismatch::new(format!("the drill to end within {} s", drill.limit.as_secs()), "it did not"))
    });
    result.and_then(|values| repair.map(|()| values))
}

/// Begins a drill in the background, unless one is running. `None` if no drill has this name.
pub fn begin(session: &Arc<Session>, name: &str) -> Option<Result<(), Busy>> {
    let drill = offered(&session.bridges).find(|drill| drill.name == name)?;
    let index = session.drill_index(name)?;
    let busy = session.event_log.begin_drill(index);
    if busy.is_ok() {
        let tracked = Arc::clone(session);
        session.tasks.spawn(async move {
            let began = tokio::time::Instant::now();
            let outcome = tokio::select! {
                outcome = run(&tracked, drill) => outcome,
                () = tracked.stop.cancelled() => return,
            };
            let (state, result, values) = match outcome {
                Ok(values) => (DrillPhase::Passed, "passed", json!(values)),
                Err(mismatch) => (DrillPhase::Failed, "failed", json!(mismatch)),
            };
            let outcome = json!({"key": format!("drill.{}.{result}", drill.name), "values": values});
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracked.event_log.end_drill(
                index,
                DrillState { state, outcome: Some(outcome), took_ms: Some(took_ms), began: None },
            );
        });
    }
    Some(busy)
}
