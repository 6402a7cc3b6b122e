//! Looks after questions that nobody has answered: asks the bridge about those that are due.
//!
//! The owner of a customer's shard does it, and what was done is stored with the notice, so that each is sent once.

use std::time::Duration;

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, WorkSignal};
use crate::clock::Clock;
use crate::model::{Direction, Lane, Millis, OpenId};
use crate::store::{Store, StoreError};

/// How often the store is asked. An index answers, in the order of time.
const TICK: Duration = Duration::from_secs(1);
/// The most customers in one answer.
const BATCH: u32 = 64;

/// What the task needs.
#[derive(Debug)]
pub struct Unanswered {
    /// Holds the questions.
    pub store: Store,
    /// Decides what is due.
    pub bridge: Bridge,
    /// Signals the notices to the outbox.
    pub work_signal: WorkSignal,
    /// The clock.
    pub clock: Clock,
}

impl Unanswered {
    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            // By a wrong time every window would seem to close.
            if stop.run_until_cancelled(self.clock.settled()).await.is_none() {
                return;
            }
            if let Err(error) = self.attend_all(&stop).await {
                tracing::debug!(%error, "cannot look after unanswered questions; trying again within a second");
            }
        }
    }

    /// Attends to the questions that are due, of all customers of this instance.
    async fn attend_all(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut cursor: Option<(Millis, OpenId)> = None;
        while !stop.is_cancelled() {
            let after = cursor.take();
            let due = self.store.read(move |tx| tx.due_questions(after.as_ref(), BATCH)).await?;
            let is_last = due.len() < BATCH as usize;
            cursor = due.last().cloned();
            let fleet = self.work_signal.fleet();
            for (_, customer) in due.into_iter().filter(|(_, customer)| fleet.owns(customer)) {
                self.attend(customer).await?;
            }
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn attend(&self, customer: OpenId) -> Result<(), StoreError> {
        let lane = Lane { direction: Direction::ToIm, customer };
        let (bridge, openid, random) = (self.bridge.clone(), lane.customer.clone(), rand::rng().random());
        let scope = self.bridge.assignment_scope(&lane.customer);
        if self.store.write_for(scope, move |tx| bridge.attend(tx, &openid, random)).await? {
            self.work_signal.notify(lane);
        }
        Ok(())
    }
}
