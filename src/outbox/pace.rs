//! Rate limits for calls: a token bucket for each API, and a slower rate after the platform reports
//! that we call too often.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// The pause of an API after the platform reports that we call it too often.
const PAUSE: Duration = Duration::from_millis(500);
/// The slowest rate, after repeated reports: one call in this time.
const SLOWEST: Duration = Duration::from_secs(1);
/// Without a further report the rate doubles once in this time, until it is the usual one.
const QUIET: Duration = Duration::from_secs(2);

/// The rate limits of one platform, by name of the API.
#[derive(Debug)]
pub struct Pace {
    buckets: DefaultKeyedRateLimiter<&'static str>,
    clock: DefaultClock,
    usual: Duration,
    slowed: Mutex<HashMap<&'static str, Slowed>>,
}

/// An API that was called too often: its calls are spaced out.
#[derive(Clone, Copy, Debug)]
struct Slowed {
    /// The time between two calls.
    apart: Duration,
    /// When the next call may be made.
    next: Instant,
    /// When the pause after the last report ends.
    paused_until: Instant,
    /// When the interval was last changed.
    changed: Instant,
}

impl Pace {
    /// Allows `per_second` calls a second of each API, in bursts of at most one second's worth.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            buckets: RateLimiter::keyed(Quota::per_second(per_second)),
            clock: DefaultClock::default(),
            usual: Duration::from_secs(1) / per_second.get(),
            slowed: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until `api` may be called.
    pub async fn until_ready(&self, api: &'static str) {
        while let Err(wait) = self.place(api, Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        while let Err(not_until) = self.buckets.check_key(&api) {
            tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
        }
    }

    /// The platform reported that `api` is called too often (60007): pauses its calls, then halves
    /// its rate.
    pub fn too_fast(&self, api: &'static str) {
        self.complained(api, Instant::now());
    }

    fn complained(&self, api: &'static str, now: Instant) {
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        let apart = match slowed.get(api) {
            // Reports about calls that were in flight together count as one.
            Some(slowed) if now < slowed.paused_until => return,
            Some(slowed) => slowed.apart * 2,
            None => self.usual * 2,
        };
        let paused_until = now + PAUSE;
        let next = paused_until;
        slowed.insert(
            api,
            Slowed { apart: apart.min(SLOWEST.max(self.usual)), next, paused_until, changed: now },
        );
    }

    /// Reserves a call of a slowed API; if it is too early, returns how long to wait before asking
    /// again.
    fn place(&self, api: &'static str, now: Instant) -> Result<(), Duration> {
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = slowed.get_mut(api) else { return Ok(()) };
        if let Some(wait) = row.next.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if now.duration_since(row.changed) >= QUIET {
            row.apart /= 2;
            row.changed = now;
            if row.apart <= self.usual {
                slowed.remove(api);
                return Ok(());
            }
        }
        row.next = now + row.apart;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u32) -> Pace {
        Pace::new(NonZeroU32::new(per_second).unwrap())
    }

    /// The number of calls admitted in the `millis` after `from`.
    fn places(pace: &Pace, from: Instant, millis: u64) -> usize {
        (0..millis).filter(|at| pace.place("send", from + Duration::from_millis(*at)).is_ok()).count()
    }

    #[test]
    fn each_api_has_its_own_budget_and_pause() {
        let pace = pace(3);
        assert_eq!((0..5).filter(|_| pace.buckets.check_key(&"send").is_ok()).count(), 3);
        assert!(pace.buckets.check_key(&"import").is_ok());
        let now = Instant::now();
        pace.complained("send", now);
        assert!(pace.place("send", now).is_err());
        assert!(pace.place("import", now).is_ok());
    }

    #[test]
    fn a_complaint_pauses_then_halves_the_pace_which_comes_back() {
        let (pace, start) = (pace(100), Instant::now());
        pace.complained("send", start);
        pace.complained("send", start + Duration::from_millis(10));
        assert_eq!(places(&pace, start, 500), 0, "the pause");
        assert_eq!(places(&pace, start + PAUSE, 1_000), 50, "one report halves the rate once");
        let again = start + Duration::from_millis(1_500);
        pace.complained("send", again);
        assert_eq!(places(&pace, again + PAUSE, 1_000), 25);
        assert_eq!(places(&pace, again + QUIET, 1_000), 50);
        assert_eq!(places(&pace, again + QUIET * 2, 1_000), 1_000, "only the bucket is left");
    }

    #[tokio::test]
    async fn waiting_ends_when_the_budget_is_back() {
        let pace = pace(50);
        let started = Instant::now();
        for _ in 0..60 {
            pace.until_ready("send").await;
        }
        assert!(started.elapsed() >= Duration::from_millis(150), "ten more than the burst, at 50 a second");
    }
}
