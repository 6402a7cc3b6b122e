//! What a holder asks its store: for the claim on fetching, for a forced refresh, and to keep a token.
//!
//! A token is needed even while the store fails. Then the holder fetches by itself.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::store::CLAIM;
use super::{Claim, Spent, StoreError, StoredToken, TokenError, TokenHolder, Wanted};
use crate::clock::millis;

/// How often a holder that waits for another one asks the store.
const POLL: Duration = Duration::from_millis(100);
/// The longest wait for other holders. The claim of one that fetches twice, the second time by force,
/// lasts twice as long as one claim.
const MAX_WAIT: Duration = CLAIM.saturating_mul(2);

/// What a holder does when it is its turn.
pub(super) enum Turn {
    /// Take this token, which another holder has stored.
    Take(StoredToken),
    /// Fetch a token. This one is stored, and is not better than the holder's own.
    Fetch(Option<StoredToken>),
}

impl TokenHolder {
    /// Waits while another holder fetches, then takes its token or claims the fetching.
    pub(super) async fn claim(&self) -> Result<Turn, TokenError> {
        let turn = async {
            loop {
                match self.ask_store(self.store.claim(self.id, self.wanted())).await {
                    Ok(Claim::Newer(token)) => return Turn::Take(token),
                    Ok(Claim::Claimed(stored)) => return Turn::Fetch(stored),
                    Ok(Claim::Busy) => tokio::time::sleep(POLL).await,
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            "cannot load the access token from the store; fetching one from WeChat"
                        );
                        return Turn::Fetch(None);
                    }
                }
            }
        };
        tokio::time::timeout(MAX_WAIT, turn).await.map_err(|_| TokenError::Claimed)
    }

    /// Gives the claim back after a failure.
    pub(super) async fn release(&self) {
        if let Err(error) = self.ask_store(self.store.release(self.id)).await {
            tracing::warn!(%error, "cannot tell the store that fetching the access token has failed");
        }
    }

    /// Takes one forced refresh from the budget. It counts even if it fails.
    pub(super) async fn spend_forced(&self) -> Result<(), TokenError> {
        let limits = self.settings.forced;
        // The store does not know the refreshes that were forced while it failed.
        if let Some(retry_at) = self.state().forced.blocked_until(limits, self.clock.now()) {
            return Err(TokenError::Budget { retry_at });
        }
        match self.ask_store(self.store.spend_forced(self.id, limits)).await {
            Ok(Spent::Granted) => {}
            Ok(Spent::Budget { retry_at }) => return Err(TokenError::Budget { retry_at }),
            Ok(Spent::ClaimLost) => return Err(TokenError::Claimed),
            Err(error) => {
                tracing::warn!(%error, "cannot count a forced refresh of the access token in the store");
            }
        }
        self.state().forced.push(self.clock.now());
        Ok(())
    }

    /// Saves `fresh`, which ends the claim, and returns the token to use: the stored one, if another
    /// instance was first.
    pub(super) async fn save(&self, fresh: StoredToken) -> StoredToken {
        let winner = match self.ask_store(self.store.save(self.id, fresh.clone())).await {
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

    /// Which token is better than ours.
    fn wanted(&self) -> Wanted {
        let now = self.clock.now();
        let ahead = millis(self.settings.renew_ahead);
        let state = self.state();
        Wanted {
            above_generation: state.generation,
            expires_after: state.valid(now).map_or(now, |ours| ours.expires_at.plus(ahead)),
            refused: state.refused.clone(),
        }
    }

    /// Waits for the store, but not for long: a store that hangs must not keep messages from leaving.
    async fn ask_store<T>(&self, question: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let limit = self.settings.store_timeout;
        let answer = tokio::time::timeout(limit, question).await;
        answer.unwrap_or_else(|_| Err(SlowStore(limit).into()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the store did not respond within {0:?}")]
struct SlowStore(Duration);
