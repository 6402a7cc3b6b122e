//! The access token: fetched once for all callers, renewed before it expires, replaced when WeChat
//! refuses it.
//!
//! Never runs two fetches at a time, not even in several instances that share a store. Never forces
//! a refresh without need, because a forced refresh invalidates the token that other instances use;
//! instances that share a store share one budget of them. Backs off while fetching fails.

mod claim;
mod database;
mod fetch;
mod forced;
mod record;
mod state;
mod store;
#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::code;
use super::transport::TIMEOUT;
use crate::clock::{Clock, millis};
use crate::model::Millis;
use crate::upstream::{Degraded, Evidence, Fault, Health};

pub use database::DatabaseTokenStore;
pub use forced::ForcedLimits;
use state::{FetchFailure, FetchReason, State};
pub use store::{Claim, HolderId, NoTokenStore, Spent, StoreError, StoredToken, TokenStore, Wanted};

/// The API that hands out tokens.
const API: &str = "stable_token";

/// The credentials of the Official Account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The AppID.
    pub app_id: String,
    /// The AppSecret.
    pub secret: SecretString,
}

/// Limits on fetching. The defaults equal WeChat's limits (reference: "Two token endpoints") or
/// stay well below them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The time limit of one fetch.
    pub timeout: Duration,
    /// The time limit of one question to the store.
    pub store_timeout: Duration,
    /// How often refreshes may be forced, by all instances together.
    pub forced: ForcedLimits,
    /// How long before its expiry a token is renewed; at most a quarter of the life it had when it
    /// was fetched.
    pub renew_ahead: Duration,
    /// The pause after the first failed fetch; it doubles with each further failure.
    pub backoff_min: Duration,
    /// The longest pause while WeChat refuses to hand out a token.
    pub backoff_max: Duration,
    /// The longest pause while WeChat is out of reach or busy.
    pub backoff_max_transient: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            store_timeout: Duration::from_secs(3),
            forced: ForcedLimits { per_day: 20, apart: Duration::from_secs(30) },
            renew_ahead: Duration::from_mins(10),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_mins(1),
            backoff_max_transient: Duration::from_secs(5),
        }
    }
}

/// An access token. Two tokens of one holder with the same generation are the same token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub value: SecretString,
    /// Counts up with every new value.
    pub generation: u64,
    /// When WeChat stops accepting it.
    pub expires_at: Millis,
}

/// Why there is no token. Every reason is temporary: the message waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint could not be reached.
    #[error("no access token: WeChat is out of reach: {0}")]
    Unreachable(String),
    /// The token endpoint gave no readable response.
    #[error("no access token: {0}")]
    NoAnswer(String),
    /// The token endpoint returned an error code.
    #[error("no access token: {code} {msg}")]
    Code {
        /// WeChat's `errcode`.
        code: i64,
        /// WeChat's `errmsg`, bounded.
        msg: String,
    },
    /// WeChat refuses the token, and no refresh may be forced yet.
    #[error("no access token: the forced refreshes are used up until {} (Unix seconds)", retry_at.seconds())]
    Budget {
        /// When the next forced refresh is allowed.
        retry_at: Millis,
    },
    /// WeChat returned the same token that it refuses.
    #[error("no access token: WeChat returned the same token that it refuses")]
    Stale,
    /// Another instance fetches one, and has not finished in time.
    #[error("no access token: another instance is fetching one")]
    Claimed,
}

/// Holds the access token of an Official Account.
pub struct TokenHolder {
    /// Tells this holder's claims in the store from those of others.
    id: HolderId,
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    store: Arc<dyn TokenStore>,
    clock: Clock,
    settings: Settings,
    health: Health,
    state: Mutex<State>,
    /// Held during a fetch: other callers wait for it and then find the fetched token.
    fetch_lock: tokio::sync::Mutex<()>,
    /// Notified when the token or the time of its renewal may have changed.
    renew_signal: Notify,
}

impl TokenHolder {
    /// Creates a holder without a token. `base` is the API's base URL; the token endpoint is below
    /// it.
    pub fn new(
        http: reqwest::Client,
        base: Url,
        credentials: Credentials,
        store: Arc<dyn TokenStore>,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self {
            id: HolderId::random(),
            http,
            base,
            credentials,
            store,
            clock,
            settings,
            health: Health::default(),
            state: Mutex::default(),
            fetch_lock: tokio::sync::Mutex::default(),
            renew_signal: Notify::new(),
        }
    }

    /// Returns a valid token: the current one without waiting, or else a fetched one. While
    /// fetching fails, returns the last error at once until the next fetch is allowed.
    pub async fn current(&self) -> Result<Token, TokenError> {
        {
            let now = self.clock.now();
            let state = self.state();
            if let Some(token) = state.valid(now) {
                if now >= state.fetch_due_at(now) {
                    self.renew_signal.notify_one();
                }
                return Ok(token.clone());
            }
        }
        self.refresh(FetchReason::NoValidToken).await
    }

    /// Returns a token that replaces the one of `generation`, which WeChat has just refused.
    /// Fetches only while that token is still the current one: of many callers that failed with it,
    /// one causes the fetch.
    pub async fn replace_rejected(&self, generation: u64) -> Result<Token, TokenError> {
        {
            let mut state = self.state();
            if let Some(token) = state.token.take_if(|token| token.generation == generation) {
                state.refused = Some(token.value);
                tracing::info!(
                    token.generation = generation,
                    "WeChat refused the access token; fetching another"
                );
            }
        }
        self.current().await
    }

