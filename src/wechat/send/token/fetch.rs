//! Obtains a token: from the store, from `stable_token`, or by a forced refresh when WeChat refuses
//! the current one.

use serde::{Deserialize, Serialize};

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};

use super::{StoredToken, TokenError, TokenHolder, millis, same_secret};
use crate::json;
use crate::model::Millis;
use crate::wechat::send::transport::{self, TransportError};

const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(Serialize)]
struct Request<'a> {
    grant_type: &'static str,
    appid: &'a str,
    secret: &'a str,
    force_refresh: bool,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Option<SecretString>,
    #[serde(default, deserialize_with = "json::optional_integer")]
    expires_in: Option<i64>,
    #[serde(default, deserialize_with = "json::optional_integer")]
    errcode: Option<i64>,
    #[serde(default, deserialize_with = "json::optional_text")]
    errmsg: Option<String>,
}

struct FetchedToken {
    value: SecretString,
    expires_at: Millis,
}

impl TokenHolder {
    /// Obtains a token other than the refused one, if possible. Only one caller may run this at a
    /// time.
    ///
    /// While no refresh may be forced, every other attempt tries the refused token again: WeChat
    /// sometimes refuses valid tokens for a while, and a refused call does no harm.
    pub(super) async fn obtain(&self) -> Result<StoredToken, TokenError> {
        let stored = self.load().await;
        if let Some(stored) = stored.clone().filter(|stored| self.is_better(stored)) {
            return Ok(stored);
        }
        let mut fetched = self.fetch(false).await?;
        if self.is_refused(&fetched.value) {
            match self.spend_forced() {
                Ok(()) => {
                    fetched = self.fetch(true).await?;
                    if self.is_refused(&fetched.value) {
                        return Err(TokenError::Stale);
                    }
                }
                Err(_) if self.may_try_refused() => {}
                Err(error) => return Err(error),
            }
        }
        let generation = self.generation_of(&fetched.value, stored.as_ref());
        let fresh = StoredToken { value: fetched.value, generation, expires_at: fetched.expires_at };
        Ok(self.save(fresh).await)
    }

    /// Whether another instance has stored a better token than ours.
    fn is_better(&self, stored: &StoredToken) -> bool {
        let now = self.clock.now();
        let ahead = millis(self.settings.renew_ahead);
        let state = self.state();
        let min_expiry = state.valid(now).map_or(now, |ours| ours.expires_at.plus(ahead));
        stored.generation > state.generation
            && stored.expires_at > min_expiry
            && !state.is_refused(&stored.value)
    }

    fn is_refused(&self, value: &SecretString) -> bool {
        self.state().is_refused(value)
    }

    /// Whether the last failure was a used-up budget or a forced refresh without effect. Its pause
    /// is over by now.
    fn may_try_refused(&self) -> bool {
        let state = self.state();
        let last = state.failure.as_ref().map(|failure| &failure.error);
        matches!(last, Some(TokenError::Budget { .. } | TokenError::Stale))
    }

    /// The generation of a fetched value: that of a known token with the same value, or else the
    /// next one.
    fn generation_of(&self, value: &SecretString, stored: Option<&StoredToken>) -> u64 {
        let state = self.state();
        if let Some(current) = state.token.as_ref().filter(|ours| same_secret(&ours.value, value)) {
            return current.generation;
        }
        let greatest = stored.map_or(0, |stored| stored.generation).max(state.generation);
        match stored
            .filter(|stored| stored.generation > state.generation && same_secret(&stored.value, value))
        {
            Some(stored) => stored.generation,
            None => greatest + 1,
        }
    }

    /// Takes one forced refresh from the budget. It counts even if it fails.
    fn spend_forced(&self) -> Result<(), TokenError> {
        let now = self.clock.now();
        let mut state = self.state();
        while state.forced.front().is_some_and(|oldest| now.since(*oldest) >= DAY) {
            state.forced.pop_front();
        }
        let spacing_ends_at = state.forced.back().map(|last| last.plus(millis(self.settings.forced_apart)));
        let daily = match state.forced.front() {
            _ if state.forced.len() < self.settings.forced_per_day => None,
            Some(oldest) => Some(oldest.plus(DAY)),
            None => Some(now.plus(DAY)),
        };
        if let Some(retry_at) = spacing_ends_at.max(daily).filter(|retry_at| *retry_at > now) {
            return Err(TokenError::Budget { retry_at });
        }
        state.forced.push_back(now);
        Ok(())
    }

    async fn fetch(&self, force_refresh: bool) -> Result<FetchedToken, TokenError> {
        // Count the life from here, so that a slow response does not lengthen it.
        let requested_at = self.clock.now();
        let secret = self.credentials.secret.expose_secret();
        let request = Request {
            grant_type: "client_credential",
            appid: &self.credentials.app_id,
            secret,
            force_refresh,
        };
        let body = serde_json::to_vec(&request).map_err(|_| unreadable("the request is not JSON"))?;
        let url = transport::endpoint(&self.base, "cgi-bin/stable_token");
        let response =
            transport::post(&self.http, url, Bytes::from(body), self.settings.timeout, &self.clock).await;
        let response = response.map_err(|lost| match lost {
            TransportError::NotSent(why) => TokenError::Unreachable(why),
            TransportError::NoAnswer(_, why) => TokenError::NoAnswer(why),
            TransportError::Rejected(status) => TokenError::NoAnswer(format!("HTTP {status}")),
        })?;
        let response: TokenResponse =
            json::from_slice(&response).map_err(|_| unreadable("the response is not the expected JSON"))?;
        if let Some(code) = response.errcode.filter(|code| *code != 0) {
            let msg = transport::sanitize_errmsg(response.errmsg.as_deref().unwrap_or_default(), secret);
            return Err(TokenError::Code { code, msg });
        }
        let value = response.access_token.filter(|value| !value.expose_secret().is_empty());
        let life = response.expires_in.filter(|life| *life > 0);
        let (Some(value), Some(life)) = (value, life) else {
            return Err(unreadable("the response has no token"));
        };
        let expires_at = requested_at.plus(life.saturating_mul(1000));
        if expires_at <= self.clock.now() {
            return Err(unreadable("the token had already expired when it arrived"));
        }
        Ok(FetchedToken { value, expires_at })
    }

    async fn load(&self) -> Option<StoredToken> {
        self.store.load().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot load the access token from the store; fetching one from WeChat");
            None
        })
    }

    /// Saves `fresh` and returns the token to use: the stored one, if another instance was first.
    async fn save(&self, fresh: StoredToken) -> StoredToken {
        let winner = match self.store.save(fresh.clone()).await {
            Ok(winner) => winner,
            Err(error) => {
                tracing::warn!(%error, "cannot save the access token; using it without the store");
                return fresh;
            }
        };
        let now = self.clock.now();
        let state = self.state();
        let usable = winner.expires_at > now && !state.is_refused(&winner.value);
        // A generation that callers already know must not change its token.
        if usable && winner.generation > state.generation { winner } else { fresh }
    }
}

fn unreadable(why: &str) -> TokenError {
    TokenError::NoAnswer(why.to_owned())
}
