//! A circuit breaker for a platform that is down: after several failures in a row no attempt is
//! made for a while, then one probe at a time, until one succeeds.

use std::sync::{Mutex, PoisonError};

use crate::model::Millis;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// The pause after it opens; it doubles with every failed probe.
const FIRST_PAUSE_MS: i64 = 500;
/// The longest pause: the recovery of a platform is noticed within this time.
const LONGEST_PAUSE_MS: i64 = 5_000;
/// How long a probe may take before the next one is admitted.
const PROBE_MS: i64 = 15_000;

/// The breaker of one platform.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    pause_ms: i64,
    until: Millis,
    has_just_closed: bool,
}

impl Breaker {
    /// Admits an attempt, or returns when to ask again.
    pub(super) fn admit(&self, now: Millis) -> Result<(), Millis> {
        let mut state = self.state();
        if state.failures < FAILURES {
            return Ok(());
        }
        if now < state.until {
            return Err(state.until);
        }
        // This attempt is the probe; the others wait for its outcome.
        state.until = now.plus(PROBE_MS);
        Ok(())
    }

    /// The admitted attempt made no call, so another may be the probe.
    pub(super) fn unused(&self) {
        let mut state = self.state();
        if state.failures >= FAILURES {
            state.until = Millis(0);
        }
    }

    /// The platform answered.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        if state.failures >= FAILURES {
            tracing::info!("the platform answers again; attempts continue");
            state.has_just_closed = true;
        }
        state.failures = 0;
        state.pause_ms = 0;
    }

    /// The platform did not answer, or reported an internal error.
    pub(super) fn failed(&self, now: Millis, why: &str) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures < FAILURES {
            return;
        }
        if state.failures == FAILURES {
            tracing::warn!(
                %why,
                "the platform does not answer; attempts pause, and one probe at a time tests whether it is back"
            );
        }
        state.pause_ms = (state.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        state.until = now.plus(state.pause_ms);
    }

    /// Whether the breaker has closed since the last call of this function.
    pub(super) fn has_just_closed(&self) -> bool {
        std::mem::take(&mut self.state().has_just_closed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_probes_one_at_a_time_and_closes_on_success() {
        let breaker = Breaker::default();
        let start = Millis(1_000_000);
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.failed(start, "down");
        }
        let until = breaker.admit(start).unwrap_err();
        assert_eq!(until, start.plus(FIRST_PAUSE_MS));
        assert_eq!(breaker.admit(until), Ok(()), "the probe");
        assert!(breaker.admit(until).is_err(), "one probe at a time");
        breaker.failed(until, "down");
        assert_eq!(breaker.admit(until), Err(until.plus(2 * FIRST_PAUSE_MS)));
        breaker.succeeded();
        assert!(breaker.has_just_closed());
        assert!(!breaker.has_just_closed());
        assert_eq!(breaker.admit(until), Ok(()));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let breaker = Breaker::default();
        for _ in 0..3 * FAILURES {
            breaker.failed(Millis(0), "down");
            breaker.succeeded();
        }
        assert_eq!(breaker.admit(Millis(0)), Ok(()));
    }
}
