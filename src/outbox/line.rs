//! Serves the line: gives the customers who wait an agent as soon as one is free, whoever has waited for longest first.
//!
//! One instance does it for all. An agent who signs in, closes a conversation or is idle frees a place; what this instance
//! is not told of is noticed within a second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Served};
use crate::clock::Clock;
use crate::model::Millis;
use crate::store::StoreError;

/// A free place is noticed within this time.
const TICK: Duration = Duration::from_secs(1);
/// Where nobody can have to wait, the line is looked at this often, in milliseconds: the settings may have been other ones.
const SCAN_INTERVAL_MS: i64 = 60_000;
/// The most customers who are served at once, so that a stop does not wait for the whole line.
const BATCH: usize = 100;

/// What the task needs.
#[derive(Debug)]
pub struct LineServer {
    /// Knows the line and the agents.
    pub bridge: Bridge,
    /// The clock.
    pub clock: Clock,
}

impl LineServer {
    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // When the line was last empty, as far as it is known.
        let mut empty_at: Option<Millis> = None;
        loop {
            let is_signalled = tokio::select! {
                _ = tick.tick() => false,
                () = self.bridge.line_signalled() => true,
                () = stop.cancelled() => return,
            };
            let now = self.clock.now();
            let is_fresh = empty_at.is_some_and(|at| (0..SCAN_INTERVAL_MS).contains(&now.since(at)));
            let has_nobody = is_fresh && !is_signalled && !self.bridge.has_line();
            if has_nobody || !self.bridge.work_signal().fleet().owns_first_shard() {
                continue;
            }
            // What has begun is finished, so that a stop loses no signal.
            match self.serve().await {
                Ok(is_empty) => empty_at = is_empty.then_some(now),
                Err(error) => tracing::warn!(
                    %error,
                    "cannot give an agent to the customers who wait in line; trying again within a second"
                ),
            }
        }
    }

    /// Serves as many customers as agents have room for. Returns whether nobody waits any more.
    async fn serve(&self) -> Result<bool, StoreError> {
        for _ in 0..BATCH {
            match self.bridge.serve_line().await? {
                Served::One | Served::Changed => {}
                Served::NotYet => return Ok(false),
                Served::Empty => return Ok(true),
            }
        }
        Ok(false)
    }
}
