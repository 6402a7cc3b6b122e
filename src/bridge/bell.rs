//! The bell: tells the outbox which lanes have new work, after the commit that made it.
//!
//! Losing a ring costs time, never a message: the store is the truth, and the outbox looks again by itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::Lane;

/// Lanes that are usually remembered between two looks; beyond, the outbox is told to look at the store instead.
const REMEMBERED: usize = 65_536;

/// What rang since the last look.
#[derive(Debug, Default)]
pub struct Rung {
    /// Lanes with new work.
    pub lanes: HashSet<Lane>,
    /// More lanes rang than are remembered.
    pub more: bool,
}

/// The bell. Clones ring the same one.
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
    /// A bell that remembers so many lanes.
    pub fn with_room(room: usize) -> Self {
        Self(Arc::new(Inner { room, rung: Mutex::default(), notify: Notify::new() }))
    }

    /// There is new work in `lane`.
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

    /// Waits until it rings, unless it already has since the last look.
    pub async fn rang(&self) {
        self.0.notify.notified().await;
    }

    /// Takes what rang.
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
