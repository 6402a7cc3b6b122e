//! The clock as a parameter: the system's clock, or one that a test moves.
//!
//! No other code in the crate may read the system's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::model::Millis;

/// A source of Unix time. Cheap to clone; the clones of a movable clock move together.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// The offset to the system's time, in milliseconds.
    Movable(Arc<AtomicI64>),
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that runs with the system's clock and that [`Clock::advance`] can move.
    pub fn movable() -> Self {
        Self(Source::Movable(Arc::new(AtomicI64::new(0))))
    }

    /// Unix time in milliseconds.
    pub fn now(&self) -> Millis {
        let system = system_millis();
        match &self.0 {
            Source::System => Millis(system),
            Source::Movable(by) => Millis(system + by.load(Ordering::Relaxed)),
        }
    }

    /// Moves a movable clock by `millis` milliseconds, which may be negative. Does nothing to the
    /// system's clock.
    pub fn advance(&self, millis: i64) {
        if let Source::Movable(by) = &self.0 {
            by.fetch_add(millis, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_movable_clock_moves_and_its_clones_with_it() {
        let clock = Clock::movable();
        let other = clock.clone();
        let before = other.now();
        clock.advance(60_000);
        assert!(other.now().0 - before.0 >= 60_000);
    }
}
