//! Keeps strangers from filling the log: scanners probe every open port all day.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The number of log lines per second that strangers may cause, after a burst of as many.
const LINES: NonZeroU32 = match NonZeroU32::new(5) {
    Some(lines) => lines,
    None => NonZeroU32::MIN,
};

/// Decides whether one more line may be logged. Requests that are not logged still count in the
/// metrics.
#[derive(Debug)]
pub(super) struct Quiet(DefaultDirectRateLimiter);

impl Default for Quiet {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_second(LINES)))
    }
}

impl Quiet {
    pub(super) fn allows(&self) -> bool {
        self.0.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_only_the_first_lines() {
        let quiet = Quiet::default();
        let lines = (0..1000).filter(|_| quiet.allows()).count();
        assert!((5..100).contains(&lines), "{lines}");
    }
}
