//! The opening of the desk: puts the messages that waited for it into their lanes.
//!
//! The calendar is asked, not a time that was stored, so that the desk also opens on time after its hours or the clock
//! were changed. Whoever writes after the opening and before this task's turn is not overtaken: the acceptance of the
//! message releases what the customer wrote before it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, WorkSignal};
use crate::clock::Clock;
use crate::model::{Direction, Lane, Millis, OpenId};
use crate::store::{Store, StoreError};

/// The opening is noticed within this time.
const TICK: Duration = Duration::from_secs(1);
/// While the desk is open, the store is asked this often, in milliseconds: another instance may have had its doubts about the time, or may
/// have given its customers to this one.
const SCAN_INTERVAL_MS: i64 = 60_000;
/// The customers whose messages are released at once.
const BATCH: u32 = 64;

/// What the task needs.
#[derive(Debug)]
pub struct Opening {
    /// Holds the messages that wait.
    pub store: Store,
    /// Knows the working hours.
    pub bridge: Bridge,
    /// Signals the released messages to the outbox.
    pub work_signal: WorkSignal,
    /// The clock.
    pub clock: Clock,
}

impl Opening {
    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A wrong time could open the desk at night.
        stop.run_until_cancelled(self.clock.settled()).await;
        // When the store was last asked since the desk is open.
        let mut asked_at: Option<Millis> = None;
        let mut settings = self.bridge.settings();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let now = self.clock.now();
            // Other hours may have closed the desk and opened it again between two ticks.
            let before = std::mem::replace(&mut settings, self.bridge.settings());
            if !Arc::ptr_eq(&before, &settings) {
                asked_at = None;
            }
            if self.bridge.deferred_until(now).is_some() {
                asked_at = None;
                continue;
            }
            if asked_at.is_some_and(|at| (0..SCAN_INTERVAL_MS).contains(&now.since(at))) {
                continue;
            }
            // What has begun is finished, so that a stop loses no signal.
            match self.release_all(&stop).await {
                Ok(()) => asked_at = Some(now),
                Err(error) => tracing::warn!(
                    %error,
                    "cannot release the messages that waited for the working hours; trying again within a second"
                ),
            }
        }
    }

    /// Releases the messages of all customers of this instance.
    async fn release_all(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut cursor: Option<OpenId> = None;
        let mut released = 0;
        loop {
            let after = cursor.take();
            let found = self.store.read(move |tx| tx.deferred_customers(after.as_ref(), BATCH)).await?;
            let is_last = found.len() < BATCH as usize;
            cursor = found.last().cloned();
            let fleet = self.work_signal.fleet();
            let ours = found.into_iter().filter(|customer| fleet.owns(customer));
            released += try_join_all(ours.map(|customer| self.release(customer))).await?.len();
            if is_last || stop.is_cancelled() {
                break;
            }
        }
        if released > 0 {
            tracing::info!(
                customers = released,
                "the desk is open; the messages that waited for it leave now"
            );
        }
        Ok(())
    }

    async fn release(&self, customer: OpenId) -> Result<(), StoreError> {
        let lane = Lane { direction: Direction::ToIm, customer };
        self.bridge.open_for(lane.customer.clone()).await?;
        self.work_signal.notify(lane);
        Ok(())
    }
}
