//! One HTTP exchange of the simulated IM, as watchers see it: no secret, and bodies of a bounded length.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

use crate::model::Millis;
use crate::sandbox::instance::Instance;

/// The most bytes of a body that an [`Exchange`] contains.
const MAX_PUBLISHED_BODY: usize = 16 * 1024;

/// The direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A REST call that IM received.
    Received,
    /// A webhook that IM made.
    Sent,
}

/// One HTTP exchange of the simulated IM in either direction.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When the exchange began, by the platform's clock.
    pub at: Millis,
    /// When the exchange began, in real time.
    pub began: Instant,
    /// The duration of the exchange in real time.
    pub took: Duration,
    /// The direction of the exchange.
    pub direction: Direction,
    /// The HTTP method.
    pub method: String,
    /// The path of the URL.
    pub path: String,
    /// The decoded query, with UserSig and Sign masked.
    pub query: String,
    /// The HTTP status. `None` if no answer was sent or came.
    pub status: Option<u16>,
    /// The first 16 KB of the request's body.
    pub request: String,
    /// The first 16 KB of the response's body.
    pub response: String,
    /// The request's headers that IM sets or receives.
    pub request_headers: Vec<(String, String)>,
    /// The response's headers.
    pub response_headers: Vec<(String, String)>,
    /// Why IM counts the call as failed.
    pub error: Option<String>,
    /// Which of several bridges took or made the call. `None` if there is one, or none answered.
    pub instance: Option<Instance>,
}

/// Headers as text. None of the headers that IM uses is a secret.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// The beginning of a body, as text.
pub(super) fn body_text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_PUBLISHED_BODY)]).into_owned()
}

/// The query as text, with UserSig and Sign masked.
pub(super) fn masked_query(query: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in query {
        let value = if matches!(name.as_str(), "usersig" | "Sign") { "***" } else { value.as_str() };
        let and = if text.is_empty() { "" } else { "&" };
        let _ = write!(text, "{and}{name}={value}");
    }
    text
}
