//! The health of what a platform sends us, for operators: whether all of its requests are refused,
//! because a setting differs from the platform's console.

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::model::Millis;

/// Fewer refused requests than this may come from anyone.
const MIN_REFUSED: u64 = 5;
/// How long no request may have been accepted, milliseconds.
const NONE_ACCEPTED_MS: i64 = 5 * 60 * 1000;

/// The current health of one platform's requests.
#[derive(Debug)]
pub struct InboundHealth {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accepted_at: Option<Millis>,
    refused: Option<Refused>,
}

/// The requests refused since the last one that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the first was refused.
    pub since: Millis,
    /// How many.
    pub count: u64,
    /// Why the last was refused, as in the metrics.
    pub reason: &'static str,
}

impl InboundHealth {
    /// Creates a healthy record.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// A request proved that it comes from the platform. This alone ends the trouble.
    pub fn record_accepted(&self) {
        *self.state.lock() = State { accepted_at: Some(self.clock.now()), refused: None };
    }

    /// A request was refused for a reason that a wrong setting could explain.
    pub fn record_refused(&self, reason: &'static str) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let refused = state.refused.get_or_insert(Refused { since: now, count: 0, reason });
        refused.count = refused.count.saturating_add(1);
        refused.reason = reason;
    }

    /// The refused requests, if they are many and none has been accepted for five minutes.
    pub fn trouble(&self) -> Option<Refused> {
        let state = self.state.lock();
        let accepted_lately =
            state.accepted_at.is_some_and(|at| self.clock.now().since(at) < NONE_ACCEPTED_MS);
        state.refused.filter(|refused| refused.count >= MIN_REFUSED && !accepted_lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refused_and_none_accepted_is_trouble_until_one_is_accepted() {
        let clock = Clock::movable();
        let health = InboundHealth::new(clock.clone());
        for _ in 1..MIN_REFUSED {
            health.record_refused("token");
        }
        assert_eq!(health.trouble(), None, "a few strangers");
        health.record_refused("stale");
        let trouble = health.trouble().unwrap();
        assert_eq!((trouble.count, trouble.reason), (MIN_REFUSED, "stale"));
        health.record_accepted();
        assert_eq!(health.trouble(), None);

        (0..50).for_each(|_| health.record_refused("token"));
        assert_eq!(health.trouble(), None, "one was accepted just now");
        clock.advance(NONE_ACCEPTED_MS);
        assert_eq!(health.trouble().map(|trouble| trouble.count), Some(50));
    }
}
