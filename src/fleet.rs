//! The instances of the bridge that serve one database, and what this one owns.
//!
//! Any instance accepts; one sends for a customer. The customers are split into [`SHARDS`] shards, and each shard has one
//! owner at a time. What must be done by one instance alone takes hold of the customer's shard first ([`Fleet::hold`]),
//! and an instance gives a shard back only when nothing holds it. An instance that is silent for too long is taken for
//! dead: the others bury it and take its shards. The database then refuses what it records, and [`Lease`] keeps it from
//! calling a platform, which no database can.
//!
//! On SQLite there is one instance, which owns all, and [`member`] does not run. Must never decide about messages.

mod exchange;
mod judge;
mod member;
mod shards;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::model::{Lane, Millis, OpenId};
use crate::store::{Membership, TTL};

pub use exchange::ForeignSignals;
pub use member::{Member, MemberParts};
use shards::{Ownership, State};
pub use status::FleetStatus;

/// The number of shards.
pub const SHARDS: usize = 256;
/// How long after its last heartbeat an instance may still call a platform: less than others wait, who count from later.
const LEASE: Duration = Duration::from_millis(2_700);
const _: () = assert!(LEASE.as_millis() < TTL.as_millis(), "the lease ends first");

/// The share of all shards that this instance owns, of [`SHARDS`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Share(Arc<AtomicU32>);

impl Share {
    /// All of it.
    pub fn all() -> Self {
        Self(Arc::new(AtomicU32::new(WHOLE)))
    }

