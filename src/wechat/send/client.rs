//! Typed calls to WeChat's API: what to send, and what came of it.
//!
//! Makes one attempt, and one more where the access token was stale. Never decides when to try again; what the
//! failure means for the message is [`verdict`]'s word.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::code::{self, Class};
use super::token::{Token, TokenError, TokenHolder};
use super::upload::MediaType;
use super::wire::{self, FilePart, Lost, TIMEOUT};
use crate::clock::Clock;
use crate::model::{self, HeldBecause, OpenId, Silence, Verdict};
use crate::outbox::health::{Health, Unwell};

/// A message for `custom/send`, spelt as WeChat spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outgoing<'a> {
    /// Text; WeChat refuses more than 2,048 bytes.
    Text { content: &'a str },
    /// A picture.
    Image { media_id: &'a str },
    /// A recording.
    Voice { media_id: &'a str },
    /// A video.
    Video {
        media_id: &'a str,
        thumb_media_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
    },
}

impl Outgoing<'_> {
    /// WeChat's `msgtype`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image { .. } => "image",
            Self::Voice { .. } => "voice",
            Self::Video { .. } => "video",
        }
    }
}

/// Why a call failed. Holds neither the access token nor a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request was certainly not written.
    #[error("WeChat is out of reach: {0}")]
    NotSent(String),
    /// The request was written, at least in part, and no readable answer came: it may have been carried out.
    #[error("WeChat gave no readable answer: {1}")]
    NoAnswer(Silence, String),
    /// WeChat answered with a return code.
    #[error("{code} {}", words(*code, msg))]
    Code {
        /// WeChat's `errcode`.
        code: i64,
        /// WeChat's `errmsg` with its `rid`, bounded.
        msg: String,
    },
    /// There is no access token, and the request was not written.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Failure {
    /// The account lacks the API (48001): only passive replies reach its customers.
    pub fn is_not_allowed(&self) -> bool {
        matches!(self, Self::Code { code, .. } if code::class(*code) == Class::NotAllowed)
    }
}

/// The outcome of a call, as metrics name it.
pub(super) fn said<T>(outcome: &Result<T, Failure>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(Failure::NotSent(_)) => "not_sent",
        Err(Failure::NoAnswer(..)) => "no_answer",
        Err(Failure::Token(_)) => "no_token",
        Err(Failure::Code { code, .. }) => code::class(*code).name(),
    }
}

/// WeChat's words, or ours where it has none.
fn words(code: i64, msg: &str) -> &str {
    if msg.is_empty() { code::listed(code).map_or("", |listed| listed.meaning) } else { msg }
}

/// What becomes of a message that the account has no right to push (48001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// It waits for a passive reply (`reply = "auto"`).
    Hold,
    /// It is refused (`reply = "push"`).
    Refuse,
}

fn unreadable(why: &str) -> Failure {
    Failure::NoAnswer(Silence::Unreadable, why.to_owned())
}

/// What `failure` means for the message.
pub fn verdict(failure: &Failure, not_allowed: NotAllowed) -> Verdict {
    let why = failure.to_string();
    let class = match failure {
        Failure::NotSent(_) | Failure::Token(TokenError::Unreachable(_)) => model::Class::Unreachable,
        Failure::NoAnswer(silence, _) => return Verdict::Unknown { silence: Some(*silence), why },
        // Fetching a token sends nothing to the customer, so that a lost answer is harmless.
        Failure::Token(TokenError::NoAnswer(_)) => model::Class::Busy,
        Failure::Token(TokenError::Budget { .. } | TokenError::Stale) => model::Class::Credential,
        Failure::Token(TokenError::Code { code, .. }) => match code::token_class(*code) {
            Class::Busy => model::Class::Busy,
            Class::Quota => model::Class::Quota,
            _ => model::Class::Configuration,
        },
        Failure::Code { code, .. } => match (code::class(*code), not_allowed) {
            (Class::Ok, _) => return Verdict::Delivered,
            (Class::Busy, _) => model::Class::Busy,
            (Class::Quota, _) => model::Class::Quota,
            (Class::Token, _) => model::Class::Credential,
            (Class::Configuration, _) => model::Class::Configuration,
            (Class::Hold, _) => return Verdict::Hold { because: code::held_because(*code), why },
            (Class::NotAllowed, NotAllowed::Hold) => {
                return Verdict::Hold { because: HeldBecause::NotAllowed, why };
            }
            (Class::Refuse, _) | (Class::NotAllowed, NotAllowed::Refuse) => return Verdict::Refuse { why },
        },
    };
    Verdict::Retry { class, pause: None, why }
}

/// WeChat's API, as one Official Account.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) base: Url,
    pub(super) tokens: Arc<TokenHolder>,
    clock: Clock,
    timeout: Duration,
    must_push: bool,
    health: Health,
}

#[derive(Serialize)]
struct Request<'a> {
    touser: &'a OpenId,
    msgtype: &'static str,
    #[serde(flatten)]
    what: &'a Outgoing<'a>,
}

/// An answer: of a call that gives nothing but a return code, or of an upload, which gives none on success.
#[derive(Deserialize)]
struct Answer {
    errcode: Option<i64>,
    errmsg: Option<String>,
    media_id: Option<String>,
    thumb_media_id: Option<String>,
}

