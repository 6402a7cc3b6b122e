//! One recorded attempt: the messages that its call sends, and how it appears in the log.

use tracing::Span;

use crate::outbox::Payload;
use crate::store::{PendingCall, StoreError, Tx};

/// An attempt that is recorded and must be made now.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The message, or the first of several.
    pub pending: PendingCall,
    /// The lines behind it that the same call sends.
    pub joined: Vec<PendingCall>,
    /// What the platform is asked to send.
    pub payload: Payload,
    /// The agent is told what it leaves of the customer's budget.
    pub tells_budget: bool,
}

impl Attempt {
    /// Records that it begins now, before the call is made.
    pub fn record(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        if self.joined.is_empty() {
            return tx.record_attempt(&self.pending);
        }
        tx.record_burst(&self.lines().collect::<Vec<_>>())
    }

    /// The messages that it sends, in order.
    pub fn lines(&self) -> impl Iterator<Item = &PendingCall> {
        std::iter::once(&self.pending).chain(&self.joined)
    }
}

impl From<PendingCall> for Attempt {
    fn from(pending: PendingCall) -> Self {
        Self { pending, joined: Vec::new(), payload: Payload::AsAccepted, tells_budget: false }
    }
}

/// The span of one attempt at a message: each of its log lines names the message, the attempt and
/// the customer's pseudonym. It has the level `error`, so that `log.level` never removes these
/// fields from a line that is logged.
pub(super) fn attempt_span(pending: &PendingCall, attempt: u32) -> Span {
    tracing::error_span!(
        "attempt",
        message.id = pending.id.0,
        attempt,
        openid.hash = %pending.lane.customer.log_hash(),
    )
}
