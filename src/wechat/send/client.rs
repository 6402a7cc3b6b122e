//! Typed calls to WeChat's API and their outcomes.
//!
//! Makes one attempt, and a second one if the access token was stale. Never decides when to retry:
//! [`verdict`] tells what a failure means for the message.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fail::fail_point;
use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::code::{self, Class};
use super::media_type::MediaType;
use super::outgoing::Outgoing;
use super::token::{Token, TokenError, TokenHolder};
use super::transport::{self, FilePart, TIMEOUT, TransportError};
use crate::clock::Clock;
use crate::fleet::{Lease, LeaseOver};
use crate::json;
use crate::model::{self, HoldReason, NoAnswer, OpenId, Verdict};
use crate::upstream::{CallReport, Degraded, Evidence, Fault, Health, leased};

/// Why a call failed. Contains neither the access token nor a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request was certainly not sent.
    #[error("WeChat is out of reach: {0}")]
    NotSent(String),
    /// The request was not sent, because another instance may send in this one's place.
    #[error("not sent: {0}")]
    LeaseOver(#[from] LeaseOver),
    /// The request was sent, at least in part, but no readable response came: WeChat may have
    /// executed it.
    #[error("WeChat gave no readable answer: {1}")]
    NoAnswer(NoAnswer, String),
    /// The request was refused with this HTTP status before WeChat executed it.
    #[error("the request to WeChat was refused: HTTP {0}")]
    Rejected(u16),
    /// WeChat answered with a return code.
    #[error("{code} {}", message_or_meaning(*code, msg))]
    Code {
        /// WeChat's `errcode`.
        code: i64,
        /// WeChat's `errmsg` with its `rid`, bounded.
        msg: String,
    },
    /// There is no access token; the request was not sent.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSent(why) => Self::NotSent(why),
            TransportError::LeaseOver(over) => Self::LeaseOver(over),
            TransportError::Rejected(status) => Self::Rejected(status),
            TransportError::NoAnswer(silence, why) => Self::NoAnswer(silence, why),
        }
    }
}

/// The platform's name in metrics.
pub(super) const PLATFORM: &str = "wechat";

/// The outcome of a call as the rate limit and the metrics see it.
pub(super) fn call_report<T>(outcome: &Result<T, Failure>) -> CallReport {
    let too_often = matches!(outcome, Err(Failure::Code { code: code::MINUTE_QUOTA, .. }));
    CallReport { label: outcome_label(outcome), too_often }
}

/// The outcome of a call as a metric label.
pub(super) fn outcome_label<T>(outcome: &Result<T, Failure>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(Failure::NotSent(_) | Failure::LeaseOver(_)) => "not_sent",
        Err(Failure::NoAnswer(..)) => "no_answer",
        Err(Failure::Rejected(_)) => "rejected",
        Err(Failure::Token(_)) => "no_token",
        Err(Failure::Code { code, .. }) => code::class(*code).name(),
    }
}

/// WeChat's error text, or the table's meaning if WeChat sent none.
fn message_or_meaning(code: i64, msg: &str) -> &str {
    if msg.is_empty() { code::lookup(code).map_or("", |listed| listed.meaning) } else { msg }
}

/// What to do with a message that the account may not push (48001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// Hold it for a passive reply (`reply = "auto"`).
    Hold,
    /// Refuse it (`reply = "push"`).
    Refuse,
}

fn unreadable(why: &str) -> Failure {
    Failure::NoAnswer(NoAnswer::Unreadable, why.to_owned())
}

/// The verdict on a message whose call failed with `failure`.
pub fn verdict(failure: &Failure, not_allowed: NotAllowed) -> Verdict {
    let why = failure.to_string();
    let class = match failure {
        Failure::NotSent(_) | Failure::Token(TokenError::Unreachable(_)) => model::FailureClass::Unreachable,
        Failure::LeaseOver(_) => model::FailureClass::LeaseOver,
        Failure::NoAnswer(silence, _) => return Verdict::Unknown { no_answer: Some(*silence), why },
        Failure::Rejected(_) => return Verdict::Refuse { why },
        // A token request sends nothing to the customer, so a lost response is harmless.
        Failure::Token(TokenError::NoAnswer(_) | TokenError::Claimed) => model::FailureClass::Busy,
        Failure::Token(TokenError::Budget { .. } | TokenError::Stale) => model::FailureClass::Credential,
        Failure::Token(TokenError::Code { code, .. }) => match code::token_class(*code) {
            Class::Busy => model::FailureClass::Busy,
            Class::Quota => model::FailureClass::Quota,
            _ => model::FailureClass::Configuration,
        },
        Failure::Code { code, .. } => match (code::class(*code), not_allowed) {
            (Class::Ok, _) => return Verdict::Delivered,
            (Class::Busy, _) => model::FailureClass::Busy,
            (Class::Quota, _) => model::FailureClass::Quota,
            (Class::Token, _) => model::FailureClass::Credential,
            (Class::Configuration, _) => model::FailureClass::Configuration,
            (Class::Hold, _) => return Verdict::Hold { hold_reason: code::hold_reason(*code), why },
            (Class::NotAllowed, NotAllowed::Hold) => {
                return Verdict::Hold { hold_reason: HoldReason::NotAllowed, why };
            }
            (Class::Refuse, _) | (Class::NotAllowed, NotAllowed::Refuse) => return Verdict::Refuse { why },
        },
    };
    Verdict::Retry { class, pause: None, why }
}

