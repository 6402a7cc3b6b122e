//! Uploaded files: the platform's id for its copy of a file, and until when that copy can be used.

use rusqlite::OptionalExtension as _;

use super::{StoreError, Tx};
use crate::model::{MediaHash, Millis};

impl Tx<'_> {
    /// The platform's id for its copy of a file that was uploaded as `kind`; `None` if there is
    /// none or it has expired.
    pub fn upload(&self, hash: &MediaHash, kind: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT media_id FROM upload WHERE hash = ?1 AND kind = ?2 AND until > ?3";
        let row = (hash.as_str(), kind, self.now.0);
        Ok(self.connection.prepare_cached(sql)?.query_row(row, |row| row.get(0)).optional()?)
    }

    /// Records an uploaded file; the copy can be used until `until`.
    pub fn put_upload(
        &self,
        hash: &MediaHash,
        kind: &str,
        media_id: &str,
        until: Millis,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO upload (hash, kind, media_id, until) VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(sql)?.execute((hash.as_str(), kind, media_id, until.0))?;
        // Only a few files are uploaded within the days that a copy lasts, so this can delete all
        // expired ones.
        self.connection.prepare_cached("DELETE FROM upload WHERE until <= ?1")?.execute([self.now.0])?;
        Ok(())
    }

    /// Removes a copy that the platform no longer has.
    pub fn forget_upload(&self, media_id: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM upload WHERE media_id = ?1")?.execute([media_id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::MediaHash;
    use crate::store::{Place, Store};

    #[tokio::test]
    async fn a_copy_is_known_until_its_end_and_by_what_it_was_uploaded_as() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&Place::Memory, clock.clone(), Metrics::default()).unwrap();
        let (one, other) = (MediaHash::of_digest([1; 32]), MediaHash::of_digest([2; 32]));
        let known = async |hash: &MediaHash, kind: &'static str| {
            let hash = hash.clone();
            store.read(move |tx| tx.upload(&hash, kind)).await.unwrap()
        };
        let keep = async |hash: &MediaHash, media_id: &'static str| {
            let hash = hash.clone();
            store
                .write(move |tx| tx.put_upload(&hash, "image", media_id, tx.now().plus(1_000)))
                .await
                .unwrap();
        };
        keep(&one, "M1").await;
        keep(&one, "M2").await;
        assert_eq!(known(&one, "image").await.as_deref(), Some("M2"));
        assert_eq!((known(&one, "thumb").await, known(&other, "image").await), (None, None));
        clock.advance(1_000);
        assert_eq!(known(&one, "image").await, None);
        keep(&other, "M3").await;
        store.write(|tx| tx.forget_upload("M3")).await.unwrap();
        assert_eq!(known(&other, "image").await, None);
        let left = |tx: &crate::store::Tx<'_>| {
            Ok(tx.connection.query_row("SELECT count(*) FROM upload", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(store.read(left).await.unwrap(), 0, "expired uploads are deleted");
        closing.close();
    }
}
