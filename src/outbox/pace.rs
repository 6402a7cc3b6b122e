//! The pace of calls: a token bucket for each API, and a pause where the platform says that we are too fast.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// The first pause after the platform says that we are too fast; it doubles while it keeps saying so.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The pace of one platform's APIs, by their names.
#[derive(Debug)]
pub struct Pace {
    buckets: DefaultKeyedRateLimiter<&'static str>,
    clock: DefaultClock,
    pauses: Mutex<HashMap<&'static str, Pause>>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Pace {
    /// At most `per_second` calls of each API, in bursts of at most one second's worth.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            buckets: RateLimiter::keyed(Quota::per_second(per_second)),
            clock: DefaultClock::default(),
            pauses: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until `api` may be called.
    pub async fn until_ready(&self, api: &'static str) {
        loop {
            let wait = match self.pause(api) {
                Some(wait) => wait,
                None => match self.buckets.check_key(&api) {
                    Ok(()) => return,
                    Err(not_until) => not_until.wait_time_from(self.clock.now()),
                },
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The platform says that `api` is called too often (60007).
    pub fn too_fast(&self, api: &'static str) {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let length = match pauses.get(api) {
            // Calls that were under way together count as one complaint.
            Some(pause) if now < pause.until => return,
            Some(pause) if now < pause.until + LONGEST_PAUSE => (pause.length * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        pauses.insert(api, Pause { until: now + length, length });
    }

    fn pause(&self, api: &'static str) -> Option<Duration> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let until = pauses.get(api)?.until;
        until.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_own_budget_and_pause() {
        let pace = Pace::new(NonZeroU32::new(3).unwrap());
        assert_eq!((0..5).filter(|_| pace.buckets.check_key(&"send").is_ok()).count(), 3);
        assert!(pace.buckets.check_key(&"import").is_ok());
        pace.too_fast("send");
        assert!(pace.pause("send").is_some());
        assert!(pace.pause("import").is_none());
    }

    #[tokio::test]
    async fn waiting_ends_when_the_budget_is_back() {
        let pace = Pace::new(NonZeroU32::new(50).unwrap());
        let started = Instant::now();
        for _ in 0..60 {
            pace.until_ready("send").await;
        }
        assert!(started.elapsed() >= Duration::from_millis(150), "ten more than the burst, at 50 a second");
    }
}
