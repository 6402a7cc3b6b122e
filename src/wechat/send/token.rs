//! The access token: fetched once for however many callers, renewed ahead of its end, replaced when refused.
//!
//! Never fetches twice at a time, never forces a refresh without need (a forced one ends the token that other
//! instances use), and never hammers WeChat while fetching fails.

mod fetch;
mod kept;
mod store;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::code;
use super::wire::TIMEOUT;
use crate::clock::Clock;
use crate::model::Millis;
use crate::outbox::health::{Health, Unwell};

pub use kept::KeptToken;
pub use store::{NoTokenStore, StoreError, StoredToken, TokenStore};

/// Who we are to WeChat.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The AppID.
    pub app_id: String,
    /// The AppSecret.
    pub secret: SecretString,
}

/// Limits on fetching. The defaults are WeChat's (reference: "Two token endpoints"), or well within them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long one fetch may take.
    pub timeout: Duration,
    /// Forced refreshes in any 24 hours.
    pub forced_per_day: usize,
    /// The least time between two forced refreshes.
    pub forced_apart: Duration,
    /// How long before its end a token is renewed; at most a quarter of the life it had when it came.
    pub renew_ahead: Duration,
    /// The pause after the first failed fetch; doubles with each that follows.
    pub backoff_min: Duration,
    /// The longest pause while WeChat refuses to hand out a token.
    pub backoff_max: Duration,
    /// The longest pause while WeChat is out of reach or busy.
    pub backoff_max_passing: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            forced_per_day: 20,
            forced_apart: Duration::from_secs(30),
            renew_ahead: Duration::from_mins(10),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_mins(1),
            backoff_max_passing: Duration::from_secs(5),
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
    /// When WeChat stops to accept it.
    pub expires_at: Millis,
}

/// Why there is no token. Every reason may pass: the message waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint could not be reached.
    #[error("no access token: WeChat is out of reach: {0}")]
    Unreachable(String),
    /// The token endpoint gave no readable answer.
    #[error("no access token: {0}")]
    NoAnswer(String),
    /// The token endpoint refused.
    #[error("no access token: {code} {msg}")]
    Code {
        /// WeChat's `errcode`.
        code: i64,
        /// WeChat's `errmsg`, bounded.
        msg: String,
    },
    /// The token is refused, and no other may be forced yet.
    #[error("no access token: the forced refreshes are used up until {} (Unix seconds)", retry_at.seconds())]
    Budget {
        /// When the next forced refresh is allowed.
        retry_at: Millis,
    },
    /// WeChat handed out again the token that it refuses.
    #[error("no access token: WeChat hands out the token that it refuses")]
    Stale,
}

/// Keeps the one access token of an Official Account.
pub struct TokenHolder {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    store: Arc<dyn TokenStore>,
    clock: Clock,
    settings: Settings,
    health: Health,
    kept: Mutex<Kept>,
    /// Held while a token is fetched: the others wait here and then find what was fetched.
    turn: tokio::sync::Mutex<()>,
    /// Rung when the token or the moment of its renewal may have changed.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    renew_at: Millis,
    /// The greatest generation seen, kept when its token is not.
    generation: u64,
    /// The last value that WeChat refused.
    refused: Option<SecretString>,
    /// When a refresh was forced in the last 24 hours; at most `forced_per_day` moments.
    forced: VecDeque<Millis>,
    failure: Option<Failure>,
    /// The last pause after a failure; zero once a new token came.
    pause: Duration,
}

/// A failed fetch, answered to everybody until the next one is allowed.
#[derive(Clone, Debug)]
struct Failure {
    error: TokenError,
    at: Millis,
    until: Millis,
}

impl Failure {
    /// A clock that was set back to before the failure ends the pause: it must not last until then again.
    fn lasts(&self, now: Millis) -> bool {
        (self.at..self.until).contains(&now)
    }
}

impl Kept {
    fn valid(&self, now: Millis) -> Option<&Token> {
        self.token.as_ref().filter(|token| now < token.expires_at)
    }

    fn is_refused(&self, value: &SecretString) -> bool {
        self.refused.as_ref().is_some_and(|refused| same(refused, value))
    }

    /// When the next fetch is due by itself.
    fn due(&self, now: Millis) -> Millis {
        let wanted = if self.valid(now).is_some() { self.renew_at } else { now };
        let failure = self.failure.as_ref().filter(|failure| failure.lasts(now));
        failure.map_or(wanted, |failure| wanted.max(failure.until))
    }
}

/// Why somebody wants a fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// A call needs any valid token.
    Valid,
    /// The valid token is to be followed by a later one.
    Later,
}

