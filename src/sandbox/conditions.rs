//! The conditions that the steps of the script and the drills wait for, and the result when one is not met.
//!
//! Nothing here sleeps: every wait ends when its condition is met or its deadline has passed.

use std::time::Duration;

use serde::Serialize;

use super::im::{ApiError, SentMessage};
use super::wechat::{Attempt, Phone, PushResult, ScreenEntry};

/// The prefix of the bridge's notices to agents.
pub(super) const NOTICE_PREFIX: &str = "[bridge] ";

/// The condition that [`expect_webhook`] checks.
pub(super) const WEBHOOK_ACCEPTED: &str = "the bridge to accept the webhook of the agent's message";

/// A condition that a step or a drill waited for and that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The condition, in words.
    pub expected: String,
    /// What happened instead, in words.
    pub seen: String,
}

impl Mismatch {
    /// Both in words.
    pub(super) fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }

    /// The condition was not met within `limit`.
    pub(super) fn late(expected: impl Into<String>, limit: Duration) -> Self {
        Self::new(expected, format!("nothing within {} s", limit.as_secs()))
    }
}

/// The result of a check: its value, or the condition that was not met.
pub type Checked<T = ()> = Result<T, Mismatch>;

/// Fails with `expected` and `seen` unless the condition is fulfilled.
pub(super) fn expect<S: Into<String>>(
    condition: bool,
    expected: impl Into<String>,
    seen: impl FnOnce() -> S,
) -> Checked {
    if condition { Ok(()) } else { Err(Mismatch::new(expected, seen())) }
}

/// Awaits `future`, at most for `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    expected: impl Into<String>,
    future: impl Future<Output = T>,
) -> Checked<T> {
    tokio::time::timeout(limit, future).await.map_err(|_| Mismatch::late(expected, limit))
}

/// Fails unless the bridge gave the push an answer that WeChat accepts. Returns the request that got it.
pub(super) fn expect_accepted<'p>(pushed: &'p PushResult, expected: &str) -> Checked<&'p Attempt> {
    let last = pushed.attempts.last().ok_or_else(|| Mismatch::new(expected, "WeChat made no push"))?;
    let is_accepted = last.status == Some(200) && last.error.is_none();
    expect(is_accepted, expected, || describe_answer(last))?;
    Ok(last)
}

/// The answer to a request, in words.
pub(super) fn describe_answer(made: &Attempt) -> String {
    let status = made.status.map(|status| format!("status {status}"));
    let body = (!made.body.is_empty()).then(|| format!("{:?}", String::from_utf8_lossy(&made.body)));
    let parts: Vec<String> = [status, made.error.clone(), body].into_iter().flatten().collect();
    if parts.is_empty() { "no answer".to_owned() } else { parts.join(", ") }
}

/// Fails unless IM accepted the agent's message and the bridge accepted its webhook. Returns the message
/// and the time that the webhook took.
pub(super) fn expect_webhook(sent: Result<SentMessage, ApiError>) -> Checked<(SentMessage, Duration)> {
    let expected = WEBHOOK_ACCEPTED;
    let sent =
        sent.map_err(|refused| Mismatch::new(expected, format!("IM refused the message: {refused}")))?;
    let answer = sent.callback.as_ref().ok_or_else(|| Mismatch::new(expected, "IM sent no webhook"))?;
    if let Some(error) = &answer.error {
        return Err(Mismatch::new(expected, format!("{error} {}", answer.body)));
    }
    let took = answer.took;
    Ok((sent, took))
}

/// Fails unless IM accepted the agent's message and sent no webhook about it.
pub(super) fn expect_lost_webhook(sent: Result<SentMessage, ApiError>) -> Checked<SentMessage> {
    let expected = "a message without a webhook";
    let sent =
        sent.map_err(|refused| Mismatch::new(expected, format!("IM refused the message: {refused}")))?;
    expect(sent.callback.is_none(), expected, || "one with a webhook")?;
    Ok(sent)
}

/// Waits, at most for `limit`, until `find` finds an entry on the customer's screen.
pub(super) async fn await_entry(
    phone: &Phone,
    limit: Duration,
    expected: &str,
    find: impl Fn(&[ScreenEntry]) -> Option<ScreenEntry>,
) -> Checked<ScreenEntry> {
    let awaited = phone.wait_for(limit, |screen| find(screen).is_some()).await;
    awaited.ok().as_deref().and_then(find).ok_or_else(|| Mismatch::late(expected, limit))
}
