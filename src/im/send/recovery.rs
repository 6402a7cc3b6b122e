//! Callbacks that never came: IM gives us two seconds and calls once. At start and then once a minute the
//! conversations' histories are read, and what agents wrote and nobody told of is moved. A conversation that an answer
//! waits for is looked at ahead of that.
//!
//! Reads the *agents'* views, which hold both directions of our traffic (reference: "`admin_getroammsg`"), from the
//! newest message that was found before. Decides nothing about a message: the bridge does, as for a callback. A
//! failure of IM only postpones.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fail::fail_point;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::code::{self, Class};
use super::history::{PAGE, Pages};
use super::{Failure, History, ImCourier, PastMessage};
use crate::bridge::{Answered, Bridge, LOOK_WAIT};
use crate::clock::Clock;
use crate::model::{Answer, ImUserId, Millis, OpenId};
use crate::store::{Look, Store, StoreError};

/// From the beginning of one round to that of the next, milliseconds.
const ROUND_MS: i64 = 60_000;
/// How often it is looked whether a round is due.
const TICK: Duration = Duration::from_secs(1);
/// Conversations whose customer has written or come within this time are looked at, and as much of their history,
/// milliseconds: as long as WeChat lets an answer be pushed, and less than repeats are recognised.
const ACTIVE_MS: i64 = 48 * 3600 * 1000;
/// Calls in one round; a view that has been begun is read to its end.
const CALLS: u32 = 1_200;
/// Views read at once in a round, or of one conversation.
const AT_ONCE: usize = 8;
/// Conversations looked at at once because an answer waits; the answers of others wait in vain.
const WANTED_AT_ONCE: usize = 256;
/// How long after a failure a conversation that an answer waits for is looked at again.
const RETRY: Duration = Duration::from_millis(100);
/// How much later than a younger one a message may become visible, seconds.
const OVERLAP_S: i64 = 60;
/// How far IM's clock may be ahead of ours, seconds.
const SKEW_S: i64 = 600;

/// Looks for what agents wrote and no callback told of.
#[derive(Debug)]
pub struct Recovery {
    courier: Arc<ImCourier>,
    store: Store,
    bridge: Bridge,
    clock: Clock,
}

/// Why a round ended early; the next one goes on.
#[derive(Debug, thiserror::Error)]
enum Postponed {
    #[error(transparent)]
    Im(#[from] Failure),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Recovery {
    /// Makes its calls at the pace of `courier`, keeps in `store` how far each view has been read, and gives `bridge`
    /// what it finds.
    pub fn new(courier: Arc<ImCourier>, store: Store, bridge: Bridge, clock: Clock) -> Self {
        Self { courier, store, bridge, clock }
    }

    /// Works until stopped.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.rounds(&stop), self.wanted(&stop));
    }

