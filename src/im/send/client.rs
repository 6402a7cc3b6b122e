//! One call of the REST API: URL, credential, limits, and the outcome: certainly failed, possibly
//! executed, or answered.
//!
//! Never sleeps. Repeats a call exactly once, after a refused UserSig. The URL contains the
//! UserSig, so no error may show it. Reference: "REST API conventions"; docs 269/1519.

use std::time::Duration;

use fail::fail_point;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::Api;
use super::code::{self, Class};
use super::usersig::Signer;
use crate::clock::RemoteClock;
use crate::fleet::{Lease, LeaseOver};
use crate::im::{number, text};
use crate::json;
use crate::upstream::{is_lease_over, leased, observe_date};

/// The time limit of a call, connecting included; the server itself gives up after 3 s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for connecting. It separates an unreachable server from a slow one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long connecting takes at most, and how long the system goes on sending data that is not acknowledged, beside
/// other instances. What a lost network delivers later would arrive when another has looked for it already.
const SILENCE: Duration = Duration::from_secs(2);

/// How long an idle connection is kept. If the server closed a connection just as we send on it,
/// the outcome of the send would be unknown.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest response that is read, in bytes; the server cuts a page of history at about 13 KB.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The longest foreign text in an error, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// A client of the REST API that calls as the app's admin.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    signer: Signer,
    clock: RemoteClock,
    timeout: Duration,
    lease: Lease,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request was certainly not sent.
    #[error("IM cannot be reached: {why}")]
    NotSent {
        /// The reason; no secrets.
        why: String,
    },
    /// The request was not sent, because another instance may send in this one's place.
    #[error("not sent: {0}")]
    LeaseOver(#[from] LeaseOver),
    /// The request was sent, or may have been, but no readable response came: IM may have executed
    /// it.
    #[error("no readable answer from IM: {why}")]
    NoAnswer {
        /// The reason; no secrets.
        why: String,
    },
    /// The request was refused before IM executed it.
    #[error("the request to IM was refused: HTTP {status}")]
    Rejected {
        /// The HTTP status: 4xx, except those that only ask to try again.
        status: u16,
    },
    /// IM returned an error: the call was not executed.
    #[error("IM error {code}: {info}")]
    Code {
        /// `ErrorCode`; [`code::class`] gives its meaning.
        code: i64,
        /// `ErrorInfo`, shortened.
        info: String,
    },
}

/// The base URL of the REST API is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API's address must begin with https:// (or http://) and a host")]
pub struct InvalidBase;

/// Creates the HTTP client that [`Client`] needs: no redirects, 3 s to connect. It takes proxies
/// from the environment. `is_alone`: no other instance may send in this one's place.
pub fn http_client(is_alone: bool) -> reqwest::Result<reqwest::Client> {
    let client = http_client_with(CONNECT_TIMEOUT);
    if is_alone { client } else { client.connect_timeout(SILENCE).tcp_user_timeout(SILENCE) }.build()
}

fn http_client_with(connect_timeout: Duration) -> reqwest::ClientBuilder {
    crate::http_client::builder()
        .redirect(Policy::none())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
}

impl Client {
    /// Creates a client for the API at `base`. `http` comes from [`http_client`]. `timeout` limits
    /// each call, see [`CALL_TIMEOUT`].
    pub fn new(
        http: reqwest::Client,
        mut base: Url,
        signer: Signer,
        timeout: Duration,
    ) -> Result<Self, InvalidBase> {
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(InvalidBase);
        }
        base.set_query(None);
        base.set_fragment(None);
        let clock = signer.clock().remote(crate::im::CLOCK);
        Ok(Self { http, base, signer, clock, timeout, lease: Lease::unlimited() })
    }

    /// Makes calls only as long as this instance has `lease`.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    /// The HTTP client of its calls.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Calls `api`. On success, the response's `ErrorCode` is 0.
    pub(super) async fn call(&self, api: Api, body: &impl Serialize) -> Result<Value, Failure> {
        let sig = self.signer.current();
        match self.attempt(api, body, sig.expose_secret()).await {
            Err(Failure::Code { code, .. }) if code::class(code) == Class::RefreshSig => {
                self.signer.refresh(sig.expose_secret());
                self.attempt(api, body, self.signer.current().expose_secret()).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&self, api: Api, body: &impl Serialize, sig: &str) -> Result<Value, Failure> {
        let clean = |text: &str| sanitize(text, sig);
        let to_failure = |error: reqwest::Error| {
            if is_lease_over(&error) {
                return Failure::LeaseOver(LeaseOver);
            }
            let not_sent = error.is_connect() || error.is_builder();
            let why = clean(&error_chain(&error.without_url()));
            if not_sent { Failure::NotSent { why } } else { Failure::NoAnswer { why } }
        };
        let body = serde_json::to_vec(body).map_err(|error| Failure::NotSent { why: error.to_string() })?;
        let request = self.http.post(self.url(api, sig)).timeout(self.timeout);
        let request = request.header(CONTENT_TYPE, "application/json").body(leased(body.into(), &self.lease));
        let sent_ms = self.clock.local().monotonic_ms();
        fail_point!("im.ready");
        // Nothing may be awaited between this and the request.
        self.lease.check()?;
        let mut response = request.send().await.map_err(to_failure)?;
        observe_date(&self.clock, &response, sent_ms);
        if response.status() != reqwest::StatusCode::OK {
            let status = response.status().as_u16();
            // 408 Request Timeout, 425 Too Early and 429 Too Many Requests say nothing about the
            // request itself.
            let is_answer = matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429);
            return Err(if is_answer {
                Failure::Rejected { status }
            } else {
                Failure::NoAnswer { why: format!("HTTP {status}") }
            });
        }
        let mut response_body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(to_failure)? {
            if response_body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(Failure::no_answer("the response is longer than 1 MB"));
            }
            response_body.extend_from_slice(&chunk);
        }
        let response: Value =
            json::from_slice(&response_body).map_err(|_| Failure::no_answer("the response is not JSON"))?;
        match number(&response, "ErrorCode") {
            Some(0) => Ok(response),
            Some(code) => {
                Err(Failure::Code { code, info: clean(text(&response, "ErrorInfo").unwrap_or_default()) })
            }
            None => Err(Failure::no_answer("the response has no ErrorCode")),
        }
    }

    fn url(&self, api: Api, sig: &str) -> Url {
        let mut url = self.base.clone();
        // Fails only for a URL that cannot be a base, which `new` refuses.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v4", api.service(), api.name()]);
        }
        url.query_pairs_mut()
            .append_pair("sdkappid", &self.signer.sdk_app_id().to_string())
            .append_pair("identifier", self.signer.admin().as_str())
            .append_pair("usersig", sig)
            .append_pair("random", &rand::random::<u32>().to_string())
            .append_pair("contenttype", "json");
        url
    }
}

impl Failure {
    pub(super) fn no_answer(why: &str) -> Self {
        Self::NoAnswer { why: why.to_owned() }
    }

    /// A failure that a response reports for one of its items.
    pub(super) fn of_item(code: i64, item: &Value) -> Self {
        Self::Code { code, info: sanitize(text(item, "ResultInfo").unwrap_or_default(), "") }
    }
}

/// Makes foreign text safe for a log line: without the UserSig, on one line, short.
fn sanitize(text: &str, sig: &str) -> String {
    let text = if sig.is_empty() { text.to_owned() } else { text.replace(sig, "[UserSig]") };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT_CHARS).collect()
}

/// The error with all its causes; reqwest's own text leaves them out.
fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
pub(super) mod tests;
