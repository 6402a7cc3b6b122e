//! The clock as a parameter: the system's clock, checked against other clocks, or one that a test
//! moves.
//!
//! The machine's own clock may be wrong, and may be set at any moment. So the time follows the
//! monotonic clock, and a jump of the machine's clock changes nothing until other servers' clocks
//! ([`RemoteClock`]) confirm it. Where they contradict the machine's clock, they win.
//!
//! No other code in the crate may read the system's clock. Must never know which servers it is
//! compared with.

pub mod calendar;
mod remote;
#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::model::Millis;

use remote::Remote;
pub use remote::RemoteClock;

/// From this difference on, milliseconds, two clocks contradict each other.
pub const MAX_SKEW_MS: i64 = 30_000;
/// The machine's clock is followed through changes of at most this size, milliseconds; a greater
/// one is a jump.
const JUMP_MS: i64 = 2_000;
/// How often [`Clock::until_trusted`] looks.
const TRUST_POLL: Duration = Duration::from_secs(1);
/// The longest wait for the examination of a jump.
const EXAMINATION: Duration = Duration::from_millis(1_500);
/// No offset: nothing has been examined.
const NEVER: i64 = i64::MIN / 2;

/// A source of Unix time. Cheap to clone; all clones share what has been measured, and the clones
/// of a movable clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    origin: Instant,
    /// The Unix time, in milliseconds, at which the monotonic clock showed 0.
    offset: AtomicI64,
    /// Whether nothing has to be measured before the clock counts as right.
    is_right_at_start: bool,
    /// The offset of the machine's clock when it was last compared with another clock, or when that
    /// was tried in vain.
    examined: watch::Sender<i64>,
    /// Notified when somebody waits for that.
    wanted: Notify,
    remotes: Mutex<Vec<Arc<Remote>>>,
    /// Since when the machine's clock is wrong.
    wrong_since: Mutex<Option<Millis>>,
}

#[derive(Debug)]
enum Source {
    System,
    /// A clock that tests move. Milliseconds.
    Movable {
        /// Time that has passed in addition to the system's.
        passed: AtomicI64,
        /// The error of the wall clock.
        error: AtomicI64,
    },
}