impl TokenHolder {
    /// A holder that has not fetched yet. `base` is the API's base URL; the token endpoint is below it.
    pub fn new(
        http: reqwest::Client,
        base: Url,
        credentials: Credentials,
        store: Arc<dyn TokenStore>,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self {
            http,
            base,
            credentials,
            store,
            clock,
            settings,
            health: Health::default(),
            kept: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// A valid token: the one at hand without waiting, or else a fetched one. While fetching fails, the last
    /// failure is answered at once until the next fetch is allowed.
    pub async fn current(&self) -> Result<Token, TokenError> {
        {
            let now = self.clock.now();
            let kept = self.kept();
            if let Some(token) = kept.valid(now) {
                if now >= kept.due(now) {
                    self.bell.notify_one();
                }
                return Ok(token.clone());
            }
        }
        self.refresh(Want::Valid).await
    }

    /// A token to use instead of the one of `generation`, which WeChat has just refused. Fetches only while that
    /// one is still at hand: of many callers whom the same token failed, one causes the fetch.
    pub async fn rejected(&self, generation: u64) -> Result<Token, TokenError> {
        {
            let mut kept = self.kept();
            if let Some(token) = kept.token.take_if(|token| token.generation == generation) {
                kept.refused = Some(token.value);
                tracing::info!(token.generation = generation, "WeChat refused the access token");
            }
        }
        self.current().await
    }

    /// A call succeeded with the token at hand: if that one had been refused before, it is good after all.
    pub fn accepted(&self) {
        let mut kept = self.kept();
        if kept.token.as_ref().is_some_and(|token| kept.is_refused(&token.value)) {
            kept.refused = None;
            kept.pause = Duration::ZERO;
            drop(kept);
            self.health.well();
        }
    }

    /// Whether tokens can be had, as far as the last fetch tells.
    pub fn health(&self) -> Result<(), Unwell> {
        self.health.get()
    }

    /// Renews the token ahead of its end, and fetches the first one, until stopped. To be run as one task: without
    /// it tokens are fetched when a call needs one.
    pub async fn renew_loop(self: Arc<Self>, stop: CancellationToken) {
        let work = async {
            loop {
                let now = self.clock.now();
                let wait = self.kept().due(now).since(now);
                if wait <= 0 {
                    // A failure is remembered, logged, and part of the next due moment.
                    let _ = self.refresh(Want::Later).await;
                    continue;
                }
                let wait = Duration::from_millis(wait.unsigned_abs());
                // Out of time is as good as the bell: both mean to look again.
                let _ = tokio::time::timeout(wait, self.bell.notified()).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn refresh(&self, want: Want) -> Result<Token, TokenError> {
        let _turn = self.turn.lock().await;
        {
            let now = self.clock.now();
            let kept = self.kept();
            if let Some(token) = kept.valid(now).filter(|_| want == Want::Valid || now < kept.due(now)) {
                return Ok(token.clone());
            }
            if let Some(failure) = kept.failure.as_ref().filter(|failure| failure.lasts(now)) {
                return Err(failure.error.clone());
            }
        }
        let outcome = self.obtain().await;
        match outcome {
            Ok(fresh) => Ok(self.keep(fresh)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Makes `fresh` the token at hand.
    fn keep(&self, fresh: StoredToken) -> Token {
        let now = self.clock.now();
        let life = fresh.expires_at.since(now).max(0);
        let ahead = millis(self.settings.renew_ahead).min(life / 4);
        // Instances that fetched together should not renew together.
        let ahead = ahead - rand::random_range(0..=ahead / 4);
        let token = Token { value: fresh.value, generation: fresh.generation, expires_at: fresh.expires_at };
        let mut kept = self.kept();
        // A second at least, should WeChat go on handing out a token that is about to end.
        kept.renew_at = token.expires_at.plus(-ahead).max(now.plus(1000));
        kept.generation = kept.generation.max(token.generation);
        kept.failure = None;
        let on_trial = kept.is_refused(&token.value);
        if !on_trial {
            kept.pause = Duration::ZERO;
        }
        kept.token = Some(token.clone());
        drop(kept);
        if !on_trial {
            self.health.well();
        }
        self.bell.notify_one();
        tracing::info!(token.generation, token.life_s = life / 1000, "have an access token");
        token
    }

    /// Remembers a failed fetch.
    fn fail(&self, error: TokenError) -> TokenError {
        let now = self.clock.now();
        let (number, advice, passing) = match &error {
            TokenError::Unreachable(_) => {
                (None, "check the network, DNS and wechat.api_base".to_owned(), true)
            }
            TokenError::NoAnswer(_) => {
                (None, "check wechat.api_base, and that nothing between answers for WeChat".to_owned(), true)
            }
            TokenError::Code { code: number, msg } => {
                let advice = code::with_address(code::token_advice(*number), *number, msg);
                (Some(*number), advice, code::token_class(*number) == code::Class::Busy)
            }
            TokenError::Budget { .. } | TokenError::Stale => {
                (None, code::advice(40001).unwrap_or_default().to_owned(), false)
            }
        };
        let settings = &self.settings;
        let longest = if passing { settings.backoff_max_passing } else { settings.backoff_max };
        let mut kept = self.kept();
        kept.pause = (kept.pause * 2).max(settings.backoff_min).min(longest);
        let until = now.plus(millis(kept.pause));
        kept.failure = Some(Failure { error: error.clone(), at: now, until });
        drop(kept);
        if self.health.unwell(now, number, advice.clone()) {
            tracing::warn!(%error, advice, "no access token");
        }
        self.bell.notify_one();
        error
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHolder").field("app_id", &self.credentials.app_id).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
