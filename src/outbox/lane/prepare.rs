//! Prepares a call before its attempt is recorded. A preparation takes long, may fail because of
//! other servers, and may be repeated after a crash; a recorded attempt may not.

use std::sync::atomic::{AtomicI64, Ordering};

use fail::fail_point;
use rand::RngExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{LaneWorker, Next, Rest};
use crate::model::{FailureClass, MessageId, Millis};
use crate::outbox::backoff::delay_ms;
use crate::outbox::{Form, NotReady};
use crate::store::{PendingCall, StoreError};

/// The shortest rest of a lane that finds no free permit, milliseconds.
const NO_PLACE_MS: i64 = 100;
/// Lanes that wait for a permit retry one after another, at this distance in milliseconds, so that
/// many of them do not retry at once.
const LOOKS_APART_MS: i64 = 10;
/// No queue of waiting lanes is longer, in milliseconds. A later end was written before the clock
/// was set back.
const LONGEST_ROW_MS: i64 = 300_000;

/// Permits to prepare calls, and the queue of lanes that wait for one.
#[derive(Debug)]
pub(in crate::outbox) struct Places {
    free: Semaphore,
    next_look: AtomicI64,
}

impl Places {
    /// Creates `count` permits.
    pub(in crate::outbox) fn new(count: usize) -> Self {
        Self { free: Semaphore::new(count), next_look: AtomicI64::new(0) }
    }

    /// Takes a permit, or returns when to ask again.
    fn take(&self, now: Millis) -> Result<SemaphorePermit<'_>, Millis> {
        self.free.try_acquire().map_err(|_| {
            let next = |row: i64| {
                let end = if row > now.0 + LONGEST_ROW_MS { now.0 } else { row };
                end.max(now.0 + NO_PLACE_MS) + LOOKS_APART_MS
            };
            let row = self.next_look.update(Ordering::Relaxed, Ordering::Relaxed, next);
            Millis(next(row))
        })
    }
}

/// A prepared call, ready for its attempt.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    id: MessageId,
    part: u32,
    /// What the platform is asked to send.
    pub form: Form,
}

impl Prepared {
    /// Whether this call was prepared: the head may have changed meanwhile.
    pub(super) fn is_of(&self, owed: &PendingCall) -> bool {
        (self.id, self.part) == (owed.id, owed.call_index)
    }
}

impl LaneWorker {
    /// Prepares the call at the head of the lane. Stopping the bridge cancels the preparation.
    pub(super) async fn prepare(&self, owed: PendingCall) -> Result<Next, StoreError> {
        let _place = match self.places.take(self.clock.now()) {
            Ok(place) => place,
            Err(due) => return Ok(Next::Rest(Rest::Until { due, platform: false })),
        };
        self.picked_up(&owed);
        let Some(outcome) = self.stop.run_until_cancelled(self.courier.prepare(&owed)).await else {
            return Ok(Next::Rest(Rest::Stopped));
        };
        fail_point!("outbox.prepared");
        match outcome {
            Ok(form) => Ok(Next::Prepared(Prepared { id: owed.id, part: owed.call_index, form })),
            Err(not_ready) => self.not_ready(owed, not_ready).await,
        }
    }

    async fn not_ready(&self, owed: PendingCall, not_ready: NotReady) -> Result<Next, StoreError> {
        let NotReady { class, why } = not_ready;
        self.metrics.retried(owed.lane.direction, class);
        tracing::warn!(
            message.id = %owed.id,
            class = class.name(),
            %why,
            "could not prepare a message for sending; it will be retried"
        );
        let platform = matches!(class, FailureClass::Unreachable | FailureClass::Configuration);
        if platform {
            self.breaker.failed(self.clock.now(), &why);
        }
        let due = self.clock.now().plus(delay_ms(owed.attempts + 1, rand::rng().random()));
        self.store
            .write(move |tx| {
                tx.reschedule_preparation(owed.id, due, &why)?;
                tx.record_step(&owed.lane.customer, Some(owed.id), "prepare", &why, None)
            })
            .await?;
        Ok(Next::Rest(Rest::Until { due, platform: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_find_no_place_look_again_one_after_another() {
        let (places, now) = (Places::new(1), Millis(1_000_000));
        let place = places.take(now).unwrap();
        let looks: Vec<i64> = (0..3).map(|_| places.take(now).unwrap_err().since(now)).collect();
        assert_eq!(looks, [110, 120, 130]);
        let later = now.plus(60_000);
        assert_eq!(places.take(later).unwrap_err().since(later), 110);
        let set_back = now.plus(-86_400_000);
        assert_eq!(places.take(set_back).unwrap_err().since(set_back), 110);
        drop(place);
        assert!(places.take(now).is_ok());
    }
}