/// How wrong the machine's clock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongClock {
    /// Since when.
    pub since: Millis,
    /// By how many milliseconds it is ahead of the time that this clock goes by. Negative: behind.
    pub ahead_ms: i64,
    /// The other clocks that contradict it, with the milliseconds by which it is ahead of each.
    pub contradicted_by: Vec<(&'static str, i64)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The operating system's clock. It is not trusted before another clock confirms it.
    pub fn system() -> Self {
        Self::new(Source::System, false)
    }

    /// A clock that runs with the system's clock and that tests can move. It is right until a test
    /// makes it wrong.
    pub fn movable() -> Self {
        Self::new(Source::Movable { passed: AtomicI64::new(0), error: AtomicI64::new(0) }, true)
    }

    /// A movable clock of a process that starts on a machine whose clock is ahead by `millis`
    /// milliseconds. Nothing has confirmed it yet, as with [`Clock::system`].
    pub fn wrong_at_start(millis: i64) -> Self {
        Self::new(Source::Movable { passed: AtomicI64::new(0), error: AtomicI64::new(millis) }, false)
    }

    fn new(source: Source, is_right_at_start: bool) -> Self {
        let clock = Self(Arc::new(Inner {
            source,
            origin: Instant::now(),
            offset: AtomicI64::new(0),
            is_right_at_start,
            examined: watch::Sender::new(NEVER),
            wanted: Notify::new(),
            remotes: Mutex::default(),
            wrong_since: Mutex::default(),
        }));
        clock.0.offset.store(clock.offset_of_wall(), Ordering::Relaxed);
        if is_right_at_start {
            clock.0.examined.send_replace(clock.offset_of_wall());
        }
        clock
    }

    /// Unix time in milliseconds.
    pub fn now(&self) -> Millis {
        let (wall, monotonic) = (self.wall(), self.monotonic_ms());
        let offset = self.0.offset.load(Ordering::Relaxed);
        let of_wall = wall - monotonic;
        if (of_wall - offset).abs() > JUMP_MS {
            return Millis(monotonic + offset);
        }
        // Follow small corrections. If a measurement has just changed the offset, that one wins.
        let _ = self.0.offset.compare_exchange(offset, of_wall, Ordering::Relaxed, Ordering::Relaxed);
        Millis(wall)
    }

    /// A point of the monotonic clock, in milliseconds since this clock was created.
    pub fn monotonic_ms(&self) -> i64 {
        let passed = match &self.0.source {
            Source::System => 0,
            Source::Movable { passed, .. } => passed.load(Ordering::Relaxed),
        };
        millis(self.0.origin.elapsed()) + passed
    }

    /// The Unix time of a point of the monotonic clock, as far as it is known now.
    pub fn at_monotonic(&self, monotonic_ms: i64) -> Millis {
        self.now().plus(monotonic_ms - self.monotonic_ms())
    }

    /// What the machine's clock shows, right or wrong, to be compared with that of a server on which tests let no time
    /// pass.
    pub fn of_machine(&self) -> Millis {
        let error = match &self.0.source {
            Source::System => 0,
            Source::Movable { error, .. } => error.load(Ordering::Relaxed),
        };
        Millis(system_millis() + error)
    }

    /// What the machine's clock shows, right or wrong.
    fn wall(&self) -> i64 {
        let passed = match &self.0.source {
            Source::System => 0,
            Source::Movable { passed, .. } => passed.load(Ordering::Relaxed),
        };
        self.of_machine().0 + passed
    }

    /// The Unix time at which the monotonic clock showed 0, by the machine's clock.
    fn offset_of_wall(&self) -> i64 {
        self.wall() - self.monotonic_ms()
    }

    /// Lets `millis` milliseconds pass on a movable clock; if they are negative, time goes back.
    /// Does nothing to the system's clock.
    pub fn advance(&self, millis: i64) {
        if let Source::Movable { passed, .. } = &self.0.source {
            passed.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// Sets a movable clock forward by `millis` milliseconds, or back, without any time passing: as
    /// if somebody set the machine's clock. Does nothing to the system's clock.
    pub fn set_forward(&self, millis: i64) {
        if let Source::Movable { error, .. } = &self.0.source {
            error.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// The clock of another server, by a name that is the same in every call.
    pub fn remote(&self, name: &'static str) -> RemoteClock {
        let mut remotes = self.0.remotes.lock();
        let known = remotes.iter().find(|remote| remote.name == name).cloned();
        let remote = known.unwrap_or_else(|| {
            let remote = Arc::new(Remote::new(name));
            remotes.push(Arc::clone(&remote));
            remote
        });
        drop(remotes);
        RemoteClock::new(self.clone(), remote)
    }

    /// By how many milliseconds the machine's clock is ahead of each clock that has been measured.
    pub fn skews(&self) -> Vec<(&'static str, i64)> {
        let of_wall = self.offset_of_wall();
        let remotes = self.0.remotes.lock();
        remotes.iter().filter_map(|remote| Some((remote.name, of_wall - remote.offset()?))).collect()
    }

    /// Compares the machine's clock with the measured ones, and decides which to go by. `Err` says
    /// how wrong the machine's clock is.
    pub fn check(&self) -> Result<(), WrongClock> {
        let of_wall = self.offset_of_wall();
        let skews = self.skews();
        let is_confirmed = skews.iter().any(|(_, skew)| skew.abs() < MAX_SKEW_MS);
        if is_confirmed {
            self.0.offset.store(of_wall, Ordering::Relaxed);
        } else if let [(_, first), rest @ ..] = skews.as_slice()
            && rest.iter().all(|(_, skew)| (skew - first).abs() < MAX_SKEW_MS)
        {
            self.0.offset.store(of_wall - first, Ordering::Relaxed);
        }
        let ahead_ms = of_wall - self.0.offset.load(Ordering::Relaxed);
        let contradicted_by: Vec<_> =
            skews.into_iter().filter(|(_, skew)| skew.abs() >= MAX_SKEW_MS).collect();
        let mut wrong_since = self.0.wrong_since.lock();
        if contradicted_by.is_empty() && ahead_ms.abs() <= JUMP_MS {
            *wrong_since = None;
            return Ok(());
        }
        let since = *wrong_since.get_or_insert_with(|| self.now());
        Err(WrongClock { since, ahead_ms, contradicted_by })
    }

    /// Whether the time is known: another clock confirms it, and the machine's clock agrees.
    /// Nothing may be deleted or given up for its age while this is false.
    pub fn is_trusted(&self) -> bool {
        let skews = self.skews();
        let is_confirmed = skews.iter().any(|(_, skew)| skew.abs() < MAX_SKEW_MS);
        let has_jumped = (self.wall() - self.now().0).abs() > JUMP_MS;
        !has_jumped && (is_confirmed || (skews.is_empty() && self.0.is_right_at_start))
    }

    /// Waits until [`Clock::is_trusted`].
    pub async fn until_trusted(&self) {
        while !self.is_trusted() {
            tokio::time::sleep(TRUST_POLL).await;
        }
    }

    /// Whether another clock has been measured, so that [`Clock::now`] is right even where the
    /// machine's clock is wrong.
    pub fn is_measured(&self) -> bool {
        self.0.is_right_at_start || !self.skews().is_empty()
    }

    /// Whether the machine's clock has been compared with another one since it was last set, or since
    /// the start. Before that, the time may be wrong by any amount.
    pub fn is_settled(&self) -> bool {
        self.agrees_with(*self.0.examined.borrow())
    }

    fn agrees_with(&self, examined: i64) -> bool {
        (self.offset_of_wall() - examined).abs() <= JUMP_MS
    }

    /// Waits until [`Clock::is_settled`], at most 1.5 s.
    pub async fn settled(&self) {
        if self.is_settled() {
            return;
        }
        let mut examined = self.0.examined.subscribe();
        self.0.wanted.notify_one();
        let settled = examined.wait_for(|examined| self.agrees_with(*examined));
        let _ = tokio::time::timeout(EXAMINATION, settled).await;
    }

    /// Waits until somebody waits in [`Clock::settled`].
    pub async fn examination_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// The machine's clock has been compared with another one, or cannot be compared now. Ends the
    /// waits for that.
    pub fn mark_examined(&self) {
        self.0.examined.send_replace(self.offset_of_wall());
    }
}

/// A duration in whole milliseconds; one that is too long becomes the longest.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the only place that reads the system's clock")]
fn system_millis() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, millis)
}
