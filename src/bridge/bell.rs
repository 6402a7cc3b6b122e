//! The signal that tells the outbox which lanes have new work, after the commit that created it.
//!
//! A lost signal costs time, never a message: the store is the source of truth, and the outbox also
//! scans it by itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::Lane;

/// The most lanes that are remembered between two calls of [`WorkSignal::take`]. Beyond that, the
/// outbox scans the store instead.
const REMEMBERED: usize = 65_536;

/// The lanes notified since the last call of [`WorkSignal::take`].
#[derive(Debug, Default)]
pub struct Rung {
    /// Lanes with new work.
    pub lanes: HashSet<Lane>,
    /// More lanes were notified than are remembered.
    pub more: bool,
}

/// The signal that there is work. Clones share it.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: usize,
    rung: Mutex<Rung>,
    notify: Notify,
}

impl Default for Bell {
    fn default() -> Self {
        Self::with_room(REMEMBERED)
    }
}

impl Bell {
    /// Creates a signal that remembers at most `capacity` lanes.
    pub fn with_room(room: usize) -> Self {
        Self(Arc::new(Inner { room, rung: Mutex::default(), notify: Notify::new() }))
    }

    /// Signals new work in `lane`.
    pub fn ring(&self, lane: Lane) {
        {
            let mut rung = self.0.rung.lock().unwrap_or_else(PoisonError::into_inner);
            if rung.lanes.len() < self.0.room {
                rung.lanes.insert(lane);
            } else {
                rung.more = true;
            }
        }
        self.0.notify.notify_one();
    }

    /// Waits for a notification. Returns at once if one arrived since the last call.
    pub async fn rang(&self) {
        self.0.notify.notified().await;
    }

    /// Takes the notified lanes and resets the signal.
    pub fn take(&self) -> Rung {
        std::mem::take(&mut *self.0.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, OpenId};

    #[tokio::test]
    async fn a_ring_before_the_wait_is_not_lost() {
        let bell = Bell::default();
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        bell.ring(lane.clone());
        bell.rang().await;
        assert!(bell.take().lanes.contains(&lane));
        assert!(bell.take().lanes.is_empty());
    }
}
