//! A bounded in-memory cache of the customers' IM accounts, in front of the store. Where other instances change
//! accounts too, each claim of a customer's message renews what is cached of the customer, in its own transaction.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::model::OpenId;
use crate::store::{Customer, Scope, Store, StoreError};

/// The most customers in the cache. The least used ones are read from the store again.
const CACHED_ACCOUNTS: usize = 50_000;

/// A customer's IM account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The customer has written or followed, and has not unsubscribed since.
    pub known: bool,
    /// The number in the IM UserID; 0 means that the UserID is the openid itself.
    pub number: u32,
    /// The account exists at IM, as far as we know.
    pub imported: bool,
}

impl Account {
    /// The account of a stored customer.
    pub fn of(customer: &Customer) -> Self {
        Self { known: customer.known, number: customer.number, imported: customer.imported }
    }
}

/// The cache. Clones share it.
#[derive(Clone, Debug)]
pub struct Accounts {
    cache: Arc<Cache<OpenId, Account>>,
    store: Store,
}

impl Accounts {
    /// Creates an empty cache in front of `store`.
    pub fn new(store: Store) -> Self {
        Self { cache: Arc::new(Cache::new(CACHED_ACCOUNTS)), store }
    }

    /// Returns the customer's account; `None` if the bridge has never met the customer.
    pub async fn get(&self, openid: &OpenId) -> Result<Option<Account>, StoreError> {
        if let Some(account) = self.cache.get(openid) {
            return Ok(Some(account));
        }
        let key = openid.clone();
        let found = self.store.read(move |tx| tx.customer(&key)).await?;
        let Some(customer) = found else { return Ok(None) };
        let account = Account::of(&customer);
        self.cache.insert(openid.clone(), account);
        Ok(Some(account))
    }

    /// Records the account's number and state in the store and drops the cached copy.
    pub async fn record(&self, openid: &OpenId, number: u32, imported: bool) -> Result<(), StoreError> {
        let customer = openid.clone();
        self.store
            .write_for(Scope::customer(openid), move |tx| tx.set_account(&customer, number, imported))
            .await?;
        self.cache.remove(openid);
        Ok(())
    }

    /// Caches the account that a transaction has just stored or read.
    pub fn insert(&self, openid: &OpenId, account: Account) {
        if self.cache.get(openid) != Some(account) {
            self.cache.insert(openid.clone(), account);
        }
    }
}
