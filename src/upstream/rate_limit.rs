//! Rate limits for calls: a token bucket for each API, and a slower rate after the platform reports
//! that we call too often.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// The pause of an API after the platform reports that we call it too often.
const PAUSE: Duration = Duration::from_millis(500);
/// The slowest rate, after repeated reports: one call in this time.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Without a further report the rate doubles once in this time, until it is the usual one.
const RECOVERY_TIME: Duration = Duration::from_secs(2);

/// The rate limits of one platform, by name of the API.
#[derive(Debug)]
pub struct RateLimiter {
    buckets: DefaultKeyedRateLimiter<&'static str>,
    clock: DefaultClock,
    usual_interval: Duration,
    slowed: Mutex<HashMap<&'static str, SlowedApi>>,
}

/// An API that was called too often: its calls are spaced out.
#[derive(Clone, Copy, Debug)]
struct SlowedApi {
    /// The time between two calls.
    interval: Duration,
    /// When the next call may be made.
    next_at: Instant,
    /// When the pause after the last report ends.
    paused_until: Instant,
    /// When the interval was last changed.
    changed_at: Instant,
}

impl RateLimiter {
    /// Allows `per_second` calls a second of each API, in bursts of at most one second's worth.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            buckets: governor::RateLimiter::keyed(Quota::per_second(per_second)),
            clock: DefaultClock::default(),
            usual_interval: Duration::from_secs(1) / per_second.get(),
            slowed: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until `api` may be called.
    pub(super) async fn until_ready(&self, api: &'static str) {
        while let Err(wait) = self.reserve(api, Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        while let Err(not_until) = self.buckets.check_key(&api) {
            tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
        }
    }

    /// The platform reported that `api` is called too often (60007): pauses its calls, then halves
    /// its rate.
    pub(super) fn slow_down(&self, api: &'static str) {
        self.slow_down_at(api, Instant::now());
    }

    fn slow_down_at(&self, api: &'static str, now: Instant) {
        let mut slowed = self.slowed.lock();
        let interval = match slowed.get(api) {
            // Reports about calls that were in flight together count as one.
            Some(slowed) if now < slowed.paused_until => return,
            Some(slowed) => slowed.interval * 2,
            None => self.usual_interval * 2,
        };
        let paused_until = now + PAUSE;
        let next_at = paused_until;
        slowed.insert(
            api,
            SlowedApi {
                interval: interval.min(MAX_INTERVAL.max(self.usual_interval)),
                next_at,
                paused_until,
                changed_at: now,
            },
        );
    }

    /// Reserves a call of a slowed API; if it is too early, returns how long to wait before asking
    /// again.
    fn reserve(&self, api: &'static str, now: Instant) -> Result<(), Duration> {
        let mut slowed = self.slowed.lock();
        let Some(api_state) = slowed.get_mut(api) else { return Ok(()) };
        if let Some(wait) = api_state.next_at.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if now.duration_since(api_state.changed_at) >= RECOVERY_TIME {
            api_state.interval /= 2;
            api_state.changed_at = now;
            if api_state.interval <= self.usual_interval {
                slowed.remove(api);
                return Ok(());
            }
        }
        api_state.next_at = now + api_state.interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: u32) -> RateLimiter {
        RateLimiter::new(NonZeroU32::new(per_second).unwrap())
    }

    /// The number of calls admitted in the `millis` after `from`.
    fn admitted(limiter: &RateLimiter, from: Instant, millis: u64) -> usize {
        (0..millis).filter(|at| limiter.reserve("send", from + Duration::from_millis(*at)).is_ok()).count()
    }

    #[test]
    fn each_api_has_its_own_budget_and_pause() {
        let limiter = limiter(3);
        assert_eq!((0..5).filter(|_| limiter.buckets.check_key(&"send").is_ok()).count(), 3);
        assert!(limiter.buckets.check_key(&"import").is_ok());
        let now = Instant::now();
        limiter.slow_down_at("send", now);
        assert!(limiter.reserve("send", now).is_err());
        assert!(limiter.reserve("import", now).is_ok());
    }

    #[test]
    fn a_rate_error_pauses_then_halves_the_rate_which_recovers() {
        let (limiter, start) = (limiter(100), Instant::now());
        limiter.slow_down_at("send", start);
        limiter.slow_down_at("send", start + Duration::from_millis(10));
        assert_eq!(admitted(&limiter, start, 500), 0, "the pause");
        assert_eq!(admitted(&limiter, start + PAUSE, 1_000), 50, "one report halves the rate once");
        let again = start + Duration::from_millis(1_500);
        limiter.slow_down_at("send", again);
        assert_eq!(admitted(&limiter, again + PAUSE, 1_000), 25);
        assert_eq!(admitted(&limiter, again + RECOVERY_TIME, 1_000), 50);
        assert_eq!(admitted(&limiter, again + RECOVERY_TIME * 2, 1_000), 1_000, "only the bucket is left");
    }

    #[tokio::test]
    async fn until_ready_waits_for_the_token_bucket() {
        let limiter = limiter(50);
        let started = Instant::now();
        for _ in 0..60 {
            limiter.until_ready("send").await;
        }
        assert!(started.elapsed() >= Duration::from_millis(150), "ten more than the burst, at 50 a second");
    }
}
