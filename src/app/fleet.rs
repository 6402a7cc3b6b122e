//! Joins the other instances on the same database, and leaves them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{Fleet, FleetStatus, Member, MemberParts, SHARDS};
use crate::http::ops;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::ImUserId;
use crate::store::Store;

/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The task by which this instance is one of several.
#[derive(Debug)]
pub(super) struct Joined {
    left: CancellationToken,
    task: JoinHandle<()>,
}

impl Joined {
    /// Ends the task. What it still owns becomes free when the store is closed.
    pub(super) async fn leave(self) {
        self.left.cancel();
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.task).await;
    }
}

/// Takes the place of this process among the instances on its database.
pub(super) async fn join(
    store: &Store,
    clock: &Clock,
    metrics: &Metrics,
    settings: Live<String>,
) -> anyhow::Result<(Fleet, Option<Member>)> {
    let Some(membership) = store.membership() else {
        metrics.set_fleet(1, SHARDS);
        return Ok((Fleet::alone(clock.monotonic_ms()), None));
    };
    let parts = MemberParts {
        membership: membership.clone(),
        store: store.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        settings,
    };
    let (fleet, member) = Member::join(parts).await?;
    Ok((fleet, Some(member)))
}

/// Starts the task.
pub(super) fn start(member: Member, lifecycle: &Lifecycle) -> Joined {
    let left = CancellationToken::new();
    let task = lifecycle.spawn_beside("fleet", member.run(lifecycle.soft().clone(), left.clone()));
    Joined { left, task }
}

/// A digest of the settings in which all instances must agree. No secret can be found from it.
pub(super) fn digest(config: &Config) -> String {
    let agents: Vec<&str> = config.im.agents.iter().map(ImUserId::as_str).collect();
    let mut settings = vec![json!([
        config.wechat.app_id,
        config.im.sdk_app_id.get(),
        config.im.admin.as_str(),
        agents,
        format!("{:?}", config.wechat.reply),
        config.im.rate_per_second.get(),
    ])];
    // Without hours an earlier version has the same digest.
    if let Some(hours) = &config.desk.hours {
        settings.push(json!([format!("{hours:?}"), config.desk.after_hours.word()]));
    }
    // Without a capacity too.
    if let Some(capacity) = config.desk.capacity {
        settings.push(json!([capacity.get()]));
    }
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let digest = Sha256::digest(settings.concat());
    let start = digest.iter().take(8).fold(0_u64, |start, byte| (start << 8) | u64::from(*byte));
    format!("{start:016x}")
}

/// The instances, as `/readyz` shows them.
pub(super) fn status(fleet: Fleet, clock: Clock) -> ops::StatusFn {
    Arc::new(move || {
        let Some(status) = fleet.status(clock.now()) else {
            return ops::ComponentStatus::healthy().with("alive", 1).with("shards", SHARDS);
        };
        let FleetStatus { id, alive, owned, era, .. } = status;
        trouble(&status)
            .with("instance", format!("{id:x}"))
            .with("alive", alive)
            .with("shards", owned)
            .with("era", format!("{era:x}"))
    })
}

fn trouble(status: &FleetStatus) -> ops::ComponentStatus {
    let degraded = |since, why: &str, advice| ops::ComponentStatus::degraded(since, why, advice);
    if let Some(since) = status.out_of_reach_since {
        let why =
            "the database has not been reached for so long that other instances send in this one's place";
        return degraded(
            since,
            why,
            "restore the way to the database; this instance then joins the others again",
        );
    }
    if let Some(since) = status.served_alone_since {
        let why = "a program of an earlier version serves the database alone, and sends for all customers";
        return degraded(since, why, "stop it; the instances of this version then send");
    }
    if let Some((since, others)) = &status.different_settings {
        let why = format!(
            "app_id, sdk_app_id, admin, agents, reply, rate_per_second, the working hours or the capacity differ at {}",
            others.join(", ")
        );
        return degraded(*since, &why, "give all instances the same configuration");
    }
    if let Some((since, ahead_ms)) = status.clock_ahead {
        let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let why = format!("the database's clock is {} ms {direction} this machine's", ahead_ms.abs());
        return degraded(since, &why, "set both clocks, such as with chrony");
    }
    ops::ComponentStatus::healthy()
}
