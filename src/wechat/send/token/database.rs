//! The access token in the bridge's own store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, FutureExt as _};

use super::record::Record;
use super::{Claim, ForcedLimits, HolderId, Spent, StoreError, StoredToken, TokenStore, Wanted};
use crate::model::Millis;
use crate::store::{Scope, Store};

/// The token's key in the store's `kv` table.
const KEY: &str = "access_token";

/// Keeps the token in the bridge's store, so that it survives a restart and reaches all instances that
/// use the store.
#[derive(Clone, Debug)]
pub struct DatabaseTokenStore {
    store: Store,
    /// Whether a claim that is found may be that of a process that has ended: no other one uses the
    /// store, and this one has not claimed yet. Waiting for it would delay the first message after a
    /// crash.
    may_find_dead: Arc<AtomicBool>,
}

impl DatabaseTokenStore {
    /// Keeps the token in `store`.
    pub fn new(store: Store) -> Self {
        let may_find_dead = Arc::new(AtomicBool::new(!store.is_shared()));
        Self { store, may_find_dead }
    }

    /// Reads the record and changes it; no other instance can do so meanwhile.
    fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Record, Millis) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        // No platform waits for this. A request must not wait either because another instance has the key.
        let scope = Scope::kv(KEY).in_background();
        let done = self.store.write_for(scope, move |tx| {
            let before = tx.kv(KEY)?;
            let mut record = Record::read(before.as_deref());
            let result = change(&mut record, tx.now());
            let after = serde_json::to_string(&record)?;
            // A holder that waits asks ten times a second and usually changes nothing.
            if before.is_none_or(|before| before != after) {
                tx.put_kv(KEY, &after)?;
            }
            Ok(result)
        });
        done.map(|result| result.map_err(StoreError::from)).boxed()
    }
}

impl TokenStore for DatabaseTokenStore {
    fn claim(&self, holder: HolderId, wanted: Wanted) -> BoxFuture<'_, Result<Claim, StoreError>> {
        let is_first = self.may_find_dead.swap(false, Ordering::Relaxed);
        self.change(move |record, now| {
            if is_first {
                record.end_claim();
            }
            record.claim(holder, &wanted, now)
        })
    }

    fn spend_forced(
        &self,
        holder: HolderId,
        limits: ForcedLimits,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.change(move |record, now| record.spend_forced(holder, limits, now))
    }

    fn save(&self, holder: HolderId, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        self.change(move |record, _| record.save(holder, token.clone()))
    }

    fn release(&self, holder: HolderId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.change(move |record, _| record.release(holder))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret as _, SecretString};

    use super::*;
    use crate::clock::Clock;

    fn token(value: &str, generation: u64, expires_at: i64) -> StoredToken {
        StoredToken { value: SecretString::from(value), generation, expires_at: Millis(expires_at) }
    }

    #[tokio::test]
    async fn an_older_token_never_overwrites_a_newer() {
        let (store, closing) = Store::open(
            &crate::store::testing::location(),
            Clock::system(),
            crate::metrics::Metrics::default(),
        )
        .unwrap();
        let tokens = DatabaseTokenStore::new(store);
        let holder = HolderId::random();
        let wanted = Wanted { above_generation: 0, expires_after: Millis(0), refused: None };
        let first = tokens.claim(holder, wanted.clone()).await.unwrap();
        assert!(matches!(first, Claim::Claimed(None)), "{first:?}");
        for (saved, wins) in [
            (token("first", 1, 10), "first"),
            (token("third", 3, 10), "third"),
            (token("second", 2, 99), "third"),
            (token("rival", 3, 99), "third"),
        ] {
            assert_eq!(tokens.save(holder, saved).await.unwrap().value.expose_secret(), wins);
        }
        assert_eq!(tokens.save(holder, token("third", 3, 50)).await.unwrap().expires_at, Millis(50));
        let last = tokens.claim(holder, wanted).await.unwrap();
        let Claim::Newer(last) = last else { panic!("{last:?}") };
        assert_eq!(last.generation, 3);
        closing.close();
    }
}
