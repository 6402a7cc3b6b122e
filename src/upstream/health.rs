//! The health of a platform, for operators: which of its APIs refuses or misses our calls, since
//! when, and how to fix that.
//!
//! Each API has a record of its own. A record ends only by the evidence that can end it: the
//! success of another API proves nothing.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use crate::model::Millis;

/// How long an API must have failed before that counts, milliseconds. Shorter failures pass by
/// themselves.
const FAILING_MS: i64 = 30_000;

/// Why an API does not work for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// The API.
    pub api: &'static str,
    /// When the trouble began.
    pub since: Millis,
    /// What is wrong; no secrets.
    pub why: String,
    /// What the operator should do or know.
    pub advice: String,
}

/// What a failed call says about its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong; no secrets.
    pub why: String,
    /// What the operator should do or know.
    pub advice: String,
}

/// What one call says about its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The call succeeded.
    Success,
    /// The platform refused what this one call asked for. So the API works, but no allowance is
    /// proven.
    Refused,
    /// No answer, or the platform is busy. This counts once it has lasted for 30 s.
    Failing(Fault),
    /// An operator must act. This counts at once.
    Blocked(Fault),
    /// A quota of the account or of its plan is used up. This counts at once, and only a success of
    /// the same API ends it.
    Exhausted(Fault),
}

/// The current health of one platform.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<&'static str, Record>>);

#[derive(Debug)]
struct Record {
    since: Millis,
    fault: Fault,
    counts_at_once: bool,
    needs_success: bool,
}

impl Health {
    /// The APIs that do not work, those that have failed for the longest time first.
    pub fn degraded(&self, now: Millis) -> Vec<Degraded> {
        let records = self.0.lock();
        let counts = |record: &Record| record.counts_at_once || now.since(record.since) >= FAILING_MS;
        let mut degraded: Vec<_> = (records.iter().filter(|(_, record)| counts(record)))
            .map(|(&api, Record { since, fault, .. })| {
                let Fault { why, advice } = fault.clone();
                Degraded { api, since: *since, why, advice }
            })
            .collect();
        degraded.sort_by_key(|degraded| degraded.since);
        degraded
    }

    /// Records the outcome of a call. Trouble that goes on keeps its start time, even when its
    /// reason changes. Returns whether the advice is new to the operator.
    pub fn record(&self, api: &'static str, now: Millis, evidence: Evidence) -> bool {
        let mut records = self.0.lock();
        let (fault, counts_at_once, exhausted) = match evidence {
            Evidence::Success => {
                records.remove(api);
                return false;
            }
            Evidence::Refused => {
                if records.get(api).is_some_and(|record| !record.needs_success) {
                    records.remove(api);
                }
                return false;
            }
            Evidence::Failing(fault) => (fault, false, false),
            Evidence::Blocked(fault) => (fault, true, false),
            Evidence::Exhausted(fault) => (fault, true, true),
        };
        let Some(known) = records.get_mut(api) else {
            let record = Record { since: now, fault, counts_at_once, needs_success: exhausted };
            records.insert(api, record);
            return true;
        };
        // What passes by itself must not hide what the operator has to fix.
        if known.counts_at_once && !counts_at_once {
            return false;
        }
        let is_new = known.fault.advice != fault.advice;
        known.fault = fault;
        known.counts_at_once |= counts_at_once;
        known.needs_success |= exhausted;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(advice: &str) -> Fault {
        Fault { why: format!("{advice}!"), advice: advice.to_owned() }
    }

    fn degraded(health: &Health, now: i64) -> Vec<(&'static str, i64, String)> {
        let found = health.degraded(Millis(now)).into_iter();
        found.map(|degraded| (degraded.api, degraded.since.0, degraded.advice)).collect()
    }

    #[test]
    fn trouble_keeps_its_start_time_when_the_reason_changes() {
        let health = Health::default();
        assert!(health.record("send", Millis(1), Evidence::Blocked(fault("a"))));
        assert!(!health.record("send", Millis(2), Evidence::Blocked(fault("a"))));
        assert!(health.record("send", Millis(3), Evidence::Blocked(fault("b"))));
        assert_eq!(degraded(&health, 3), [("send", 1, "b".to_owned())]);
        health.record("send", Millis(4), Evidence::Success);
        assert_eq!(degraded(&health, 4), []);
    }

    #[test]
    fn no_other_api_ends_a_record() {
        let health = Health::default();
        health.record("import", Millis(1), Evidence::Blocked(fault("a")));
        health.record("send", Millis(2), Evidence::Success);
        health.record("send", Millis(2), Evidence::Refused);
        assert_eq!(degraded(&health, 3), [("import", 1, "a".to_owned())]);
        health.record("import", Millis(4), Evidence::Refused);
        assert_eq!(degraded(&health, 4), []);
    }

    #[test]
    fn a_used_up_quota_ends_only_with_a_success() {
        let health = Health::default();
        health.record("import", Millis(1), Evidence::Exhausted(fault("a")));
        health.record("import", Millis(2), Evidence::Failing(fault("b")));
        health.record("import", Millis(3), Evidence::Refused);
        assert_eq!(degraded(&health, 3), [("import", 1, "a".to_owned())]);
        health.record("import", Millis(4), Evidence::Success);
        assert_eq!(degraded(&health, 4), []);
    }

    #[test]
    fn what_passes_by_itself_counts_after_half_a_minute() {
        let health = Health::default();
        health.record("send", Millis(1), Evidence::Failing(fault("a")));
        health.record("send", Millis(20_000), Evidence::Failing(fault("a")));
        assert_eq!(degraded(&health, 30_000), []);
        assert_eq!(degraded(&health, 30_001), [("send", 1, "a".to_owned())]);
    }
}
