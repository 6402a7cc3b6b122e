//! The interface to a store that keeps the token after the process ends, so that a restart need not
//! fetch another, and that several instances share, so that only one of them fetches at a time.

use std::error::Error;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::ForcedLimits;
use super::state::same_secret;
use crate::model::Millis;
use crate::wechat::send::transport::TIMEOUT;

/// How long the others wait for a holder that has claimed the fetching: longer than one fetch takes.
pub(super) const CLAIM: Duration = Duration::from_secs(12);
const _: () = assert!(TIMEOUT.as_secs() < CLAIM.as_secs(), "a claim outlasts a fetch");

/// Why the store failed. The error is logged, and the token is used without the store.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// A stored token.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The token itself.
    pub value: SecretString,
    /// Counts up with every new value.
    pub generation: u64,
    /// When WeChat stops accepting it.
    pub expires_at: Millis,
}

/// A holder of the token, among all that use the same store. Drawn at random, so that a process that
/// starts again is another holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HolderId(u64);

impl HolderId {
    /// Draws an id.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// Which stored token a holder takes instead of fetching one.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its generation is higher than this one.
    pub above_generation: u64,
    /// It expires later than this.
    pub expires_after: Millis,
    /// It is another one than this, which WeChat has refused.
    pub refused: Option<SecretString>,
}

impl Wanted {
    /// Whether the holder takes `token`.
    pub fn is_met_by(&self, token: &StoredToken) -> bool {
        token.generation > self.above_generation
            && token.expires_at > self.expires_after
            && !self.refused.as_ref().is_some_and(|refused| same_secret(refused, &token.value))
    }
}

/// What the store answers to a holder that needs a token.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A stored token that the holder wants. It has no claim.
    Newer(StoredToken),
    /// The holder may fetch a token, and must then save it or release the claim. The stored token is
    /// not wanted, even if there is one.
    Claimed(Option<StoredToken>),
    /// Another holder is fetching. Ask again: the claim ends by itself after 12 s.
    Busy,
}

/// What the store answers to a holder that wants to force a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It may force one now. It counts from here on, even if it fails, and the claim lasts 12 s more.
    Granted,
    /// The budget is used up.
    Budget {
        /// When the next one is allowed.
        retry_at: Millis,
    },
    /// The holder has lost its claim, or never had it.
    ClaimLost,
}

/// Keeps the newest token for all holders, lets one of them fetch at a time, and counts their forced
/// refreshes. Each method is one transaction: holders exclude one another.
pub trait TokenStore: Send + Sync + 'static {
    /// Returns the stored token if `holder` wants it, or else claims the fetching for `holder`. A
    /// holder that claims again keeps its claim.
    fn claim(&self, holder: HolderId, wanted: Wanted) -> BoxFuture<'_, Result<Claim, StoreError>>;

    /// Takes one forced refresh from the budget that all holders share. Only the holder with the claim
    /// can do that.
    fn spend_forced(
        &self,
        holder: HolderId,
        limits: ForcedLimits,
    ) -> BoxFuture<'_, Result<Spent, StoreError>>;

    /// Saves `token`, ends the claim of `holder`, and returns the token that is now stored. An older
    /// token never overwrites a newer one. The higher generation is newer. With equal generations the
    /// stored token stays; if both have the same value, the later expiry wins.
    fn save(&self, holder: HolderId, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>>;

    /// Ends the claim of `holder` after a failure. Does nothing if it has none.
    fn release(&self, holder: HolderId) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Keeps nothing, and grants everything to its single holder, which also keeps the budget itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokenStore;

impl TokenStore for NoTokenStore {
    fn claim(&self, _holder: HolderId, _wanted: Wanted) -> BoxFuture<'_, Result<Claim, StoreError>> {
        ready(Ok(Claim::Claimed(None))).boxed()
    }

    fn spend_forced(
        &self,
        _holder: HolderId,
        _limits: ForcedLimits,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        ready(Ok(Spent::Granted)).boxed()
    }

    fn save(&self, _holder: HolderId, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        ready(Ok(token)).boxed()
    }

    fn release(&self, _holder: HolderId) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}