    /// Records that a call succeeded with the current token: if WeChat had refused it before, it is
    /// valid after all.
    pub fn mark_accepted(&self) {
        let mut state = self.state();
        if state.token.as_ref().is_some_and(|token| state.is_refused(&token.value)) {
            state.refused = None;
            state.pause = Duration::ZERO;
            drop(state);
            self.health.record(API, self.clock.now(), Evidence::Success);
        }
    }

    /// Whether tokens can be fetched: empty, or since when not, and what to do.
    pub fn degraded(&self) -> Vec<Degraded> {
        self.health.degraded(self.clock.now())
    }

    /// Fetches the first token and renews it before it expires, until stopped. Run it as one task;
    /// without it, a token is fetched when a call needs one.
    pub async fn renew_loop(self: Arc<Self>, stop: CancellationToken) {
        let work = async {
            // The time until a token's expiry means nothing before the clock is known.
            self.clock.settled().await;
            loop {
                let now = self.clock.now();
                let wait = self.state().fetch_due_at(now).since(now);
                if wait <= 0 {
                    // `record_failure` has logged the error, and the next due time includes its
                    // pause.
                    let _ = self.refresh(FetchReason::Renewal).await;
                    continue;
                }
                let wait = Duration::from_millis(wait.unsigned_abs());
                // A timeout and a notification mean the same: check again.
                let _ = tokio::time::timeout(wait, self.renew_signal.notified()).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn refresh(&self, reason: FetchReason) -> Result<Token, TokenError> {
        let _lock = self.fetch_lock.lock().await;
        {
            let now = self.clock.now();
            let state = self.state();
            if let Some(token) = state
                .valid(now)
                .filter(|_| reason == FetchReason::NoValidToken || now < state.fetch_due_at(now))
            {
                return Ok(token.clone());
            }
            if let Some(failure) = state.failure.as_ref().filter(|failure| failure.is_active(now)) {
                return Err(failure.error.clone());
            }
        }
        let outcome = self.obtain().await;
        match outcome {
            Ok(fresh) => Ok(self.adopt(fresh)),
            Err(error) => Err(self.record_failure(error)),
        }
    }

    /// Makes `fresh` the current token.
    fn adopt(&self, fresh: StoredToken) -> Token {
        let now = self.clock.now();
        let life = fresh.expires_at.since(now).max(0);
        let ahead = millis(self.settings.renew_ahead).min(life / 4);
        // Add jitter, so that instances that fetched together do not renew together.
        let ahead = ahead - rand::random_range(0..=ahead / 4);
        let token = Token { value: fresh.value, generation: fresh.generation, expires_at: fresh.expires_at };
        let mut state = self.state();
        // Wait at least a second, in case WeChat keeps returning a token that is about to expire.
        state.renew_at = token.expires_at.plus(-ahead).max(now.plus(1000));
        state.generation = state.generation.max(token.generation);
        state.failure = None;
        // WeChat may hand out again the token that it has refused. Until a call succeeds, it counts
        // as refused.
        let is_refused = state.is_refused(&token.value);
        if !is_refused {
            state.pause = Duration::ZERO;
        }
        state.token = Some(token.clone());
        drop(state);
        if !is_refused {
            self.health.record(API, self.clock.now(), Evidence::Success);
        }
        self.renew_signal.notify_one();
        tracing::info!(token.generation, token.life_s = life / 1000, "obtained an access token");
        token
    }

    /// Records a failed fetch and starts the pause.
    fn record_failure(&self, error: TokenError) -> TokenError {
        let now = self.clock.now();
        let (advice, is_transient) = match &error {
            TokenError::Unreachable(_) => ("check the network, DNS and wechat.api_base".to_owned(), true),
            TokenError::NoAnswer(_) => {
                ("check wechat.api_base, and that no proxy answers in WeChat's place".to_owned(), true)
            }
            TokenError::Code { code: number, msg } => {
                let advice = code::with_address(code::token_advice(*number), *number, msg);
                (advice, code::token_class(*number) == code::Class::Busy)
            }
            TokenError::Claimed => {
                ("check the other instances that use this store, and their clocks".to_owned(), true)
            }
            TokenError::Budget { .. } | TokenError::Stale => {
                (code::advice(40001).unwrap_or_default().to_owned(), false)
            }
        };
        let settings = &self.settings;
        let longest = if is_transient { settings.backoff_max_transient } else { settings.backoff_max };
        let mut state = self.state();
        state.pause = (state.pause * 2).max(settings.backoff_min).min(longest);
        let until = now.plus(millis(state.pause));
        state.failure = Some(FetchFailure { error: error.clone(), at: now, until });
        drop(state);
        let fault = Fault { why: error.to_string(), advice: advice.clone() };
        let evidence = match &error {
            _ if is_transient => Evidence::Failing(fault),
            TokenError::Code { code, .. } if code::token_class(*code) == code::Class::Quota => {
                Evidence::Exhausted(fault)
            }
            _ => Evidence::Blocked(fault),
        };
        if self.health.record(API, now, evidence) {
            tracing::warn!(%error, advice, "cannot fetch an access token; messages to customers wait");
        }
        self.renew_signal.notify_one();
        error
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl fmt::Debug for TokenHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHolder").field("app_id", &self.credentials.app_id).finish_non_exhaustive()
    }
}
