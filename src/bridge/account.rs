//! The map of imported accounts: which customer has which IM account. In memory, bounded, in front of the store.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::model::OpenId;
use crate::store::{Store, StoreError};

/// Customers remembered; beyond, the least used are read from the store again.
const REMEMBERED: usize = 50_000;

/// A customer's IM account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The customer has written or followed and has not left since.
    pub known: bool,
    /// The number of the UserID; 0 is the openid itself.
    pub number: u32,
    /// It exists at IM, as far as we know.
    pub imported: bool,
}

/// The map. Clones share it.
#[derive(Clone, Debug)]
pub struct Accounts {
    cache: Arc<Cache<OpenId, Account>>,
    store: Store,
}

impl Accounts {
    /// An empty map in front of `store`.
    pub fn new(store: Store) -> Self {
        Self { cache: Arc::new(Cache::new(REMEMBERED)), store }
    }

    /// The customer's account; `None` for somebody the bridge has never met.
    pub async fn of(&self, openid: &OpenId) -> Result<Option<Account>, StoreError> {
        if let Some(account) = self.cache.get(openid) {
            return Ok(Some(account));
        }
        let asked = openid.clone();
        let found = self.store.read(move |tx| tx.customer(&asked)).await?;
        let Some(customer) = found else { return Ok(None) };
        let account = Account { known: customer.known, number: customer.number, imported: customer.imported };
        self.cache.insert(openid.clone(), account);
        Ok(Some(account))
    }

    /// Records in the store, then here, what is now true of the account.
    pub async fn record(&self, openid: &OpenId, number: u32, imported: bool) -> Result<(), StoreError> {
        let customer = openid.clone();
        self.store.write(move |tx| tx.set_account(&customer, number, imported)).await?;
        self.cache.remove(openid);
        Ok(())
    }

    /// A commit has just made this the customer's account.
    pub(super) fn learn(&self, openid: &OpenId, account: Account) {
        if self.cache.get(openid) != Some(account) {
            self.cache.insert(openid.clone(), account);
        }
    }

    /// The store was changed by another way: read it again next time.
    pub fn changed(&self, openid: &OpenId) {
        self.cache.remove(openid);
    }
}
