//! A value that is replaced while the program runs.

use std::sync::Arc;

use parking_lot::RwLock;

/// A value that is replaced as a whole. Clones share it. Whoever decides something takes [`Self::get`] once, so that
/// the decision stands on one value.
#[derive(Debug, Default)]
pub struct Live<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> Live<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The present value, which stays as it is for whoever has it.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.write() = Arc::new(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_value_keeps_it_and_everyone_else_gets_the_new_one() {
        let live = Live::new(1);
        let (shared, before) = (live.clone(), live.get());
        live.set(2);
        assert_eq!((*before, *shared.get()), (1, 2));
    }
}