/// A client of WeChat's API for one Official Account.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) base: Url,
    pub(super) tokens: Arc<TokenHolder>,
    pub(super) clock: Clock,
    timeout: Duration,
    must_push: bool,
    health: Health,
    lease: Lease,
}

#[derive(Serialize)]
struct Request<'a> {
    touser: &'a OpenId,
    msgtype: &'static str,
    #[serde(flatten)]
    message: &'a Outgoing<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customservice: Option<CustomService<'a>>,
}

/// As whom the customer sees the message.
#[derive(Serialize)]
struct CustomService<'a> {
    kf_account: &'a str,
}

/// WeChat's response. Most calls return only a code; a successful upload returns no code.
#[derive(Deserialize)]
struct ApiResponse {
    #[serde(default, deserialize_with = "json::optional_integer")]
    errcode: Option<i64>,
    #[serde(default, deserialize_with = "json::optional_text")]
    errmsg: Option<String>,
    #[serde(default, deserialize_with = "json::optional_text")]
    media_id: Option<String>,
    #[serde(default, deserialize_with = "json::optional_text")]
    thumb_media_id: Option<String>,
}

/// The outcome that the body of a response shows, for a call that returns only a code.
pub fn read_outcome(body: &[u8]) -> Result<(), Failure> {
    read_response(body, false, "").map(drop)
}

/// Reads a response. `token` is taken out of WeChat's error text.
fn read_response(body: &[u8], is_upload: bool, token: &str) -> Result<ApiResponse, Failure> {
    let response: ApiResponse =
        json::from_slice(body).map_err(|_| unreadable("the response is not the expected JSON"))?;
    match response.errcode {
        Some(0) => Ok(response),
        None if is_upload => Ok(response),
        None => Err(unreadable("the response has no return code")),
        Some(code) => {
            let msg = transport::sanitize_errmsg(response.errmsg.as_deref().unwrap_or_default(), token);
            Err(Failure::Code { code, msg })
        }
    }
}

/// The call that shows the typing indicator.
const CUSTOM_TYPING: &str = "cgi-bin/message/custom/typing";

/// The time limit of one upload, from connecting to the last byte of the response: 10 MB over a
/// slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// The body of a request.
#[derive(Clone, Debug)]
enum Payload<'a> {
    Json(Bytes),
    File(MediaType, FilePart<'a>),
}

impl Client {
    /// Creates a client of the API at `base`. `http` should come from [`super::http_client`].
    pub fn new(http: reqwest::Client, base: Url, tokens: Arc<TokenHolder>, clock: Clock) -> Self {
        let (health, lease) = (Health::default(), Lease::unlimited());
        Self { http, base, tokens, clock, timeout: TIMEOUT, must_push: false, health, lease }
    }

    /// Makes calls only as long as this instance has `lease`.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    /// Sets the time limit of one attempt.
    #[cfg(test)]
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For `reply = "push"`: an account that may not push counts as degraded.
    #[must_use]
    pub fn must_push(mut self) -> Self {
        self.must_push = true;
        self
    }

    /// Sends a text to a customer unchanged; see [`Client::send`].
    pub async fn send_text(&self, to: &OpenId, content: &str) -> Result<(), Failure> {
        self.send(to, &Outgoing::Text { content }, None).await
    }

    /// Sends a message to a customer (reference: "Customer-service messages"). WeChat has no
    /// idempotency key: after [`Failure::NoAnswer`] a repeat may deliver the message twice. `kf_account`: the account of
    /// WeChat's customer service as whom the customer sees it.
    pub async fn send(
        &self,
        to: &OpenId,
        message: &Outgoing<'_>,
        kf_account: Option<&str>,
    ) -> Result<(), Failure> {
        let customservice = kf_account.map(|kf_account| CustomService { kf_account });
        let request = Request { touser: to, msgtype: message.kind(), message, customservice };
        // WeChat needs raw UTF-8. serde_json escapes only quotes, backslashes and control
        // characters.
        let body = serde_json::to_vec(&request).map_err(|error| Failure::NotSent(error.to_string()))?;
        self.call("custom_send", "cgi-bin/message/custom/send", Payload::Json(body.into())).await.map(drop)
    }

    /// Shows or hides the typing indicator on a customer's phone (reference: "custom/typing"). An indicator that WeChat
    /// refuses says nothing about the account, so that health does not follow it.
    pub(super) async fn typing(&self, to: &OpenId, is_typing: bool) -> Result<(), Failure> {
        let command = if is_typing { "Typing" } else { "CancelTyping" };
        let body = serde_json::json!({"touser": to, "command": command}).to_string();
        let token = self.tokens.current().await?;
        self.attempt(CUSTOM_TYPING, Payload::Json(body.into()), &token).await.map(drop)
    }

