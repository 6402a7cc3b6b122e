//! The first look after a start. What agents wrote while the bridge was down called nobody: before anything younger
//! of such a conversation goes out, its history is asked for, so that the customer gets it all in order.
//!
//! Never waits for longer than [`LOOK_WAIT`]: an answer that comes late is better than one out of reach of its turn.

use std::time::Duration;

use super::{Bridge, Inner};
use crate::model::{Direction, Lane, Millis, OpenId};
use crate::store::{Look, Owed, StoreError, Tx};

/// How long an answer waits at most for what may be missing before it.
pub const LOOK_WAIT: Duration = Duration::from_millis(1_500);
/// The same, milliseconds.
const LOOK_WAIT_MS: i64 = 1_500;
/// Conversations remembered that are to be looked at; the answers of others wait in vain.
pub(super) const WANTED: usize = 1_024;

/// This start of the bridge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Drawn, so that no clock can make two starts look like one; never 0.
    pub number: i64,
    pub at: Millis,
}

impl Inner {
    /// Whether agents may have written to the customer what this start has not looked for yet. Of those who are known
    /// only since this start nothing can have been missed before.
    pub(super) fn is_unlooked(&self, tx: &Tx<'_>, openid: &OpenId) -> Result<bool, StoreError> {
        let Start { number, at } = self.start;
        let looks = tx.unlooked(openid, &self.settings.agents, number)?;
        Ok(looks.iter().any(|look| look.known_since.since(at) < 0))
    }
}

impl Bridge {
    /// Tells this start of the bridge from every other.
    pub fn start(&self) -> i64 {
        self.0.start.number
    }

    /// Until when an answer that could go now waits for a look at its conversation; `None`: it need not.
    pub fn waits_for_look(&self, tx: &Tx<'_>, owed: &Owed) -> Result<Option<Millis>, StoreError> {
        let since = owed.created_at.max(self.0.start.at);
        let is_in_time = (0..LOOK_WAIT_MS).contains(&tx.now().since(since));
        if !owed.unlooked || !is_in_time || owed.part > 0 || self.would_withhold(tx, owed)?.is_some() {
            return Ok(None);
        }
        let waits = self.0.is_unlooked(tx, &owed.lane.customer)?;
        Ok(waits.then(|| since.plus(LOOK_WAIT_MS)))
    }

    /// An answer to the customer waits for a look.
    pub fn want_look(&self, lane: &Lane) {
        self.0.wanted.ring(lane.clone());
    }

    /// Waits until looks are wanted: at whose conversations.
    pub async fn wanted_looks(&self) -> Vec<OpenId> {
        self.0.wanted.rang().await;
        self.0.wanted.take().lanes.into_iter().map(|lane| lane.customer).collect()
    }

    /// A view was read up to `newest_s`, and everything in it was accepted.
    pub async fn looked(&self, look: Look, newest_s: i64) -> Result<(), StoreError> {
        let (start, is_first, customer) = (self.start(), look.is_first, look.customer.clone());
        self.0.store.write(move |tx| tx.looked(&look, newest_s, start)).await?;
        if is_first {
            self.ring_to_wechat(customer);
        }
        Ok(())
    }

    /// The customer's conversation could not be looked at in time: nothing waits for it any longer.
    pub async fn look_given_up(&self, customer: OpenId) -> Result<(), StoreError> {
        let (start, agents, openid) = (self.start(), self.agents().to_vec(), customer.clone());
        let give_up = move |tx: &Tx<'_>| {
            let looks = tx.unlooked(&openid, &agents, start)?;
            looks.iter().try_for_each(|look| tx.look_given_up(look, start))
        };
        self.0.store.write(give_up).await?;
        self.ring_to_wechat(customer);
        Ok(())
    }

    fn ring_to_wechat(&self, customer: OpenId) {
        self.0.bell.ring(Lane { direction: Direction::ToWechat, customer });
    }
}
