//! The first backfill of an era, which begins when the bridge starts, or an instance of it is lost.
//! Messages that agents sent while the bridge was down produced no callback. Before a younger message of such a conversation goes out, the bridge reads the
//! conversation's history, so that the customer gets all messages in order.
//!
//! An answer waits for at most [`BACKFILL_WAIT`]: a wrong order is better than a long delay.

use std::time::Duration;

use super::{Bridge, Inner};
use crate::model::{Direction, Lane, Millis, OpenId};
use crate::store::{Backfill, PendingCall, Scope, StoreError, Tx};

/// The longest time that an answer waits for the backfill of its conversation.
pub const BACKFILL_WAIT: Duration = Duration::from_millis(1_500);
/// The same, milliseconds.
const BACKFILL_WAIT_MS: i64 = 1_500;
/// The most conversations remembered for a backfill. The answers of any others wait for the full
/// [`BACKFILL_WAIT`].
pub(super) const MAX_BACKFILL_REQUESTS: usize = 1_024;

impl Inner {
    /// Whether agents may have written to the customer before this era without a callback, and no
    /// backfill has run since. For a conversation known only since this era began, no message can be
    /// missing.
    pub(super) fn needs_backfill(&self, tx: &Tx<'_>, openid: &OpenId) -> Result<bool, StoreError> {
        let era = self.fleet.era();
        let started_at = self.clock.at_monotonic(era.started_ms);
        let backfills = tx.missing_backfills(openid, &self.settings.agents, era.id)?;
        Ok(backfills.iter().any(|backfill| backfill.known_since.since(started_at) < 0))
    }
}

impl Bridge {
    /// A number that distinguishes this era from every other.
    pub fn era_id(&self) -> i64 {
        self.0.fleet.era().id
    }

    /// Until when an answer that could go now waits for the backfill of its conversation; `None` if
    /// it need not wait.
    pub fn backfill_wait_until(&self, tx: &Tx<'_>, call: &PendingCall) -> Result<Option<Millis>, StoreError> {
        let since = call.created_at.max(self.0.clock.at_monotonic(self.0.fleet.era().started_ms));
        let is_in_time = (0..BACKFILL_WAIT_MS).contains(&tx.now().since(since));
        if !call.before_backfill
            || !is_in_time
            || call.call_index > 0
            || self.hold_reason(tx, call)?.is_some()
        {
            return Ok(None);
        }
        let needs_backfill = self.inner().needs_backfill(tx, &call.lane.customer)?;
        Ok(needs_backfill.then(|| since.plus(BACKFILL_WAIT_MS)))
    }

    /// Requests a backfill, because an answer to the customer waits for it.
    pub fn request_backfill(&self, lane: &Lane) {
        self.0.backfill_requests.notify(lane.clone());
    }

    /// Waits for requests and returns the customers whose conversations must be backfilled.
    pub async fn next_backfill_requests(&self) -> Vec<OpenId> {
        self.0.backfill_requests.notified().await;
        self.0.backfill_requests.take().lanes.into_iter().map(|lane| lane.customer).collect()
    }

    /// Records that one agent's history with the customer was read up to `until_s` (Unix seconds)
    /// and that every message in it was accepted.
    pub async fn finish_backfill(&self, backfill: Backfill, until_s: i64) -> Result<(), StoreError> {
        let (is_first, customer) = (backfill.is_first, backfill.customer.clone());
        let scope = Scope::customer(&customer);
        self.0.store.write_for(scope, move |tx| tx.set_backfilled_until(&backfill, until_s)).await?;
        if is_first {
            self.notify_to_wechat(customer);
        }
        Ok(())
    }

    /// Records that the customer's conversation could not be backfilled in time, so that no answer
    /// waits for it any longer.
    pub async fn abandon_backfill(&self, customer: OpenId) -> Result<(), StoreError> {
        let (era_id, agents, openid) = (self.era_id(), self.agents(), customer.clone());
        let give_up = move |tx: &Tx<'_>| {
            let backfills = tx.missing_backfills(&openid, &agents, era_id)?;
            backfills.iter().try_for_each(|backfill| tx.abandon_backfill(backfill, era_id))
        };
        self.0.store.write_for(Scope::customer(&customer), give_up).await?;
        self.notify_to_wechat(customer);
        Ok(())
    }

    fn notify_to_wechat(&self, customer: OpenId) {
        self.0.work_signal.notify(Lane { direction: Direction::ToWechat, customer });
    }
}
