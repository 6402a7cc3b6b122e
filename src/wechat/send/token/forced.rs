//! The budget of forced refreshes. WeChat allows only a few, and each one invalidates the token that
//! all others use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::millis;
use crate::model::Millis;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// How often refreshes may be forced.
#[derive(Clone, Copy, Debug)]
pub struct ForcedLimits {
    /// Their number in any 24 hours.
    pub per_day: usize,
    /// The shortest time between two of them.
    pub apart: Duration,
}

/// The times of the forced refreshes of the last 24 hours.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ForcedTimes(Vec<Millis>);

impl ForcedTimes {
    /// Until when no refresh may be forced; `None` if one may be forced now.
    ///
    /// A refresh of the future was forced before the clock was set back, or by an instance whose clock
    /// is ahead. It counts only if it is nearer than the limit, as one of the past does: otherwise it
    /// would block until the clock is there again.
    pub fn blocked_until(&self, limits: ForcedLimits, now: Millis) -> Option<Millis> {
        let apart = millis(limits.apart);
        let near = self.0.iter().filter(|at| **at < now.plus(apart)).max();
        let spaced_until = near.map(|at| at.plus(apart));
        let mut of_day: Vec<_> = self.0.iter().copied().filter(|at| is_within_a_day(*at, now)).collect();
        of_day.sort_unstable();
        // One is free again when fewer than `per_day` are left.
        let surplus = of_day.len().checked_sub(limits.per_day);
        let budget_until = surplus.map(|surplus| of_day.get(surplus).unwrap_or(&now).plus(DAY));
        spaced_until.max(budget_until).filter(|until| *until > now)
    }

    /// Counts a refresh that is forced now, and forgets those that count no more.
    pub fn push(&mut self, now: Millis) {
        self.0.retain(|at| is_within_a_day(*at, now));
        self.0.push(now);
    }
}

fn is_within_a_day(at: Millis, now: Millis) -> bool {
    at > now.plus(-DAY) && at < now.plus(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ForcedLimits = ForcedLimits { per_day: 2, apart: Duration::from_secs(30) };
    const NOW: Millis = Millis(100 * DAY);

    fn blocked_for(times: &[i64]) -> Option<i64> {
        let times = ForcedTimes(times.iter().map(|at| NOW.plus(*at)).collect());
        times.blocked_until(LIMITS, NOW).map(|until| until.since(NOW))
    }

    #[test]
    fn refreshes_are_spaced_and_budgeted() {
        assert_eq!(blocked_for(&[]), None);
        assert_eq!(blocked_for(&[-1]), Some(29_999));
        assert_eq!(blocked_for(&[-30_000]), None);
        assert_eq!(blocked_for(&[-40_000, -60_000]), Some(DAY - 60_000), "in any order");
        assert_eq!(blocked_for(&[-40_000, -50_000, -60_000]), Some(DAY - 50_000), "more than are allowed");
        assert_eq!(blocked_for(&[-40_000, -DAY]), None);
    }

    #[test]
    fn refreshes_of_the_future_do_not_block_until_then() {
        assert_eq!(blocked_for(&[10_000]), Some(40_000), "another instance's clock is a little ahead");
        assert_eq!(blocked_for(&[30_000]), None);
        assert_eq!(blocked_for(&[50_000, 60_000]), Some(DAY + 50_000));
        assert_eq!(blocked_for(&[DAY, 2 * DAY, 90 * DAY]), None);
        assert_eq!(blocked_for(&[i64::MIN, i64::MAX]), None);
    }

    #[test]
    fn refreshes_that_count_no_more_are_forgotten() {
        let mut times = ForcedTimes([-DAY, -1, DAY].map(|at| NOW.plus(at)).to_vec());
        times.push(NOW);
        assert_eq!(times.0, [NOW.plus(-1), NOW]);
    }
}
