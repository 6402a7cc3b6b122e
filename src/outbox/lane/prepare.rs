//! What an attempt needs is got ready before it is recorded: it takes long, fails for others' reasons, and may be
//! done again after a crash, where an attempt that was recorded may not.

use std::sync::atomic::{AtomicI64, Ordering};

use fail::fail_point;
use rand::RngExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{LaneWorker, Next, Rest};
use crate::model::{Class, MessageId, Millis};
use crate::outbox::backoff::delay_ms;
use crate::outbox::{Form, NotReady};
use crate::store::{Owed, StoreError};

/// How long a lane rests at least when as many orders are being prepared as may be.
const NO_PLACE_MS: i64 = 100;
/// Lanes that wait for a place look again one after another, this far apart: many of them are no storm.
const LOOKS_APART_MS: i64 = 10;
/// No row of waiting lanes is longer: what lies beyond was written by a clock that has been set back.
const LONGEST_ROW_MS: i64 = 300_000;

/// Places to prepare orders in, and the row of those who wait for one.
#[derive(Debug)]
pub(in crate::outbox) struct Places {
    free: Semaphore,
    next_look: AtomicI64,
}

impl Places {
    /// So many places.
    pub(in crate::outbox) fn new(count: usize) -> Self {
        Self { free: Semaphore::new(count), next_look: AtomicI64::new(0) }
    }

    /// A place, or when to ask again.
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

/// An order whose attempt may be made.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    id: MessageId,
    part: u32,
    pub form: Form,
}

impl Prepared {
    /// Whether it is this order that was prepared: the head may have changed meanwhile.
    pub(super) fn is_of(&self, owed: &Owed) -> bool {
        (self.id, self.part) == (owed.id, owed.part)
    }
}

impl LaneWorker {
    /// Prepares the head's attempt. Stopping the bridge cuts it short.
    pub(super) async fn prepare(&self, owed: Owed) -> Result<Next, StoreError> {
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
            Ok(form) => Ok(Next::Prepared(Prepared { id: owed.id, part: owed.part, form })),
            Err(not_ready) => self.not_ready(owed, not_ready).await,
        }
    }

    async fn not_ready(&self, owed: Owed, not_ready: NotReady) -> Result<Next, StoreError> {
        let NotReady { class, why } = not_ready;
        self.metrics.retried(owed.lane.direction, class);
        tracing::warn!(message.id = %owed.id, class = class.name(), %why, "a message is not ready to be sent");
        let platform = matches!(class, Class::Unreachable | Class::Configuration);
        if platform {
            self.breaker.failed(self.clock.now(), &why);
        }
        let due = self.clock.now().plus(delay_ms(owed.attempts + 1, rand::rng().random()));
        self.store
            .write(move |tx| {
                tx.not_ready(owed.id, due, &why)?;
                tx.step(&owed.lane.customer, Some(owed.id), "prepare", &why, None)
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
