//! Uploaded files: the platform's id for its copy of a file, and until when that copy can be used.

use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MediaHash, Millis};

impl Tx<'_> {
    /// The platform's id for its copy of a file that was uploaded as `kind`; `None` if there is
    /// none or it has expired.
    pub fn uploaded_media_id(&self, hash: &MediaHash, kind: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT media_id FROM upload WHERE hash = ?1 AND kind = ?2 AND until > ?3";
        self.session.find(sql, params![hash.as_str(), kind, self.now.0])
    }

    /// Records an uploaded file; the copy can be used until `until`.
    pub fn put_upload(
        &self,
        hash: &MediaHash,
        kind: &str,
        media_id: &str,
        until: Millis,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO upload (hash, kind, media_id, until) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (hash, kind) DO UPDATE SET media_id = excluded.media_id, until = excluded.until";
        self.session.run(sql, params![hash.as_str(), kind, media_id, until.0])?;
        // Only a few files are uploaded within the days that a copy lasts, so this can delete all
        // expired ones.
        self.session.run("DELETE FROM upload WHERE until <= ?1", params![self.now.0])?;
        Ok(())
    }

    /// Removes a copy that the platform no longer has.
    pub fn forget_upload(&self, media_id: &str) -> Result<(), StoreError> {
        self.session.run("DELETE FROM upload WHERE media_id = ?1", params![media_id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::MediaHash;
    use crate::store::{Store, params};

    #[tokio::test]
    async fn an_upload_is_found_by_its_kind_until_it_expires() {
        let clock = Clock::movable();
        let (store, closing) =
            Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap();
        let (one, other) = (MediaHash::of_digest([1; 32]), MediaHash::of_digest([2; 32]));
        let lookup = async |hash: &MediaHash, kind: &'static str| {
            let hash = hash.clone();
            store.read(move |tx| tx.uploaded_media_id(&hash, kind)).await.unwrap()
        };
        let record = async |hash: &MediaHash, media_id: &'static str| {
            let hash = hash.clone();
            store
                .write(move |tx| tx.put_upload(&hash, "image", media_id, tx.now().plus(1_000)))
                .await
                .unwrap();
        };
        record(&one, "M1").await;
        record(&one, "M2").await;
        assert_eq!(lookup(&one, "image").await.as_deref(), Some("M2"));
        assert_eq!((lookup(&one, "thumb").await, lookup(&other, "image").await), (None, None));
        clock.advance(1_000);
        assert_eq!(lookup(&one, "image").await, None);
        record(&other, "M3").await;
        store.write(|tx| tx.forget_upload("M3")).await.unwrap();
        assert_eq!(lookup(&other, "image").await, None);
        let count =
            |tx: &crate::store::Tx<'_>| tx.session.value::<i64>("SELECT count(*) FROM upload", params![]);
        assert_eq!(store.read(count).await.unwrap(), 0, "expired uploads are deleted");
        closing.close();
    }
}
