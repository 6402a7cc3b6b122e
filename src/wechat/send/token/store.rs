//! The interface to a store that keeps the token after the process ends, so that a restart or a
//! second instance need not fetch another.

use std::error::Error;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use secrecy::SecretString;

use crate::model::Millis;

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

/// Keeps the newest token.
pub trait TokenStore: Send + Sync + 'static {
    /// Loads the token that was saved last, even if it has expired.
    fn load(&self) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>>;

    /// Saves `token` and returns the token that is now stored. An older token never overwrites a
    /// newer one. The higher generation is newer. With equal generations the stored token stays; if
    /// both have the same value, the later expiry wins.
    fn save(&self, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>>;
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokenStore;

impl TokenStore for NoTokenStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn save(&self, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        ready(Ok(token)).boxed()
    }
}
