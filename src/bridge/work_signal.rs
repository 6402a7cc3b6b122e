//! The signal that tells the outbox which lanes have new work, after the commit that created it.
//!
//! A call whose attempt was recorded when its message was accepted is handed over with its place.
//!
//! A lane of a customer who belongs to another instance is signalled to that one.
//!
//! A lost signal costs time, never a message: the store is the source of truth, and the outbox also
//! scans it by itself.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::places::{Place, Places};
use crate::fleet::{Fleet, Hold};
use crate::model::{Lane, OpenId};
use crate::store::PendingCall;

/// The most lanes that are remembered between two calls of [`WorkSignal::take`]. Beyond that, the
/// outbox scans the store instead.
const MAX_LANES: usize = 65_536;

/// The lanes notified since the last call of [`WorkSignal::take`].
#[derive(Debug, Default)]
pub struct NotifiedLanes {
    /// Lanes with new work.
    pub lanes: HashSet<Lane>,
    /// More lanes were notified than are remembered.
    pub overflowed: bool,
    /// Calls whose attempt was recorded when their messages were accepted.
    pub direct: Vec<DirectCall>,
}

/// A call whose attempt was recorded in the transaction that accepted its message. It must be made now.
#[derive(Debug)]
pub struct DirectCall {
    /// The call, as it was before the attempt.
    pub pending: PendingCall,
    /// Its place.
    pub place: Place,
    /// Keeps the customer with this instance.
    pub hold: Hold,
    /// When the transaction was committed.
    pub accepted_at: Instant,
}

/// The signal that there is work. Clones share it.
#[derive(Clone, Debug)]
pub struct WorkSignal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    notified: Mutex<NotifiedLanes>,
    notify: Notify,
    places: Places,
    fleet: Fleet,
}

impl WorkSignal {
    /// Creates a signal for the customers of this instance of `fleet`.
    pub fn new(fleet: Fleet) -> Self {
        Self::with_capacity(fleet, MAX_LANES)
    }

    /// Creates a signal that remembers at most `capacity` lanes.
    pub fn with_capacity(fleet: Fleet, capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity,
            notified: Mutex::default(),
            notify: Notify::new(),
            places: Places::default(),
            fleet,
        }))
    }

    /// The instances, of which this one signals to itself.
    pub fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    /// Takes a place for a message that is being accepted, if its call may be made by this instance.
    pub fn take_offered(&self, customer: &OpenId) -> Option<(Place, Hold)> {
        let place = self.0.places.take_offered()?;
        Some((place, self.0.fleet.hold(customer)?))
    }

    /// The places for calls to IM.
    pub fn places(&self) -> &Places {
        &self.0.places
    }

    /// Hands over a call whose attempt has been recorded.
    pub fn hand_over(&self, pending: PendingCall, place: Place, hold: Hold) {
        self.0.notified.lock().direct.push(DirectCall { pending, place, hold, accepted_at: Instant::now() });
        self.0.notify.notify_one();
    }

    /// Signals new work in `lane`.
    pub fn notify(&self, lane: Lane) {
        if !self.0.fleet.owns(&lane.customer) {
            return self.0.fleet.signal(lane);
        }
        {
            let mut notified = self.0.notified.lock();
            if notified.lanes.len() < self.0.capacity {
                notified.lanes.insert(lane);
            } else {
                notified.overflowed = true;
            }
        }
        self.0.notify.notify_one();
    }

    /// Waits for a notification. Returns at once if one arrived since the last call.
    pub async fn notified(&self) {
        self.0.notify.notified().await;
    }

    /// Takes the notified lanes and resets the signal.
    pub fn take(&self) -> NotifiedLanes {
        std::mem::take(&mut *self.0.notified.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;

    #[tokio::test]
    async fn a_notification_before_the_wait_is_not_lost() {
        let signal = WorkSignal::new(Fleet::alone(0));
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        signal.notify(lane.clone());
        signal.notified().await;
        assert!(signal.take().lanes.contains(&lane));
        assert!(signal.take().lanes.is_empty());
    }
}
