//! Trace steps: what happened to a customer's messages, attempt by attempt.

use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MessageId, Millis, OpenId};

/// A trace step: one event in the life of a customer's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The message; `None` if the step is about no single message.
    pub message: Option<MessageId>,
    /// When it happened.
    pub at: Millis,
    /// `accepted`, the name of a call, `settled` and so on.
    pub event: String,
    /// The outcome: a code or a reason; no message content, no secrets.
    pub detail: String,
    /// The duration in milliseconds, if it was measured.
    pub took_ms: Option<i64>,
}

impl Tx<'_> {
    /// Records a trace step. Stores nothing for a customer who is not known.
    pub fn record_step(
        &self,
        openid: &OpenId,
        message: Option<MessageId>,
        event: &str,
        detail: &str,
        took_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO step (openid, message, at, event, detail, took_ms)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM customer WHERE openid = ?1 AND known = 1";
        self.session.run(
            sql,
            params![openid.as_str(), message.map(|id| id.0), self.now.0, event, detail, took_ms,],
        )?;
        Ok(())
    }
}
