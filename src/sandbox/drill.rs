//! Drills: something is broken on purpose, people write as if nothing were, and the platforms' own ledgers tell whether
//! everything came out as promised.
//!
//! A drill drives the platforms only, and the bridge's process; it must leave no fault behind, however it ends.

mod killed;
mod scene;
mod strangers;
mod trouble;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};

use super::live::Live;
use scene::Scene;

/// One drill.
pub struct Drill {
    pub name: &'static str,
    /// It has failed when it takes longer.
    limit: Duration,
    play: for<'a> fn(&'a Scene) -> BoxFuture<'a, Played>,
}

/// What a drill that came true has to tell, by name.
pub type Values = Map<String, Value>;

/// What a drill waited for, and what came instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    pub expected: String,
    pub seen: String,
}

impl Missed {
    fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }
}

/// How a drill ended.
pub type Played = Result<Values, Missed>;

const fn seconds(limit: u64) -> Duration {
    Duration::from_secs(limit)
}

/// Every drill, in the order in which the page offers them.
pub static DRILLS: [Drill; 11] = [
    Drill { name: "im_down", limit: seconds(60), play: |scene| Box::pin(trouble::im_down(scene)) },
    Drill { name: "im_slow", limit: seconds(60), play: |scene| Box::pin(trouble::im_slow(scene)) },
    Drill { name: "wechat_busy", limit: seconds(60), play: |scene| Box::pin(trouble::wechat_busy(scene)) },
    Drill {
        name: "token_revoked",
        limit: seconds(60),
        play: |scene| Box::pin(trouble::token_revoked(scene)),
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
        play: |scene| Box::pin(trouble::callback_lost(scene)),
    },
    Drill {
        name: "duplicate_push",
        limit: seconds(60),
        play: |scene| Box::pin(strangers::duplicate_push(scene)),
    },
    Drill { name: "forged_push", limit: seconds(60), play: |scene| Box::pin(strangers::forged_push(scene)) },
    Drill { name: "bridge_killed", limit: seconds(90), play: |scene| Box::pin(killed::bridge_killed(scene)) },
];

/// Plays a drill to its end, and puts everything right again.
pub async fn run(live: &Arc<Live>, drill: &Drill) -> Played {
    let scene = Scene::new(Arc::clone(live));
    let played = tokio::time::timeout(drill.limit, (drill.play)(&scene)).await;
    let repaired = scene.repair().await;
    let played = played
        .unwrap_or_else(|_| Err(Missed::new(format!("an end within {} s", drill.limit.as_secs()), "none")));
    played.and_then(|values| repaired.map(|()| values))
}
