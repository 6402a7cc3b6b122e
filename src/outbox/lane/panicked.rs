//! A lane whose processing panics: the panic is counted, and the message at the head of the lane ends
//! when it has caused several, so that the messages behind it go on.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::RngExt as _;

use super::settle::settle_without_attempt;
use super::{LaneWorker, Rest};
use crate::bridge::notice::EndReason;
use crate::fleet::Hold;
use crate::model::{Lane, MessageId, Move, State};
use crate::outbox::panics::{MAX_PANICS, PANIC_REST_MS};
use crate::store::{PendingCall, Settlement, StoreError, Tx};

/// The most lanes whose panics are remembered; at the limit, all are forgotten.
const MAX_LANES: usize = 4_096;

/// The panics over the messages at the heads of lanes.
#[derive(Debug, Default)]
pub(in crate::outbox) struct PanicCounts(Mutex<HashMap<Lane, (MessageId, u32)>>);

impl PanicCounts {
    /// Counts a panic over `head`. Returns how many there have been in a row.
    fn record(&self, lane: &Lane, head: MessageId) -> u32 {
        let mut counts = self.0.lock();
        if counts.len() >= MAX_LANES {
            counts.clear();
        }
        let entry = counts.entry(lane.clone()).or_insert((head, 0));
        *entry = if entry.0 == head { (head, entry.1 + 1) } else { (head, 1) };
        entry.1
    }

    fn forget(&self, lane: &Lane) {
        self.0.lock().remove(lane);
    }
}

impl LaneWorker {
    /// Works on `lane` until it rests or panics, or this instance is taken for dead, beginning with the call whose attempt is recorded already.
    pub(in crate::outbox) async fn work_or_panic(
        self: Arc<Self>,
        lane: Lane,
        direct: Option<PendingCall>,
        hold: Hold,
    ) -> Rest {
        let work = AssertUnwindSafe(Arc::clone(&self).work(lane.clone(), direct, &hold));
        tokio::select! {
            worked = work.catch_unwind() => match worked {
                Ok(rest) => rest,
                Err(_) => self.panicked(&lane).await,
            },
            // Another instance has taken over the lane. What this one has begun is as after a crash.
            () = hold.buried() => {
                self.breaker.release_probe();
                Rest::Stopped
            }
        }
    }

    /// Counts a panic, and ends the message at the head of the lane if it has caused too many.
    pub(super) async fn panicked(&self, lane: &Lane) -> Rest {
        self.breaker.release_probe();
        let now = self.clock.now();
        self.panics.record(&self.metrics, "lane", now);
        let of_lane = lane.clone();
        let head = self.store.read(move |tx| tx.head_id(&of_lane)).await.ok().flatten();
        let count = head.map_or(1, |head| self.panic_counts.record(lane, head));
        tracing::error!(
            lane = lane.direction.name(),
            openid.hash = %lane.customer.log_hash(),
            message.id = head.map(|head| head.0),
            count,
            "the processing of a lane panicked, which is a bug; after three panics over a message it ends"
        );
        if let Some(head) = head.filter(|_| count >= MAX_PANICS) {
            match self.end_panicking(head).await {
                Ok((state, has_notice)) => {
                    self.panic_counts.forget(lane);
                    self.metrics.ended(lane.direction, state);
                    self.signal_notice(lane, has_notice);
                    return Rest::Yield;
                }
                Err(error) => tracing::error!(%error, "could not end the message; its lane tries again"),
            }
        }
        Rest::Until { due: now.plus(PANIC_REST_MS), waits_for_platform: false }
    }

    async fn end_panicking(&self, id: MessageId) -> Result<(State, bool), StoreError> {
        let (bridge, random) = (self.bridge.clone(), rand::rng().random());
        let why = bridge.end_reason_text(EndReason::Panicked);
        let end = move |tx: &Tx<'_>| {
            let pending = tx.pending_call(id)?;
            settle_without_attempt(tx, &bridge, &pending, end_of(tx.state(id)?), why, random)
        };
        if let Ok(ended) = self.store.write(end).await {
            return Ok(ended);
        }
        // Perhaps reading the message is what panics.
        let end = move |tx: &Tx<'_>| {
            let settlement = Settlement { why: Some(why.to_owned()), ..Settlement::default() };
            Ok((tx.settle(id, end_of(tx.state(id)?), &settlement)?, false))
        };
        self.store.write(end).await
    }
}

/// How a message ends: if an attempt was under way, its outcome is not known.
fn end_of(state: State) -> Move {
    if state == State::Sending { Move::MarkUnknown } else { Move::Refuse }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, OpenId};

    #[test]
    fn panics_are_counted_for_each_message() {
        let counts = PanicCounts::default();
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        assert_eq!(counts.record(&lane, MessageId(1)), 1);
        assert_eq!(counts.record(&lane, MessageId(1)), 2);
        assert_eq!(counts.record(&lane, MessageId(2)), 1);
        counts.forget(&lane);
        assert_eq!(counts.record(&lane, MessageId(2)), 1);
    }
}
