//! The places for calls in flight, which the outbox owns.
//!
//! While it has nothing else to do, the outbox offers them: a message that gets one is claimed in the transaction that
//! accepts it, which saves a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for calls in flight. Clones share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    count: AtomicUsize,
    is_offered: AtomicBool,
}

/// A place for a call in flight. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is held, and never read")] OwnedSemaphorePermit);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(0)),
            count: AtomicUsize::new(0),
            is_offered: AtomicBool::new(false),
        }))
    }
}

impl Places {
    /// Makes `count` more places.
    pub fn add(&self, count: usize) {
        self.0.count.fetch_add(count, Ordering::Relaxed);
        self.0.free.add_permits(count);
    }

    /// Whether nobody has a place.
    pub fn are_all_free(&self) -> bool {
        self.0.free.available_permits() == self.0.count.load(Ordering::Relaxed)
    }

    /// Takes a place; `None` if none is free.
    pub fn take(&self) -> Option<Place> {
        Arc::clone(&self.0.free).try_acquire_owned().ok().map(Place)
    }

    /// Offers the free places to messages that are being accepted, or no longer does.
    pub fn offer(&self, is_offered: bool) {
        self.0.is_offered.store(is_offered, Ordering::Relaxed);
    }

    /// Takes a place for a message that is being accepted; `None` if none is free or offered.
    pub fn take_offered(&self) -> Option<Place> {
        self.0.is_offered.load(Ordering::Relaxed).then(|| self.take()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_by_one_and_free_again_when_it_is_dropped() {
        let places = Places::default();
        assert!(places.take().is_none());
        places.add(1);
        assert!(places.take_offered().is_none());
        places.offer(true);
        let place = places.take_offered();
        assert!(place.is_some() && places.take().is_none() && places.take_offered().is_none());
        drop(place);
        assert!(places.take().is_some());
    }
}
