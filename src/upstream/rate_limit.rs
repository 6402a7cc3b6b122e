//! Rate limits for calls: a token bucket for each API, and a slower rate after the platform reports
//! that we call too often.
//!
//! Several instances share the rate by what each owns: a call of one that owns half of everything takes twice as much
//! out of its bucket. So their sum stays within the rate while shares move, and a bucket never refills by that.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::fleet::Share;

/// The pause of an API after the platform reports that we call it too often.
const PAUSE: Duration = Duration::from_millis(500);
/// The slowest rate, after repeated reports: one call in this time.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Without a further report the rate doubles once in this time, until it is the usual one.
const RECOVERY_TIME: Duration = Duration::from_secs(2);

/// What a call takes out of the bucket of an instance that owns all: enough that shares can be told apart.
const CELLS: NonZeroU32 = NonZeroU32::new(16).expect("16 is not zero");

/// The rate limits of one platform, by name of the API.
#[derive(Debug)]
pub struct RateLimiter {
    buckets: DefaultKeyedRateLimiter<&'static str>,
    clock: DefaultClock,
    usual_interval: Duration,
    slowed: Mutex<HashMap<&'static str, SlowedApi>>,
    share: Share,
    /// The cells of a full bucket, which it refills in a second.
    bucket: NonZeroU32,
    turn: tokio::sync::Mutex<()>,
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
    /// Allows as much as one instance alone may do.
    #[cfg(test)]
    pub fn new(per_second: NonZeroU32) -> Self {
        Self::shared(per_second, Share::all())
    }

    /// Allows the instances together `per_second` calls a second of each API, in bursts of at most one second's worth,
    /// and this one its share of that.
    pub fn shared(per_second: NonZeroU32, share: Share) -> Self {
        let bucket = per_second.saturating_mul(CELLS);
        Self {
            buckets: governor::RateLimiter::keyed(Quota::per_second(bucket)),
            bucket,
            turn: tokio::sync::Mutex::default(),
            share,
            clock: DefaultClock::default(),
            usual_interval: Duration::from_secs(1) / per_second.get(),
            slowed: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until `api` may be called.
    pub async fn until_ready(&self, api: &'static str) {
        while let Err(wait) = self.reserve(api, Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        // Where a call costs more than a full bucket, one waits for the rest at a time.
        let is_tiny = self.share.slowness() > self.bucket.get();
        let _turn = if is_tiny { Some(self.turn.lock().await) } else { None };
        let rest = loop {
            match self.take(api) {
                Ok(rest) => break rest,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        };
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }

    /// Takes a call out of the bucket, or returns how long to wait. On success returns what is still to be waited: where
    /// the share is so small that a call costs more than the bucket holds, that is the rest.
    fn take(&self, api: &'static str) -> Result<Duration, Duration> {
        let cells = self.share.slowness();
        let (taken, rest) = (cells.min(self.bucket.get()), cells.saturating_sub(self.bucket.get()));
        let taken = NonZeroU32::new(taken).unwrap_or(CELLS);
        match self.buckets.check_key_n(&api, taken) {
            Ok(Ok(())) | Err(_) => {
                // The bucket refills by what it holds in a second.
                Ok(Duration::from_secs(1).mul_f64(f64::from(rest) / f64::from(self.bucket.get())))
            }
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
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
        assert_eq!((0..5).filter(|_| limiter.take("send").is_ok()).count(), 3);
        assert!(limiter.take("import").is_ok());
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

    #[test]
    fn a_share_of_the_rate_takes_its_share_of_the_bucket() {
        let share = Share::all();
        let limiter = RateLimiter::shared(NonZeroU32::new(100).unwrap(), share.clone());
        let taken = || (0..1_000).take_while(|_| limiter.take("send").is_ok()).count();
        share.set(64);
        assert_eq!((0..10).filter(|_| limiter.take("send").is_ok()).count(), 10);
        share.set(128);
        assert_eq!(taken(), 30, "of a hundred, ten have been taken as four each");
        share.set(256);
        assert!(taken() <= 1, "a greater share fills no bucket");
    }

    #[test]
    fn a_share_of_less_than_a_call_a_second_waits_for_its_time() {
        let share = Share::all();
        let limiter = RateLimiter::shared(NonZeroU32::new(2).unwrap(), share.clone());
        // A third of two calls a second: one in a second and a half, of which the bucket holds one second.
        share.set(86);
        assert_eq!(limiter.take("send"), Ok(Duration::from_millis(500)));
        let wait = limiter.take("send").unwrap_err();
        assert!(wait > Duration::from_millis(900), "{wait:?}");
        share.set(0);
        assert!(limiter.take("import").unwrap() > Duration::from_secs(100), "as with one shard");
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
