//! The health of a platform, for operators: since when it has refused our work, and how to fix
//! that.

use parking_lot::Mutex;

use crate::model::Millis;

/// Why a platform does not work for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// When the trouble began.
    pub since: Millis,
    /// The return code, if the platform gave one.
    pub code: Option<i64>,
    /// What the operator should do or know.
    pub advice: String,
}

/// The current health of one platform or part.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Degraded>>);

impl Health {
    /// `Ok` while it works, else why not.
    pub fn status(&self) -> Result<(), Degraded> {
        self.0.lock().clone().map_or(Ok(()), Err)
    }

    /// Records that it works.
    pub fn mark_healthy(&self) {
        *self.0.lock() = None;
    }

    /// Records that it does not work. Trouble that goes on keeps its start time, even when its
    /// reason changes. Returns whether the code or the advice is new to the operator.
    pub fn mark_degraded(&self, now: Millis, code: Option<i64>, advice: String) -> bool {
        let mut current = self.0.lock();
        let is_new = current.as_ref().is_none_or(|known| known.code != code || known.advice != advice);
        let since = current.as_ref().map_or(now, |known| known.since);
        *current = Some(Degraded { since, code, advice });
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_keeps_its_start_time_when_the_reason_changes() {
        let health = Health::default();
        assert_eq!(health.status(), Ok(()));
        assert!(health.mark_degraded(Millis(1), Some(40164), "a".into()));
        assert!(!health.mark_degraded(Millis(2), Some(40164), "a".into()));
        assert!(health.mark_degraded(Millis(3), Some(40125), "b".into()));
        assert_eq!(
            health.status(),
            Err(Degraded { since: Millis(1), code: Some(40125), advice: "b".into() })
        );
        health.mark_healthy();
        assert_eq!(health.status(), Ok(()));
    }
}