    /// Looks at what is wanted until stopped.
    async fn wanted(&self, stop: &CancellationToken) {
        let mut looking = FuturesUnordered::new();
        let mut customers = HashSet::new();
        loop {
            tokio::select! {
                wanted = self.bridge.wanted_looks() => for customer in wanted {
                    if customers.len() < WANTED_AT_ONCE && customers.insert(customer.clone()) {
                        looking.push(self.look_at(customer));
                    }
                },
                Some(customer) = looking.next() => {
                    customers.remove(&customer);
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at one conversation as long as anything waits for that.
    async fn look_at(&self, customer: OpenId) -> OpenId {
        let looked = async {
            while let Err(error) = self.views(&customer).await {
                tracing::debug!(%error, "a conversation that an answer waits for is looked at again");
                tokio::time::sleep(RETRY).await;
            }
        };
        if tokio::time::timeout(LOOK_WAIT, looked).await.is_err() {
            tracing::warn!("an answer waits no longer for a look at what agents wrote before it");
            if let Err(error) = self.bridge.look_given_up(customer.clone()).await {
                tracing::warn!(%error, "that a look was given up is not kept");
            }
        }
        customer
    }

    /// Looks at a conversation as every agent has it.
    async fn views(&self, customer: &OpenId) -> Result<(), Postponed> {
        let (openid, agents, start) = (customer.clone(), self.bridge.agents().to_vec(), self.bridge.start());
        let looks = self.store.read(move |tx| tx.unlooked(&openid, &agents, start)).await?;
        self.all(looks).await
    }

    /// Looks until stopped, in rounds.
    async fn rounds(&self, stop: &CancellationToken) {
        let mut began: Option<Millis> = None;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let now = self.clock.now();
            if began.is_some_and(|began| (0..ROUND_MS).contains(&now.since(began))) {
                continue;
            }
            began = Some(now);
            tokio::select! {
                done = self.round() => if let Err(error) = done {
                    tracing::warn!(%error, "looking for agents' messages without a callback goes on in the next round");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn round(&self) -> Result<(), Postponed> {
        let (agents, since) = (self.bridge.agents().to_vec(), self.clock.now().plus(-ACTIVE_MS));
        let start = self.bridge.start();
        let looks = self.store.read(move |tx| tx.to_look_at(&agents, start, since, CALLS)).await?;
        self.all(looks).await
    }

    async fn all(&self, looks: Vec<Look>) -> Result<(), Postponed> {
        let calls = AtomicU32::new(0);
        stream::iter(looks.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |look| self.look(look, &calls))
            .await
    }

    /// Reads one view and moves what is new in it, the oldest first.
    async fn look(&self, look: Look, calls: &AtomicU32) -> Result<(), Postponed> {
        if calls.load(Ordering::Relaxed) >= CALLS {
            return Ok(());
        }
        // A UserID that cannot be has no history.
        let Ok(user) = ImUserId::of_customer(&look.customer, look.number) else { return Ok(()) };
        let mut found = match self.read(&look, &user, calls).await {
            Ok(found) => found,
            // IM will not show this one, whatever it shows of others.
            Err(Failure::Code { code, .. })
                if matches!(code::class(code), Class::CreateAccount | Class::Permanent) =>
            {
                Vec::new()
            }
            Err(failure) => return Err(failure.into()),
        };
        fail_point!("recovery.read");
        found.sort_by_key(|past| (past.message.msg_time, past.message.msg_seq));
        let newest_s = found.last().map_or(0, |past| past.message.msg_time);
        for answer in found.into_iter().filter_map(|past| answer_of(past, &look.agent, &user)) {
            if self.bridge.recovered(answer).await? == Answered::Accepted {
                tracing::warn!(im.agent = %look.agent, "recovered an agent's message whose callback had not come");
            }
            fail_point!("recovery.moved");
        }
        self.bridge.looked(look, newest_s).await?;
        fail_point!("recovery.looked");
        Ok(())
    }

    async fn read(
        &self,
        look: &Look,
        user: &ImUserId,
        calls: &AtomicU32,
    ) -> Result<Vec<PastMessage>, Failure> {
        let now_s = self.clock.now().seconds();
        let oldest_s = look.known_since.max(self.clock.now().plus(-ACTIVE_MS)).seconds();
        let min_s = oldest_s.max(look.newest_s - OVERLAP_S);
        let mut pages = Pages::of(History {
            operator: &look.agent,
            peer: user,
            min_s,
            max_s: now_s.max(min_s) + SKEW_S,
            max_count: PAGE,
            last_key: None,
        });
        let mut found = Vec::new();
        while pages.next().is_some() {
            calls.fetch_add(1, Ordering::Relaxed);
            found.extend(self.courier.next_page(&mut pages).await?.unwrap_or_default());
        }
        if !pages.is_exhausted() {
            tracing::warn!(im.agent = %look.agent, "a conversation is too long to look for lost callbacks in all of it");
        }
        Ok(found)
    }
}

/// What the agent said to the customer and has not taken back. Whatever the bridge sends is the customer's.
fn answer_of(past: PastMessage, agent: &ImUserId, customer: &ImUserId) -> Option<Answer> {
    let is_answer = past.message.from == *agent && past.message.to == *customer && !past.recalled;
    is_answer.then_some(past.message)
}