/// How long one upload may take, from connecting to the answer's last byte: 10 MB over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// What a call posts.
#[derive(Clone, Debug)]
enum Payload<'a> {
    Json(Bytes),
    File(MediaType, FilePart<'a>),
}

impl Client {
    /// A client of the API at `base`. `http` should come from [`super::http_client`].
    pub fn new(http: reqwest::Client, base: Url, tokens: Arc<TokenHolder>, clock: Clock) -> Self {
        Self { http, base, tokens, clock, timeout: TIMEOUT, must_push: false, health: Health::default() }
    }

    /// The same client with another limit on how long one attempt may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same client for `reply = "push"`: without the right to push the account is not well.
    #[must_use]
    pub fn must_push(mut self) -> Self {
        self.must_push = true;
        self
    }

    /// Sends text to a customer as it is; see [`Client::send`].
    pub async fn send_text(&self, to: &OpenId, content: &str) -> Result<(), Failure> {
        self.send(to, &Outgoing::Text { content }).await
    }

    /// Sends a message to a customer (reference: "Customer-service messages"). WeChat knows no idempotency key:
    /// after [`Failure::NoAnswer`] a repeat may reach the customer twice.
    pub async fn send(&self, to: &OpenId, what: &Outgoing<'_>) -> Result<(), Failure> {
        // serde_json leaves everything but quotes, backslashes and control characters as raw UTF-8, which WeChat needs.
        let body = serde_json::to_vec(&Request { touser: to, msgtype: what.kind(), what })
            .map_err(|error| Failure::NotSent(error.to_string()))?;
        self.call("cgi-bin/message/custom/send", Payload::Json(body.into())).await.map(drop)
    }

    /// Uploads a file as temporary material, which lives three days, and gives WeChat's name for it (reference:
    /// "Upload"). Nothing of it reaches a customer, so that it may be repeated freely.
    pub(super) async fn upload(&self, kind: MediaType, file: FilePart<'_>) -> Result<String, Failure> {
        let answer = self.call("cgi-bin/media/upload", Payload::File(kind, file)).await?;
        let given = answer.media_id.or(answer.thumb_media_id).filter(|id| !id.is_empty());
        given.ok_or_else(|| unreadable("the answer names no media_id"))
    }

    /// Whether WeChat lets us work, as far as the last calls tell: the token first, because all else hangs on it.
    pub fn health(&self) -> Result<(), Unwell> {
        self.tokens.health()?;
        self.health.get()
    }

    async fn call(&self, path: &str, payload: Payload<'_>) -> Result<Answer, Failure> {
        let token = self.tokens.current().await?;
        let mut outcome = self.attempt(path, payload.clone(), &token).await;
        if matches!(&outcome, Err(Failure::Code { code, .. }) if code::class(*code) == Class::Token) {
            let token = self.tokens.rejected(token.generation).await?;
            outcome = self.attempt(path, payload, &token).await;
        }
        self.note(&outcome);
        outcome
    }

    async fn attempt(&self, path: &str, payload: Payload<'_>, token: &Token) -> Result<Answer, Failure> {
        let token = token.value.expose_secret();
        let mut url = wire::endpoint(&self.base, path);
        url.query_pairs_mut().append_pair("access_token", token);
        let is_upload = matches!(payload, Payload::File(..));
        let answered = match payload {
            Payload::Json(body) => wire::post(&self.http, url, body, self.timeout).await,
            Payload::File(kind, file) => {
                url.query_pairs_mut().append_pair("type", kind.name());
                wire::upload(&self.http, url, file, self.timeout.max(UPLOAD_TIMEOUT)).await
            }
        };
        let answer = answered.map_err(|lost| match lost {
            Lost::NotSent(why) => Failure::NotSent(why),
            Lost::NoAnswer(silence, why) => Failure::NoAnswer(silence, why),
        })?;
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|_| unreadable("the answer is not the expected JSON"))?;
        match answer.errcode {
            Some(0) => Ok(answer),
            None if is_upload => Ok(answer),
            None => Err(unreadable("the answer has no return code")),
            Some(code) => {
                let msg = wire::errmsg(answer.errmsg.as_deref().unwrap_or_default(), token);
                Err(Failure::Code { code, msg })
            }
        }
    }

    /// Keeps what an operator must know. A code that judges only the message shows that the account is well.
    pub(super) fn note<T>(&self, outcome: &Result<T, Failure>) {
        let Err(Failure::Code { code, msg }) = outcome else {
            if outcome.is_ok() {
                self.tokens.accepted();
                self.health.well();
            }
            return;
        };
        match (code::class(*code), code::advice(*code)) {
            // An account that lacks the API answers passively, unless it must not.
            (Class::Refuse, _) | (Class::Hold, None) => {
                self.tokens.accepted();
                self.health.well();
            }
            (Class::NotAllowed, _) if !self.must_push => {
                self.tokens.accepted();
                self.health.well();
            }
            (_, Some(advice)) => {
                let advice = code::with_address(advice, *code, msg);
                if self.health.unwell(self.clock.now(), Some(*code), advice.clone()) {
                    tracing::warn!(code, errmsg = msg, advice, "WeChat refuses calls");
                }
            }
            (_, None) => {}
        }
    }
}
