//! Keeps strangers from filling the log: scanners probe every open port all day.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The number of log lines per second that strangers may cause, after a burst of as many.
const LINES_PER_S: NonZeroU32 = match NonZeroU32::new(5) {
    Some(lines) => lines,
    None => NonZeroU32::MIN,
};

/// What comes within this time is one burst.
const BURST: Duration = Duration::from_secs(5);

/// Decides whether one more line may be logged. Requests that are not logged still count in the
/// metrics.
#[derive(Debug)]
pub(super) struct LogLimiter(DefaultDirectRateLimiter);

impl Default for LogLimiter {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_second(LINES_PER_S)))
    }
}

impl LogLimiter {
    /// Allows one line a minute.
    pub(super) fn one_a_minute() -> Self {
        Self(RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)))
    }

    /// Allows one line in five seconds: whoever tries something once more after that reads what came of it.
    pub(super) fn one_a_burst() -> Self {
        Self(RateLimiter::direct(Quota::with_period(BURST).unwrap_or(Quota::per_minute(NonZeroU32::MIN))))
    }

    pub(super) fn allow(&self) -> bool {
        self.0.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_is_one() {
        let log_limiter = LogLimiter::one_a_minute();
        assert_eq!((0..1000).filter(|_| log_limiter.allow()).count(), 1);
    }

    #[test]
    fn a_flood_gets_only_the_first_lines() {
        let log_limiter = LogLimiter::default();
        let lines = (0..1000).filter(|_| log_limiter.allow()).count();
        assert!((5..100).contains(&lines), "{lines}");
    }
}
