//! Pending downloads of media: enqueued, claimed, rescheduled, finished.

use super::postgres::membership::RELEASE_OF_THE_GONE;
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MediaName, MediaRequest, Millis, OpenId};

/// No pause is longer, in milliseconds. A later due time was written before the clock was set back,
/// and is ignored.
const LONGEST_PAUSE_MS: i64 = 600_000;

/// A medium that still has to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFetch {
    /// The medium's name.
    pub name: MediaName,
    /// The customer who sent it.
    pub openid: OpenId,
    /// What it is, and where it can be downloaded.
    pub request: MediaRequest,
    /// When the message that contained it was accepted.
    pub created_at: Millis,
    /// Attempts made, including the present one.
    pub attempts: u32,
}

fn read(row: Row<'_>) -> Result<MediaFetch, StoreError> {
    Ok(MediaFetch {
        name: MediaName::new(row.get::<String>(0)?).map_err(StoreError::unreadable)?,
        openid: OpenId::new(row.get::<String>(1)?).map_err(StoreError::unreadable)?,
        request: serde_json::from_str(row.text(2)?)?,
        created_at: Millis(row.get(3)?),
        attempts: row.get(4)?,
    })
}

impl Tx<'_> {
    /// Enqueues a download. The medium must have been added before.
    pub fn enqueue_fetch(
        &self,
        name: &MediaName,
        openid: &OpenId,
        request: &MediaRequest,
    ) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO media_fetch (name, mp3, openid, request, created_at, due_at, attempts, running)
                   VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0)";
        let mp3 = request.mp3.as_ref().map(MediaName::as_str);
        let request = serde_json::to_string(request)?;
        self.session.run(sql, params![name.as_str(), mp3, openid.as_str(), &request, self.now.0])?;
        Ok(())
    }

    /// Claims up to `limit` due downloads for the instance `owner`, those due longest first, and counts an attempt for
    /// each.
    pub fn claim_fetches(&self, limit: usize, owner: i64) -> Result<Vec<MediaFetch>, StoreError> {
        let sql = "UPDATE media_fetch SET running = ?4, attempts = attempts + 1 WHERE name IN (
                       SELECT name FROM media_fetch WHERE running = 0 AND (due_at <= ?1 OR due_at > ?2)
                       ORDER BY due_at, name LIMIT ?3)
                   RETURNING name, openid, request, created_at, attempts";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.session.all(sql, params![self.now.0, self.now.plus(LONGEST_PAUSE_MS).0, limit, owner], read)
    }

    /// When the next download is due; `None` if none is waiting.
    pub fn next_fetch_at(&self) -> Result<Option<Millis>, StoreError> {
        let sql = "SELECT min(due_at) FROM media_fetch WHERE running = 0";
        let due: Option<i64> = self.session.value(sql, params![])?;
        Ok(due.map(Millis))
    }

    /// Reschedules a download after a failed attempt: it is due again at `due_at`.
    pub fn reschedule_fetch(&self, name: &MediaName, due_at: Millis) -> Result<(), StoreError> {
        let sql = "UPDATE media_fetch SET running = 0, due_at = ?2 WHERE name = ?1";
        self.session.run(sql, params![name.as_str(), due_at.0])?;
        Ok(())
    }

    /// Removes a download that succeeded or was given up. `false` if it was removed before, because
    /// its medium was deleted.
    pub fn finish_fetch(&self, name: &MediaName) -> Result<bool, StoreError> {
        let sql = "DELETE FROM media_fetch WHERE name = ?1";
        Ok(self.session.run(sql, params![name.as_str()])? > 0)
    }

    /// Releases the downloads that were running when their process ended; they are due at `due_at`. `is_alone`: there
    /// is no other instance whose downloads are running.
    pub fn release_fetches(&self, due_at: Millis, is_alone: bool) -> Result<(), StoreError> {
        let sql = if is_alone {
            "UPDATE media_fetch SET running = 0, due_at = ?1 WHERE running > 0"
        } else {
            RELEASE_OF_THE_GONE
        };
        self.session.run(sql, params![due_at.0])?;
        Ok(())
    }

    /// Makes the next attempt due now, because a client is waiting for this medium. `name` may also
    /// be the MP3 copy of the downloaded medium.
    pub fn make_fetch_due(&self, name: &MediaName) -> Result<(), StoreError> {
        let sql = "UPDATE media_fetch SET due_at = CASE WHEN due_at < ?2 THEN due_at ELSE ?2 END WHERE name = ?1 OR mp3 = ?1";
        self.session.run(sql, params![name.as_str(), self.now.0])?;
        Ok(())
    }

    /// Whether a medium, or the one it is converted from, still has to be downloaded.
    pub fn is_fetch_pending(&self, name: &MediaName) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media_fetch WHERE name = ?1 OR mp3 = ?1)";
        self.session.value(sql, params![name.as_str()])
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{MediaKind, MediaName, MediaOrigin, MediaRequest, Millis, OpenId};
    use crate::store::Store;

    #[tokio::test]
    async fn a_fetch_is_claimed_once_rescheduled_and_deleted_with_its_medium() {
        let (store, closing) =
            Store::open(&crate::store::testing::location(), Clock::system(), Metrics::default()).unwrap();
        let (name, openid) = (MediaName::of_bits(1), OpenId::new("oA").unwrap());
        let mp3 = MediaName::of_bits(2);
        let request =
            MediaRequest { kind: MediaKind::Voice, ids: vec!["m".into()], url: None, mp3: Some(mp3.clone()) };
        store
            .write(move |tx| {
                for name in [&name, &mp3] {
                    tx.add_medium(name, &openid, MediaOrigin::Customer)?;
                }
                tx.enqueue_fetch(&name, &openid, &request)?;
                let claimed = tx.claim_fetches(9, 7)?;
                assert_eq!((claimed.len(), claimed[0].attempts, &claimed[0].request), (1, 1, &request));
                assert_eq!((tx.claim_fetches(9, 7)?.len(), tx.next_fetch_at()?), (0, None));
                tx.reschedule_fetch(&name, tx.now().plus(1_000))?;
                assert_eq!(tx.claim_fetches(9, 7)?, []);
                tx.make_fetch_due(&mp3)?;
                assert!(tx.is_fetch_pending(&mp3)? && !tx.is_fetch_pending(&MediaName::of_bits(3))?);
                assert_eq!(tx.claim_fetches(9, 7)?[0].attempts, 2);
                tx.release_fetches(Millis(0), true)?;
                assert_eq!(tx.next_fetch_at()?, Some(Millis(0)));
                tx.forget_customer(&openid)?;
                assert_eq!((tx.claim_fetches(9, 7)?.len(), tx.finish_fetch(&name)?), (0, false));
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
