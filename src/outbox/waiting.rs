//! Tells agents that a message of theirs waits, and why, once it has waited for too long. That it was
//! delivered after all is told when it is settled.

use rand::RngExt as _;

use crate::bridge::{Bridge, WorkSignal};
use crate::model::{Direction, Lane};
use crate::store::{Store, StoreError, Tx};

/// The most notices in one transaction.
const BATCH: u32 = 64;

/// Sends the notices.
#[derive(Debug)]
pub(super) struct WaitNotices {
    /// Holds the messages that wait.
    pub store: Store,
    /// Words and enqueues the notices.
    pub bridge: Bridge,
    /// Signals the notices to the outbox.
    pub work_signal: WorkSignal,
    /// How long a message waits until its agent is told, milliseconds; `None`: never.
    pub after_ms: Option<i64>,
}

impl WaitNotices {
    /// Enqueues the notices that are due. `outage`: why nothing is sent to the customers' platform
    /// at present.
    pub(super) async fn send(&self, outage: Option<String>) {
        let Some(after_ms) = self.after_ms else { return };
        if let Err(error) = self.send_due(after_ms, outage).await {
            tracing::debug!(%error, "cannot tell agents which messages wait; trying again within a second");
        }
    }

    async fn send_due(&self, after_ms: i64, outage: Option<String>) -> Result<(), StoreError> {
        // Read first, because a write is a commit.
        let due = move |tx: &Tx<'_>| tx.long_waiting(tx.now().plus(-after_ms), BATCH);
        let due = self.store.read(due).await?;
        let fleet = self.work_signal.fleet();
        if !due.iter().any(|waiting| fleet.owns(&waiting.openid)) {
            return Ok(());
        }
        let (bridge, random) = (self.bridge.clone(), rand::rng().random::<u32>());
        let fleet = fleet.clone();
        let notify = move |tx: &Tx<'_>| {
            let mut notified = Vec::new();
            let due = tx.long_waiting(tx.now().plus(-after_ms), BATCH)?;
            let ours = due.into_iter().filter(|waiting| fleet.owns(&waiting.openid));
            for (index, waiting) in (0..).zip(ours) {
                tx.mark_wait_noticed(waiting.id)?;
                // A message that cannot be read is set aside by its lane.
                let Ok(pending) = tx.pending_call(waiting.id) else { continue };
                let why = waiting.why.as_deref().or(outage.as_deref());
                if bridge.notify_waiting(tx, &pending, why, random.wrapping_add(index))? {
                    notified.push(pending.lane.customer);
                }
            }
            Ok(notified)
        };
        for customer in self.store.write(notify).await? {
            self.work_signal.notify(Lane { direction: Direction::ToIm, customer });
        }
        Ok(())
    }
}
