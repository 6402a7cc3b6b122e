//! A circuit breaker for a platform that is down: after several failures in a row no attempt is
//! made for a while, then one probe at a time, until one succeeds.

use parking_lot::{Mutex, MutexGuard};

use crate::model::Millis;

/// Failures in a row that open the breaker.
const MAX_FAILURES: u32 = 5;
/// The pause after it opens; it doubles with every failed probe.
const FIRST_PAUSE_MS: i64 = 500;
/// The longest pause: the recovery of a platform is noticed within this time.
const LONGEST_PAUSE_MS: i64 = 5_000;
/// How long a probe may take before the next one is admitted.
const PROBE_MS: i64 = 15_000;

/// The breaker of one platform.
#[derive(Debug)]
pub struct Breaker {
    /// What the log calls the platform or the lanes that it protects.
    name: &'static str,
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    pause_ms: i64,
    retry_at: Millis,
    has_just_closed: bool,
    /// The last failure's text.
    why: String,
}

impl Breaker {
    /// Creates a closed breaker; the log calls it `name`.
    pub fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::default() }
    }

    /// Admits an attempt, or returns when to ask again.
    pub fn admit(&self, now: Millis) -> Result<(), Millis> {
        let mut state = self.state();
        if state.failures < MAX_FAILURES {
            return Ok(());
        }
        if now < state.retry_at {
            return Err(state.retry_at);
        }
        // This attempt is the probe; the others wait for its outcome.
        state.retry_at = now.plus(PROBE_MS);
        Ok(())
    }

    /// Whether attempts are admitted as they come.
    pub fn is_closed(&self) -> bool {
        self.state().failures < MAX_FAILURES
    }

    /// The admitted attempt made no call, so another may be the probe.
    pub fn release_probe(&self) {
        let mut state = self.state();
        if state.failures >= MAX_FAILURES {
            state.retry_at = Millis(0);
        }
    }

    /// The platform answered.
    pub fn record_success(&self) {
        let mut state = self.state();
        if state.failures >= MAX_FAILURES {
            tracing::info!(breaker = self.name, "the platform answers again; attempts continue");
            state.has_just_closed = true;
        }
        state.failures = 0;
        state.pause_ms = 0;
    }

    /// The platform did not answer, or reported an internal error.
    pub fn record_failure(&self, now: Millis, why: &str) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures < MAX_FAILURES {
            return;
        }
        why.clone_into(&mut state.why);
        if state.failures == MAX_FAILURES {
            tracing::warn!(
                breaker = self.name,
                %why,
                "the platform does not answer; attempts pause, and one probe at a time tests whether it is back"
            );
        }
        state.pause_ms = (state.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        state.retry_at = now.plus(state.pause_ms);
    }

    /// Why attempts pause; `None` if they do not.
    pub fn why(&self) -> Option<String> {
        let state = self.state();
        (state.failures >= MAX_FAILURES).then(|| state.why.clone())
    }

    /// Whether the breaker has closed since the last call of this function.
    pub fn take_just_closed(&self) -> bool {
        std::mem::take(&mut self.state().has_just_closed)
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_probes_one_at_a_time_and_closes_on_success() {
        let breaker = Breaker::new("test");
        let start = Millis(1_000_000);
        for _ in 0..MAX_FAILURES {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.record_failure(start, "down");
        }
        let retry_at = breaker.admit(start).unwrap_err();
        assert_eq!(retry_at, start.plus(FIRST_PAUSE_MS));
        assert_eq!(breaker.admit(retry_at), Ok(()), "the probe");
        assert!(breaker.admit(retry_at).is_err(), "one probe at a time");
        breaker.record_failure(retry_at, "down");
        assert_eq!(breaker.admit(retry_at), Err(retry_at.plus(2 * FIRST_PAUSE_MS)));
        breaker.record_success();
        assert!(breaker.take_just_closed());
        assert!(!breaker.take_just_closed());
        assert_eq!(breaker.admit(retry_at), Ok(()));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let breaker = Breaker::new("test");
        for _ in 0..3 * MAX_FAILURES {
            breaker.record_failure(Millis(0), "down");
            breaker.record_success();
        }
        assert_eq!(breaker.admit(Millis(0)), Ok(()));
    }
}