    /// How many shards are owned.
    pub fn owned(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// How often as slow as alone this instance must be, in sixteenths: 16 with all shards, 32 with half of them.
    pub fn slowness(&self) -> u32 {
        (16 * WHOLE).div_ceil(self.owned().clamp(1, WHOLE))
    }

    pub(crate) fn set(&self, owned: usize) {
        self.0.store(u32::try_from(owned).unwrap_or(WHOLE), Ordering::Relaxed);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is 256")]
const WHOLE: u32 = SHARDS as u32;

/// A time of which each conversation must be looked at once, because callbacks may have been lost when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// Random, so that no clock can give two eras the same id; never 0.
    pub id: i64,
    /// When it began, by the monotonic clock: the time may not have been known then.
    pub started_ms: i64,
}

/// What this instance owns. Clones share it.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: this process serves its database alone.
    others: Option<Others>,
    era: Mutex<Era>,
    share: Share,
}

/// What is known where there may be others.
#[derive(Debug)]
struct Others {
    membership: Membership,
    state: Mutex<State>,
    exchange: exchange::Exchange,
    /// A shard that is to be given back is held by nothing any more.
    drained: Notify,
    status: Mutex<FleetStatus>,
}

/// The shard of a customer: FNV-1a, the same in every version and on every machine.
fn shard_of(openid: &OpenId) -> usize {
    let bytes = openid.as_str().bytes();
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // The low bits of FNV-1a are its worst.
    usize::from((hash ^ (hash << 12)).to_be_bytes()[0])
}

/// Keeps the customer's shard with this instance until it is dropped.
#[derive(Debug)]
pub struct Hold(Option<Held>);

#[derive(Debug)]
struct Held {
    fleet: Fleet,
    shard: usize,
    life: CancellationToken,
    taken_at: Option<Instant>,
}

impl Hold {
    /// Waits until this instance has been taken for dead. What runs under the hold must then end at once.
    pub async fn buried(&self) {
        match &self.0 {
            Some(held) => held.life.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// How long this instance has had the shard; `None`: it has always had it. Before, another may have made calls of it.
    pub fn owned_for(&self) -> Option<Duration> {
        self.0.as_ref()?.taken_at.map(|taken_at| taken_at.elapsed())
    }

    /// Whether the shard is to be given back, so that no further work of it may begin.
    pub fn is_draining(&self) -> bool {
        let Some(held) = &self.0 else { return false };
        let Some(others) = &held.fleet.0.others else { return false };
        others.state.lock().shards.get(held.shard).is_none_or(|shard| shard.ownership != Ownership::Ours)
    }
}

impl Others {
    /// Others may take this instance for dead as soon as the session is gone that holds its presence.
    fn has_lease(&self) -> bool {
        let lease = self.state.lock().lease;
        lease.is_some_and(|(until, connection)| {
            Instant::now() < until && self.membership.connection() == (true, connection)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(others) = &self.fleet.0.others else { return };
        let mut state = others.state.lock();
        let Some(shard) = state.shards.get_mut(self.shard) else { return };
        shard.holds = shard.holds.saturating_sub(1);
        if shard.holds == 0 && shard.ownership != Ownership::Ours {
            others.drained.notify_one();
        }
    }
}

impl Fleet {
    /// The only instance, which owns all.
    pub fn alone(started_ms: i64) -> Self {
        let era = Era { id: rand::random_range(1..=i64::MAX), started_ms };
        Self(Arc::new(Inner { others: None, era: Mutex::new(era), share: Share::all() }))
    }

    /// One of several, which owns nothing yet.
    fn beside_others(membership: Membership, era: Era) -> Self {
        let share = Share::all();
        share.set(0);
        let others = Others {
            membership,
            state: Mutex::default(),
            exchange: exchange::Exchange::default(),
            drained: Notify::new(),
            status: Mutex::default(),
        };
        Self(Arc::new(Inner { others: Some(others), era: Mutex::new(era), share }))
    }

    /// Whether no other instance can serve the same database.
    pub fn is_alone(&self) -> bool {
        self.0.others.is_none()
    }

    /// The share of all shards that this instance owns.
    pub fn share(&self) -> Share {
        self.0.share.clone()
    }

    /// The present era.
    pub fn era(&self) -> Era {
        *self.0.era.lock()
    }

    /// What keeps this instance from calling a platform when others may take it for dead.
    pub fn lease(&self) -> Lease {
        Lease(LeaseKind::Of(self.clone()))
    }

    /// Takes hold of the customer's shard; `None` if it is not this instance's.
    pub fn hold(&self, customer: &OpenId) -> Option<Hold> {
        let Some(others) = &self.0.others else { return Some(Hold(None)) };
        let mut state = others.state.lock();
        let number = shard_of(customer);
        let life = state.life.clone();
        let shard = state.shards.get_mut(number).filter(|shard| shard.ownership == Ownership::Ours)?;
        shard.holds += 1;
        let taken_at = shard.taken_at;
        Some(Hold(Some(Held { fleet: self.clone(), shard: number, life, taken_at })))
    }

    /// Whether the customer is this instance's.
    pub fn owns(&self, customer: &OpenId) -> bool {
        self.owns_shard(shard_of(customer))
    }

    /// Whether this instance does what only one must do, and what belongs to no customer.
    pub fn owns_first_shard(&self) -> bool {
        self.owns_shard(0)
    }

    fn owns_shard(&self, number: usize) -> bool {
        let Some(others) = &self.0.others else { return true };
        let state = others.state.lock();
        state.shards.get(number).is_some_and(|shard| shard.ownership == Ownership::Ours)
    }

    /// Signals work in a lane that another instance owns.
    pub fn signal(&self, lane: Lane) {
        if let Some(others) = &self.0.others {
            others.exchange.signal(lane);
        }
    }

    /// Signals that any instance may have work that nobody signalled.
    pub fn signal_scan(&self) {
        if let Some(others) = &self.0.others {
            others.exchange.signal_scan();
        }
    }

    /// Waits until [`Self::take_signals`] has something.
    pub async fn signalled(&self) {
        match &self.0.others {
            Some(others) => others.exchange.signalled().await,
            None => std::future::pending().await,
        }
    }

    /// What other instances have signalled since the last call, for customers of this one.
    pub fn take_signals(&self) -> ForeignSignals {
        self.0.others.as_ref().map(|others| others.exchange.take()).unwrap_or_default()
    }

    /// The instances `now`, for `/readyz`; `None` where there is only one.
    pub fn status(&self, now: Millis) -> Option<FleetStatus> {
        let others = self.0.others.as_ref()?;
        // Under the lock, so that a heartbeat that succeeds meanwhile has the last word.
        let mut status = others.status.lock();
        if !others.has_lease() {
            status.out_of_reach_since.get_or_insert(now);
        }
        Some(status.clone())
    }
}

/// The right to call a platform: others do not take this instance for dead before it ends.
#[derive(Clone, Debug)]
pub struct Lease(LeaseKind);

#[derive(Clone, Debug)]
enum LeaseKind {
    Of(Fleet),
    /// It is over.
    #[cfg(test)]
    OfNobody,
}

/// The lease has ended: others may have taken over, so that the call must not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this instance has not reached the database for too long, and another may send in its place")]
pub struct LeaseOver;

impl Lease {
    /// A lease that never ends.
    pub fn unlimited() -> Self {
        Self(LeaseKind::Of(Fleet::alone(0)))
    }

    /// A lease that is over.
    #[cfg(test)]
    pub fn of_nobody() -> Self {
        Self(LeaseKind::OfNobody)
    }

    /// Whether it never ends.
    pub fn is_unlimited(&self) -> bool {
        match &self.0 {
            LeaseKind::Of(fleet) => fleet.is_alone(),
            #[cfg(test)]
            LeaseKind::OfNobody => false,
        }
    }

    /// Must be called right before the request is written, behind everything that waits.
    pub fn check(&self) -> Result<(), LeaseOver> {
        let is_valid = match &self.0 {
            LeaseKind::Of(fleet) => fleet.0.others.as_ref().is_none_or(Others::has_lease),
            #[cfg(test)]
            LeaseKind::OfNobody => false,
        };
        if is_valid { Ok(()) } else { Err(LeaseOver) }
    }
}

#[cfg(test)]
mod tests;
