//! Where the token outlives the process, so that a restart or a second instance need not fetch another.
//!
//! Only the interface: the app implements it over its database.

use std::error::Error;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use secrecy::SecretString;

use crate::model::Millis;

/// Why the store failed. It is logged, and the token is used without the store.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// A token as it is kept.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The token itself.
    pub value: SecretString,
    /// Counts up with every new value.
    pub generation: u64,
    /// When WeChat stops to accept it.
    pub expires_at: Millis,
}

/// Keeps the newest token.
pub trait TokenStore: Send + Sync + 'static {
    /// The token last saved, valid or not.
    fn load(&self) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>>;

    /// Keeps `token` and answers what is now kept: an older token never overwrites a newer. Of two tokens, the one
    /// with the greater generation is newer; of equal generations, the one that was there first stays, unless
    /// both have the same value, which takes the later end.
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
