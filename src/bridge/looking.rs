//! The first backfill after a start. Messages that agents sent while the bridge was down produced
//! no callback. Before a younger message of such a conversation goes out, the bridge reads the
//! conversation's history, so that the customer gets all messages in order.
//!
//! An answer waits for at most [`BACKFILL_WAIT`]: a wrong order is better than a long delay.

use std::time::Duration;

use super::{Bridge, Inner};
use crate::model::{Direction, Lane, Millis, OpenId};
use crate::store::{Backfill, PendingCall, StoreError, Tx};

/// The longest time that an answer waits for the backfill of its conversation.
pub const LOOK_WAIT: Duration = Duration::from_millis(1_500);
/// The same, milliseconds.
const LOOK_WAIT_MS: i64 = 1_500;
/// The most conversations remembered for a backfill. The answers of any others wait for the full
/// [`BACKFILL_WAIT`].
pub(super) const WANTED: usize = 1_024;

/// Identifies this start of the bridge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Random, so that no clock can make two starts look alike; never 0.
    pub number: i64,
    /// When the bridge started.
    pub at: Millis,
}

impl Inner {
    /// Whether agents may have written to the customer before this start without a callback, and no
    /// backfill has run since. For a conversation known only since this start, no message can be
    /// missing.
    pub(super) fn is_unlooked(&self, tx: &Tx<'_>, openid: &OpenId) -> Result<bool, StoreError> {
        let Start { number, at } = self.start;
        let looks = tx.missing_backfills(openid, &self.settings.agents, number)?;
        Ok(looks.iter().any(|look| look.known_since.since(at) < 0))
    }
}

impl Bridge {
    /// A number that distinguishes this start of the bridge from every other.
    pub fn start(&self) -> i64 {
        self.0.start.number
    }

    /// Until when an answer that could go now waits for the backfill of its conversation; `None` if
    /// it need not wait.
    pub fn waits_for_look(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<Option<Millis>, StoreError> {
        let since = owed.created_at.max(self.0.start.at);
        let is_in_time = (0..LOOK_WAIT_MS).contains(&tx.now().since(since));
        if !owed.before_backfill
            || !is_in_time
            || owed.call_index > 0
            || self.would_withhold(tx, owed)?.is_some()
        {
            return Ok(None);
        }
        let waits = self.0.is_unlooked(tx, &owed.lane.customer)?;
        Ok(waits.then(|| since.plus(LOOK_WAIT_MS)))
    }

    /// Requests a backfill, because an answer to the customer waits for it.
    pub fn want_look(&self, lane: &Lane) {
        self.0.wanted.ring(lane.clone());
    }

    /// Waits for requests and returns the customers whose conversations must be backfilled.
    pub async fn wanted_looks(&self) -> Vec<OpenId> {
        self.0.wanted.rang().await;
        self.0.wanted.take().lanes.into_iter().map(|lane| lane.customer).collect()
    }

    /// Records that one agent's history with the customer was read up to `newest_s` (Unix seconds)
    /// and that every message in it was accepted.
    pub async fn looked(&self, look: Backfill, newest_s: i64) -> Result<(), StoreError> {
        let (start, is_first, customer) = (self.start(), look.is_first, look.customer.clone());
        self.0.store.write(move |tx| tx.set_backfilled_until(&look, newest_s, start)).await?;
        if is_first {
            self.ring_to_wechat(customer);
        }
        Ok(())
    }

    /// Records that the customer's conversation could not be backfilled in time, so that no answer
    /// waits for it any longer.
    pub async fn look_given_up(&self, customer: OpenId) -> Result<(), StoreError> {
        let (start, agents, openid) = (self.start(), self.agents().to_vec(), customer.clone());
        let give_up = move |tx: &Tx<'_>| {
            let looks = tx.missing_backfills(&openid, &agents, start)?;
            looks.iter().try_for_each(|look| tx.abandon_backfill(look, start))
        };
        self.0.store.write(give_up).await?;
        self.ring_to_wechat(customer);
        Ok(())
    }

    fn ring_to_wechat(&self, customer: OpenId) {
        self.0.bell.ring(Lane { direction: Direction::ToWechat, customer });
    }
}
