//! What an attempt needs is got ready before it is recorded: it takes long, fails for others' reasons, and may be
//! done again after a crash, where an attempt that was recorded may not.

use fail::fail_point;
use rand::RngExt as _;

use super::{LaneWorker, Next, Rest};
use crate::model::{Class, MessageId};
use crate::outbox::backoff::delay_ms;
use crate::outbox::{Form, NotReady};
use crate::store::{Owed, StoreError};

/// How long a lane rests when as many orders are being prepared as may be.
const NO_PLACE_MS: i64 = 200;

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
        let Ok(_place) = self.preparing.try_acquire() else {
            let due = self.clock.now().plus(NO_PLACE_MS);
            return Ok(Next::Rest(Rest::Until { due, platform: false }));
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
