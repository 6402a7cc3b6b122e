//! One call of the REST API: URL, credential, limits, and whether it certainly failed, may have happened, or was
//! answered.
//!
//! Never sleeps; repeats a call exactly once, after a refused UserSig. The URL holds the UserSig, so no error
//! may show it. Reference: "REST API conventions"; docs 269/1519.

use std::time::Duration;

use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::Api;
use super::code::{self, Class};
use super::usersig::Signer;
use crate::im::{number, text};

/// The longest a call may take, connecting included; the server itself gives up after 3 s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest connecting may take, so that an unreachable server is told from one that is slow to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An idle connection is closed rather than reused after this: one that the server has just given up would make
/// a send's outcome unknown.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The most of an answer that is read, in bytes; a page of history is cut at about 13 KB by the server.
const ANSWER_MAX: usize = 1024 * 1024;

/// The most of anyone's words that goes into an error, in characters.
const WORDS_MAX: usize = 200;

/// Calls the REST API as the app's admin.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    signer: Signer,
    timeout: Duration,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request was certainly not written.
    #[error("IM cannot be reached: {why}")]
    NotSent {
        /// The reason; no secrets.
        why: String,
    },
    /// The request was or may have been written, and no readable answer came: it may have been carried out.
    #[error("no readable answer from IM: {why}")]
    NoAnswer {
        /// The reason; no secrets.
        why: String,
    },
    /// IM answered with an error: it was not carried out.
    #[error("IM error {code}: {info}")]
    Code {
        /// `ErrorCode`; [`code::class`] says what it means.
        code: i64,
        /// `ErrorInfo`, shortened.
        info: String,
    },
}

/// The address of the REST API cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API's address must begin with https:// (or http://) and a host")]
pub struct InvalidBase;

/// The connection pool that [`Client`] counts on: follows no redirects, connects within 3 s. Proxies are taken
/// from the environment.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    http_within(CONNECT_TIMEOUT)
}

fn http_within(connect_timeout: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
}

impl Client {
    /// A client for the API at `base`; `http` comes from [`http_client`]. `timeout` bounds each call, see
    /// [`CALL_TIMEOUT`].
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
        Ok(Self { http, base, signer, timeout })
    }

    /// Calls `api`. The answer's `ErrorCode` is 0.
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
        let clean = |words: &str| words_of(words, sig);
        let not_answered = |error: reqwest::Error| {
            let certainly = error.is_connect() || error.is_builder();
            let why = clean(&chain(&error.without_url()));
            if certainly { Failure::NotSent { why } } else { Failure::NoAnswer { why } }
        };
        let request = self.http.post(self.url(api, sig)).timeout(self.timeout).json(body);
        let mut response = request.send().await.map_err(not_answered)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(Failure::NoAnswer { why: format!("HTTP {}", response.status().as_u16()) });
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(not_answered)? {
            if answer.len() + chunk.len() > ANSWER_MAX {
                return Err(Failure::no_answer("the answer is longer than 1 MB"));
            }
            answer.extend_from_slice(&chunk);
        }
        let answer: Value =
            serde_json::from_slice(&answer).map_err(|_| Failure::no_answer("the answer is no JSON"))?;
        match number(&answer, "ErrorCode") {
            Some(0) => Ok(answer),
            Some(code) => {
                Err(Failure::Code { code, info: clean(text(&answer, "ErrorInfo").unwrap_or_default()) })
            }
            None => Err(Failure::no_answer("the answer has no ErrorCode")),
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

    /// A failure that an answer reports about one of its items.
    pub(super) fn of_item(code: i64, item: &Value) -> Self {
        Self::Code { code, info: words_of(text(item, "ResultInfo").unwrap_or_default(), "") }
    }
}

/// Someone else's words, fit for a log line: without the UserSig, on one line, short.
fn words_of(words: &str, sig: &str) -> String {
    let words = if sig.is_empty() { words.to_owned() } else { words.replace(sig, "[UserSig]") };
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect()
}

/// An error with its causes: reqwest's own text names none of them.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
pub(super) mod tests;
