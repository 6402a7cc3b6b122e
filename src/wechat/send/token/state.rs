//! What a holder knows in memory: its token, the refused one, and the last failure.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::forced::ForcedTimes;
use super::{Token, TokenError};
use crate::model::Millis;

#[derive(Debug, Default)]
pub(super) struct State {
    pub token: Option<Token>,
    pub renew_at: Millis,
    /// The highest generation seen, kept even when its token is gone.
    pub generation: u64,
    /// The last token value that WeChat refused.
    pub refused: Option<SecretString>,
    /// The forced refreshes of this holder alone: all that is known while the store fails.
    pub forced: ForcedTimes,
    pub failure: Option<FetchFailure>,
    /// The last pause after a failure; zero after a successful fetch.
    pub pause: Duration,
}

/// A failed fetch; every caller gets its error until the next fetch is allowed.
#[derive(Clone, Debug)]
pub(super) struct FetchFailure {
    pub error: TokenError,
    pub at: Millis,
    pub until: Millis,
}

impl FetchFailure {
    /// Whether the pause still lasts. If the clock was set back to before the failure, the pause
    /// ends.
    pub fn is_active(&self, now: Millis) -> bool {
        (self.at..self.until).contains(&now)
    }
}

impl State {
    /// The token, unless it has expired.
    pub fn valid(&self, now: Millis) -> Option<&Token> {
        self.token.as_ref().filter(|token| now < token.expires_at)
    }

    /// Whether WeChat has refused this value.
    pub fn is_refused(&self, value: &SecretString) -> bool {
        self.refused.as_ref().is_some_and(|refused| same_secret(refused, value))
    }

    /// When the next fetch is due without a caller.
    pub fn fetch_due_at(&self, now: Millis) -> Millis {
        let due_at = if self.valid(now).is_some() { self.renew_at } else { now };
        let failure = self.failure.as_ref().filter(|failure| failure.is_active(now));
        failure.map_or(due_at, |failure| due_at.max(failure.until))
    }
}

/// The reason for a fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchReason {
    /// A call needs any valid token.
    NoValidToken,
    /// The current token is still valid but due for renewal.
    Renewal,
}

/// Whether both are the same secret.
pub(super) fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
