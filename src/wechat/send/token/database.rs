//! The access token in the bridge's own store.

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{StoreError, StoredToken, TokenStore};
use crate::model::Millis;
use crate::store::{self, Store, Tx};

/// The token's key in the store's `kv` table.
const KEY: &str = "access_token";

/// Keeps the token in the bridge's store, so that it survives a restart.
#[derive(Clone, Debug)]
pub struct DatabaseTokenStore(Store);

#[derive(Serialize, Deserialize)]
struct TokenRecord {
    value: String,
    generation: u64,
    expires_at: Millis,
}

impl DatabaseTokenStore {
    /// Keeps the token in `store`.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

fn load_record(tx: &Tx<'_>) -> Result<Option<TokenRecord>, store::StoreError> {
    let text = tx.kv(KEY)?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

fn to_stored_token(record: TokenRecord) -> StoredToken {
    StoredToken {
        value: SecretString::from(record.value),
        generation: record.generation,
        expires_at: record.expires_at,
    }
}

impl TokenStore for DatabaseTokenStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<StoredToken>, StoreError>> {
        Box::pin(async move { Ok(self.0.read(load_record).await?.map(to_stored_token)) })
    }

    fn save(&self, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        let save = move |tx: &Tx<'_>| {
            let present = load_record(tx)?;
            let value = token.value.expose_secret();
            let is_newer = present.as_ref().is_none_or(|present| {
                let same = present.value == value && present.expires_at < token.expires_at;
                present.generation < token.generation || (present.generation == token.generation && same)
            });
            if let Some(present) = present.filter(|_| !is_newer) {
                return Ok(present);
            }
            let winner = TokenRecord {
                value: value.to_owned(),
                generation: token.generation,
                expires_at: token.expires_at,
            };
            tx.put_kv(KEY, &serde_json::to_string(&winner)?)?;
            Ok(winner)
        };
        Box::pin(async move { Ok(to_stored_token(self.0.write(save).await?)) })
    }
}

#[cfg(test)]
mod tests {
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
        assert!(tokens.load().await.unwrap().is_none());
        for (saved, wins) in [
            (token("first", 1, 10), "first"),
            (token("third", 3, 10), "third"),
            (token("second", 2, 99), "third"),
            (token("rival", 3, 99), "third"),
        ] {
            assert_eq!(tokens.save(saved).await.unwrap().value.expose_secret(), wins);
        }
        assert_eq!(tokens.save(token("third", 3, 50)).await.unwrap().expires_at, Millis(50));
        assert_eq!(tokens.load().await.unwrap().unwrap().generation, 3);
        closing.close();
    }
}
