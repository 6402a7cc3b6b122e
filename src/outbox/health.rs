//! What an operator must know: since when a platform has not let us work, and what to do about it.

use std::sync::{Mutex, PoisonError};

use crate::model::Millis;

/// Why sending does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwell {
    /// When the trouble was first met.
    pub since: Millis,
    /// Its return code, where it gave one.
    pub code: Option<i64>,
    /// What to do, or what to know.
    pub advice: String,
}

/// The latest word on whether something works.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Unwell>>);

impl Health {
    pub fn get(&self) -> Result<(), Unwell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// It works.
    pub fn well(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It does not work; trouble that goes on keeps the moment it began, even where its reason changes.
    /// Answers whether the operator has not heard of it yet.
    pub fn unwell(&self, now: Millis, code: Option<i64>, advice: String) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = current.as_ref().is_none_or(|known| known.code != code || known.advice != advice);
        let since = current.as_ref().map_or(now, |known| known.since);
        *current = Some(Unwell { since, code, advice });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_keeps_the_moment_it_began() {
        let health = Health::default();
        assert_eq!(health.get(), Ok(()));
        assert!(health.unwell(Millis(1), Some(40164), "a".into()));
        assert!(!health.unwell(Millis(2), Some(40164), "a".into()));
        assert!(health.unwell(Millis(3), Some(40125), "b".into()));
        assert_eq!(health.get(), Err(Unwell { since: Millis(1), code: Some(40125), advice: "b".into() }));
        health.well();
        assert_eq!(health.get(), Ok(()));
    }
}