    /// Uploads a file as temporary material, which lives three days, and returns its media_id
    /// (reference: "Upload"). The upload sends nothing to a customer, so it may be repeated freely.
    pub(super) async fn upload(&self, kind: MediaType, file: FilePart<'_>) -> Result<String, Failure> {
        let response = self.call("media_upload", "cgi-bin/media/upload", Payload::File(kind, file)).await?;
        let media_id = response.media_id.or(response.thumb_media_id).filter(|id| !id.is_empty());
        media_id.ok_or_else(|| unreadable("the response names no media_id"))
    }

    /// The APIs of WeChat that do not work for us, since when, and what to do.
    pub fn degraded(&self) -> Vec<Degraded> {
        let mut degraded = self.tokens.degraded();
        degraded.extend(self.health.degraded(self.clock.now()));
        degraded
    }

    async fn call(
        &self,
        api: &'static str,
        path: &str,
        payload: Payload<'_>,
    ) -> Result<ApiResponse, Failure> {
        let token = self.tokens.current().await?;
        let mut outcome = self.attempt(path, payload.clone(), &token).await;
        if matches!(&outcome, Err(Failure::Code { code, .. }) if code::class(*code) == Class::Token) {
            let token = self.tokens.replace_rejected(token.generation).await?;
            outcome = self.attempt(path, payload, &token).await;
        }
        self.update_health(api, &outcome);
        outcome
    }

    async fn attempt(&self, path: &str, payload: Payload<'_>, token: &Token) -> Result<ApiResponse, Failure> {
        let token = token.value.expose_secret();
        let mut url = transport::endpoint(&self.base, path);
        url.query_pairs_mut().append_pair("access_token", token);
        let is_upload = matches!(payload, Payload::File(..));
        fail_point!("wechat.ready");
        // Nothing may be awaited between this and the request.
        self.lease.check()?;
        let response = match payload {
            Payload::Json(body) => {
                let body = leased(body, &self.lease);
                transport::post(&self.http, url, body, self.timeout, &self.clock).await
            }
            Payload::File(kind, file) => {
                url.query_pairs_mut().append_pair("type", kind.name());
                transport::upload(&self.http, url, file, self.timeout.max(UPLOAD_TIMEOUT), &self.clock).await
            }
        };
        read_response(&response?, is_upload, token)
    }

    /// Updates the health of `api`. A code that concerns only the message proves that the account
    /// itself is healthy.
    pub(super) fn update_health<T>(&self, api: &'static str, outcome: &Result<T, Failure>) {
        let Some(evidence) = self.evidence(outcome) else { return };
        match &evidence {
            Evidence::Success | Evidence::Refused => {
                self.tokens.mark_accepted();
                self.health.record(api, self.clock.now(), evidence);
            }
            Evidence::Failing(fault) | Evidence::Blocked(fault) | Evidence::Exhausted(fault) => {
                let Fault { why, advice } = fault.clone();
                if self.health.record(api, self.clock.now(), evidence) {
                    tracing::warn!(api, why, advice, "WeChat refuses or misses our calls; they are retried");
                }
            }
        }
    }

    /// What the outcome of a call says about its API; `None` if the call was not made.
    fn evidence<T>(&self, outcome: &Result<T, Failure>) -> Option<Evidence> {
        let Err(failure) = outcome else { return Some(Evidence::Success) };
        let fault = |advice: &str| Fault { why: failure.to_string(), advice: advice.to_owned() };
        Some(match failure {
            // The token's own health tells, and that of this instance.
            Failure::Token(_) | Failure::LeaseOver(_) => return None,
            Failure::NotSent(_) | Failure::NoAnswer(..) | Failure::Rejected(_) => {
                Evidence::Failing(fault("check the network, DNS and wechat.api_base"))
            }
            Failure::Code { code, msg } => {
                let advice = code::advice(*code).map(|advice| code::with_address(advice, *code, msg));
                let fault =
                    fault(advice.as_deref().unwrap_or("this passes by itself; if it stays, ask WeChat"));
                match code::class(*code) {
                    Class::Ok => Evidence::Success,
                    Class::Refuse => Evidence::Refused,
                    Class::Hold if advice.is_none() => Evidence::Refused,
                    // An account without the API uses passive replies, unless the configuration
                    // forbids that.
                    Class::NotAllowed if !self.must_push => Evidence::Refused,
                    Class::Quota if *code != code::MINUTE_QUOTA => Evidence::Exhausted(fault),
                    Class::Busy | Class::Quota => Evidence::Failing(fault),
                    Class::Token | Class::Configuration | Class::Hold | Class::NotAllowed => {
                        Evidence::Blocked(fault)
                    }
                }
            }
        })
    }
}
