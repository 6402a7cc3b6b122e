//! Obtains a token: from the store, from `stable_token`, or by a forced refresh when WeChat refuses
//! the current one.

use serde::{Deserialize, Serialize};

use secrecy::{ExposeSecret as _, SecretString};

use super::claim::Turn;
use super::state::same_secret;
use super::{StoredToken, TokenError, TokenHolder};
use crate::json;
use crate::model::Millis;
use crate::wechat::send::transport::{self, TransportError};

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
    /// Obtains a token other than the refused one, if possible: from the store, or from WeChat with the
    /// claim on fetching. Only one caller may run this at a time.
    pub(super) async fn obtain(&self) -> Result<StoredToken, TokenError> {
        let stored = match self.claim().await? {
            Turn::Take(token) => return Ok(token),
            Turn::Fetch(stored) => stored,
        };
        let outcome = self.obtain_from_wechat(stored.as_ref()).await;
        match outcome {
            Ok(fresh) => Ok(self.save(fresh).await),
            Err(error) => {
                // The others need not wait until the claim runs out.
                self.release().await;
                Err(error)
            }
        }
    }

    /// Fetches a token, and forces a refresh only if WeChat hands out the refused one without.
    ///
    /// While no refresh may be forced, every other attempt tries the refused token again: WeChat
    /// sometimes refuses valid tokens for a while, and a refused call does no harm.
    async fn obtain_from_wechat(&self, stored: Option<&StoredToken>) -> Result<StoredToken, TokenError> {
        let mut fetched = self.fetch(false).await?;
        if self.is_refused(&fetched.value) {
            match self.spend_forced().await {
                Ok(()) => {
                    fetched = self.fetch(true).await?;
                    if self.is_refused(&fetched.value) {
                        return Err(TokenError::Stale);
                    }
                }
                Err(TokenError::Budget { .. }) if self.may_try_refused() => {}
                Err(error) => return Err(error),
            }
        }
        let generation = self.generation_of(&fetched.value, stored);
        Ok(StoredToken { value: fetched.value, generation, expires_at: fetched.expires_at })
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
            transport::post(&self.http, url, body.into(), self.settings.timeout, &self.clock).await;
        let response = response.map_err(|lost| match lost {
            TransportError::NotSent(why) => TokenError::Unreachable(why),
            // A token request has no lease.
            TransportError::LeaseOver(over) => TokenError::Unreachable(over.to_string()),
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
}

fn unreadable(why: &str) -> TokenError {
    TokenError::NoAnswer(why.to_owned())
}
