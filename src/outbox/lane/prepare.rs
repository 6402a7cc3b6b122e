//! Prepares a call before its attempt is recorded. A preparation takes long, may fail because of
//! other servers, and may be repeated after a crash; a recorded attempt may not.

use std::sync::atomic::{AtomicI64, Ordering};

use fail::fail_point;
use rand::RngExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{LaneWorker, Next, Rest};
use crate::model::{FailureClass, MessageId, Millis, OutboundCall};
use crate::outbox::{Payload, PrepareError};
use crate::store::{PendingCall, Scope, StoreError};
use crate::upstream::delay_ms;

/// The shortest rest of a lane that finds no free permit, milliseconds.
const PERMIT_RETRY_MS: i64 = 100;
/// Lanes that wait for a permit retry one after another, at this distance in milliseconds, so that
/// many of them do not retry at once.
const RETRY_SPACING_MS: i64 = 10;
/// No queue of waiting lanes is longer, in milliseconds. A later end was written before the clock
/// was set back.
const MAX_QUEUE_MS: i64 = 300_000;

/// Permits to prepare calls, and the queue of lanes that wait for one.
#[derive(Debug)]
pub(in crate::outbox) struct Permits {
    semaphore: Semaphore,
    queue_end: AtomicI64,
}

impl Permits {
    /// Creates `count` permits.
    pub(in crate::outbox) fn new(count: usize) -> Self {
        Self { semaphore: Semaphore::new(count), queue_end: AtomicI64::new(0) }
    }

    /// Takes a permit, or returns when to ask again.
    fn acquire(&self, now: Millis) -> Result<SemaphorePermit<'_>, Millis> {
        self.semaphore.try_acquire().map_err(|_| {
            let next = |queue_end: i64| {
                let end = if queue_end > now.0 + MAX_QUEUE_MS { now.0 } else { queue_end };
                end.max(now.0 + PERMIT_RETRY_MS) + RETRY_SPACING_MS
            };
            let queue_end = self.queue_end.update(Ordering::Relaxed, Ordering::Relaxed, next);
            Millis(next(queue_end))
        })
    }
}

/// A prepared call, ready for its attempt.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    id: MessageId,
    /// The call that was prepared. An edit may have replaced it since.
    call: OutboundCall,
    call_index: u32,
    /// What the platform is asked to send.
    pub payload: Payload,
}

impl Prepared {
    /// Whether this call was prepared: the head may have changed meanwhile.
    pub(super) fn is_of(&self, pending: &PendingCall) -> bool {
        (self.id, self.call_index, &self.call) == (pending.id, pending.call_index, &pending.call)
    }
}

impl LaneWorker {
    /// Prepares the call at the head of the lane. Stopping the bridge cancels the preparation.
    pub(super) async fn prepare(&self, pending: PendingCall) -> Result<Next, StoreError> {
        let _permit = match self.permits.acquire(self.clock.now()) {
            Ok(permit) => permit,
            Err(due) => return Ok(Next::Rest(Rest::Until { due, waits_for_platform: false })),
        };
        self.record_pickup(&pending);
        let Some(outcome) = self.stop.run_until_cancelled(self.courier.prepare(&pending)).await else {
            return Ok(Next::Rest(Rest::Stopped));
        };
        fail_point!("outbox.prepared");
        match outcome {
            Ok(payload) => {
                let (id, call, call_index) = (pending.id, pending.call, pending.call_index);
                Ok(Next::Prepared(Box::new(Prepared { id, call, call_index, payload })))
            }
            Err(error) => self.preparation_failed(pending, error).await,
        }
    }

    async fn preparation_failed(
        &self,
        pending: PendingCall,
        not_ready: PrepareError,
    ) -> Result<Next, StoreError> {
        let PrepareError { class, why } = not_ready;
        self.metrics.retried(pending.lane.direction, class);
        tracing::warn!(
            class = class.name(),
            %why,
            "could not prepare the message for sending; the preparation will be retried"
        );
        let is_platform_wide = matches!(class, FailureClass::Unreachable | FailureClass::Configuration);
        if is_platform_wide {
            self.breaker.record_failure(self.clock.now(), &why);
        }
        let due = self.clock.now().plus(delay_ms(pending.attempts + 1, rand::rng().random()));
        self.store
            .write_for(Scope::lane(&pending.lane), move |tx| {
                tx.reschedule_preparation(pending.id, due, &why)?;
                tx.record_step(&pending.lane.customer, Some(pending.id), "prepare", &why, None)
            })
            .await?;
        Ok(Next::Rest(Rest::Until { due, waits_for_platform: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Lane, MessageKind, OpenId};
    use crate::store::AttachState;

    #[test]
    fn what_was_prepared_is_dropped_when_an_edit_has_replaced_the_call() {
        let (customer, text) =
            (OpenId::new("oA").unwrap(), |words: &str| OutboundCall::TextToCustomer(words.to_owned()));
        let pending = PendingCall {
            id: MessageId(1),
            lane: Lane { direction: Direction::ToWechat, customer },
            kind: MessageKind::Message,
            agent: None,
            call: text("old"),
            call_index: 0,
            call_count: 1,
            msg_seq: 1,
            msg_random: 1,
            created_at: Millis(0),
            attempts: 0,
            attempt_at: Millis(0),
            unsettled: false,
            attached: AttachState::Detached,
            before_backfill: false,
            rounds: 0,
            generation: 0,
            waiting_since: Millis(0),
            burst: None,
        };
        let payload = Payload::AsAccepted;
        let prepared = Prepared { id: pending.id, call: text("old"), call_index: 0, payload };
        assert!(prepared.is_of(&pending));
        assert!(!prepared.is_of(&PendingCall { call: text("new"), ..pending }));
    }

    #[test]
    fn lanes_without_a_permit_retry_one_after_another() {
        let (permits, now) = (Permits::new(1), Millis(1_000_000));
        let permit = permits.acquire(now).unwrap();
        let retries: Vec<i64> = (0..3).map(|_| permits.acquire(now).unwrap_err().since(now)).collect();
        assert_eq!(retries, [110, 120, 130]);
        let later = now.plus(60_000);
        assert_eq!(permits.acquire(later).unwrap_err().since(later), 110);
        let set_back = now.plus(-86_400_000);
        assert_eq!(permits.acquire(set_back).unwrap_err().since(set_back), 110);
        drop(permit);
        assert!(permits.acquire(now).is_ok());
    }
}
