//! Removes media older than `media.keep_days`, the oldest beyond `media.max_total_bytes`, and files
//! without a row.
//!
//! It works in small steps. The files of a customer who unsubscribes are removed at once; files
//! left behind by a crash are removed at the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Files, FilesError};
use crate::clock::Clock;
use crate::model::MediaHash;
use crate::store::{Store, StoreError};

/// The pause between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_mins(10);
/// How often the size of all files is compared with its limit.
const SIZE_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The pause between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Rows or files checked in one step.
const STEP_SIZE: u32 = 100;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system failed.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// The sweeper. All clones share one task, which each of them can wake.
#[derive(Clone, Debug)]
pub struct Sweeper {
    store: Store,
    files: Files,
    retention_ms: i64,
    clock: Clock,
    wake_signal: Arc<Notify>,
    /// The maximum bytes of all files; 0 for a tenth of the disk.
    max_total_bytes: Arc<AtomicU64>,
    /// What that was when it was last compared.
    last_limit: Arc<AtomicU64>,
}

impl Sweeper {
    /// Creates a sweeper of `files` that keeps media for `retention_ms` milliseconds.
    pub fn new(store: Store, files: Files, retention_ms: i64, clock: Clock) -> Self {
        let last_limit = Arc::new(AtomicU64::new(u64::MAX));
        let (wake_signal, max_total_bytes) = (Arc::default(), Arc::default());
        Self { store, files, retention_ms, clock, wake_signal, max_total_bytes, last_limit }
    }

    /// Limits all files together to `max_bytes`; without a limit, to a tenth of the disk.
    pub fn limit_total(&self, max_bytes: Option<u64>) {
        self.max_total_bytes.store(max_bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// Starts a round now, because the last media row that names a file may be gone.
    pub fn wake(&self) {
        self.wake_signal.notify_one();
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(ROUND_INTERVAL);
        let mut size_check = tokio::time::interval(SIZE_CHECK_INTERVAL);
        let mut lost_files_marked = false;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.wake_signal.notified() => {}
                _ = size_check.tick() => if !self.is_too_large() { continue },
                () = stop.cancelled() => return,
            }
            let round = async {
                if !lost_files_marked {
                    self.mark_lost_files().await?;
                    lost_files_marked = true;
                }
                self.round().await
            };
            tokio::select! {
                result = round => if let Err(error) = result {
                    tracing::warn!(%error, "could not remove old media files; the next round tries again");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs one round: removes the media that are too old, then every file without a row.
    pub async fn round(&self) -> Result<(), SweepError> {
        let retention_ms = self.retention_ms;
        // Files without a row go in any case, but none for its age while the time is in doubt.
        let ages_count = self.clock.is_trusted();
        while ages_count
            && self.store.write(move |tx| tx.prune_media(tx.now().plus(-retention_ms), STEP_SIZE)).await? > 0
        {
            tokio::time::sleep(STEP_PAUSE).await;
        }
        self.remove_orphans().await?;
        self.shrink().await
    }

    /// Removes the oldest media until all files together are within the limit. Those of a customer
    /// with messages that wait or are held stay, because the messages need them.
    async fn shrink(&self) -> Result<(), SweepError> {
        loop {
            let (files, sweeper) = (self.files.clone(), self.clone());
            let counted = move || Ok::<_, FilesError>((files.count_bytes()?, sweeper.max_total()));
            let counted = tokio::task::spawn_blocking(counted).await;
            let (total, limit) = counted.map_err(|_| StoreError::Closed)??;
            if total <= limit {
                return Ok(());
            }
            let excess = total - limit;
            let removed = self.store.write(move |tx| tx.prune_oldest_media(excess, STEP_SIZE)).await?;
            if removed == 0 {
                tracing::warn!(
                    media.bytes = total,
                    media.max_bytes = limit,
                    "media.dir is larger than its limit, and waiting messages need what is left"
                );
                return Ok(());
            }
            tracing::info!(
                media.removed = removed,
                "removed the oldest media: media.max_total_bytes is reached"
            );
            self.remove_orphans().await?;
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }

    fn is_too_large(&self) -> bool {
        self.files.total_bytes() > self.last_limit.load(Ordering::Relaxed)
    }

    /// The maximum bytes of all files. Reads the size of the disk. Blocks.
    fn max_total(&self) -> u64 {
        let limit = match self.max_total_bytes.load(Ordering::Relaxed) {
            0 => rustix::fs::statvfs(self.files.dir())
                .map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize.max(1)) / 10),
            limit => limit,
        };
        self.last_limit.store(limit, Ordering::Relaxed);
        limit
    }

    async fn remove_orphans(&self) -> Result<(), SweepError> {
        let mut previous = None;
        loop {
            let orphans = self.store.read(|tx| tx.orphans(STEP_SIZE)).await?;
            // A file that is being stored again cannot be removed now; the next round checks it
            // again.
            if orphans.is_empty() || previous.as_ref() == Some(&orphans) {
                return Ok(());
            }
            for hash in &orphans {
                self.sweep(hash).await?;
            }
            previous = Some(orphans);
        }
    }

    async fn sweep(&self, hash: &MediaHash) -> Result<(), SweepError> {
        if !self.files.mark_unreferenced(hash) {
            return Ok(());
        }
        let key = hash.clone();
        if self.store.read(move |tx| tx.is_file_referenced(&key)).await? {
            self.files.unmark(hash);
        } else {
            let (files, hash) = (self.files.clone(), hash.clone());
            let removed = tokio::task::spawn_blocking(move || files.remove(&hash)).await;
            removed.map_err(|_| StoreError::Closed)??;
        }
        let swept = hash.clone();
        Ok(self.store.write(move |tx| tx.unmark_orphan(&swept)).await?)
    }

    /// Finds files that were stored but got no row, because the process was killed in between.
    async fn mark_lost_files(&self) -> Result<(), SweepError> {
        let files = self.files.clone();
        let mut listed =
            tokio::task::spawn_blocking(move || files.list()).await.map_err(|_| StoreError::Closed)??;
        loop {
            let step = move || (listed.by_ref().take(STEP_SIZE as usize).collect::<Vec<_>>(), listed);
            let (hashes, rest) = tokio::task::spawn_blocking(step).await.map_err(|_| StoreError::Closed)?;
            if hashes.is_empty() {
                return Ok(());
            }
            listed = rest;
            let lost = self
                .store
                .read(move |tx| {
                    let mut lost = Vec::new();
                    for hash in &hashes {
                        if !tx.is_file_referenced(hash)? {
                            lost.push(hash.clone());
                        }
                    }
                    Ok(lost)
                })
                .await?;
            if !lost.is_empty() {
                self.store.write(move |tx| lost.iter().try_for_each(|hash| tx.mark_orphan(hash))).await?;
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, MediaName, MediaOrigin, OpenId, OutboundCall};
    use crate::store::{Closing, MediumFile, testing};
    use tempfile::TempDir;

    const DAY_MS: i64 = 86_400_000;

    struct Fixture {
        sweeper: Sweeper,
        clock: Clock,
        _folder: TempDir,
        _closing: Closing,
    }

    fn fixture() -> Fixture {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::movable());
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let files = Files::open(folder.path(), clock.clone()).unwrap();
        Fixture {
            sweeper: Sweeper::new(store, files, 30 * DAY_MS, clock.clone()),
            clock,
            _folder: folder,
            _closing: closing,
        }
    }

    impl Fixture {
        async fn store_file(&self, number: u128, openid: &str, bytes: &[u8]) -> MediaHash {
            let mut incoming = self.sweeper.files.create(100).await.unwrap();
            incoming.write(bytes).await.unwrap();
            let stored = incoming.finish().await.unwrap();
            let (name, openid) = (MediaName::of_bits(number), OpenId::new(openid).unwrap());
            let file = MediumFile { hash: stored.hash.clone(), size: stored.size };
            let row = move |tx: &crate::store::Tx<'_>| {
                tx.add_medium(&name, &openid, MediaOrigin::Customer)?;
                tx.set_medium_file(&name, &file)
            };
            assert!(self.sweeper.store.write(row).await.unwrap());
            stored.hash.clone()
        }

        async fn is_there(&self, hash: &MediaHash) -> bool {
            self.sweeper.files.read(hash).await.unwrap().is_some()
        }

        async fn forget_customer(&self, openid: &str) {
            let openid = OpenId::new(openid).unwrap();
            self.sweeper.store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_customers_files_go_with_the_customer_but_not_those_of_others() {
        let fixture = fixture();
        let own = fixture.store_file(1, "oA", b"own").await;
        let shared = fixture.store_file(2, "oA", b"shared").await;
        assert_eq!(fixture.store_file(3, "oB", b"shared").await, shared);
        fixture.sweeper.round().await.unwrap();
        assert!(fixture.is_there(&own).await);
        fixture.forget_customer("oA").await;
        fixture.sweeper.round().await.unwrap();
        assert!(!fixture.is_there(&own).await && fixture.is_there(&shared).await);
        fixture.forget_customer("oB").await;
        fixture.sweeper.round().await.unwrap();
        assert!(!fixture.is_there(&shared).await);
        assert_eq!(fixture.sweeper.store.read(|tx| tx.orphans(9)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn files_older_than_the_retention_are_removed() {
        let fixture = fixture();
        let old = fixture.store_file(1, "oA", b"old").await;
        fixture.clock.advance(29 * DAY_MS);
        let young = fixture.store_file(2, "oA", b"young").await;
        fixture.clock.advance(2 * DAY_MS);
        fixture.sweeper.round().await.unwrap();
        assert!(!fixture.is_there(&old).await && fixture.is_there(&young).await);
    }

    #[tokio::test]
    async fn the_oldest_go_first_when_all_are_too_large_but_never_those_that_wait() {
        let fixture = fixture();
        let mut hashes = Vec::new();
        for (number, openid) in [(1, "oWaits"), (2, "oA"), (3, "oB"), (4, "oC")] {
            hashes.push(fixture.store_file(number, openid, &[u8::try_from(number).unwrap(); 90]).await);
            fixture.clock.advance(1_000);
        }
        let waiting =
            testing::message(Direction::ToIm, &OpenId::new("oWaits").unwrap(), OutboundCall::ImportAccount);
        fixture.sweeper.store.write(move |tx| tx.add(&waiting)).await.unwrap();
        let left = async || {
            let mut left = Vec::new();
            for hash in &hashes {
                left.push(fixture.is_there(hash).await);
            }
            left
        };
        fixture.sweeper.limit_total(Some(4 * 90));
        fixture.sweeper.round().await.unwrap();
        assert_eq!(left().await, [true, true, true, true], "at the limit");
        fixture.sweeper.limit_total(Some(3 * 90));
        fixture.sweeper.round().await.unwrap();
        assert_eq!(left().await, [true, false, true, true], "the oldest that no message needs");
        fixture.sweeper.limit_total(Some(1));
        fixture.sweeper.round().await.unwrap();
        assert_eq!(left().await, [true, false, false, false]);
        assert_eq!(fixture.sweeper.files.total_bytes(), 90);
    }

    #[tokio::test]
    async fn a_file_that_never_got_a_row_is_found_at_the_start() {
        let fixture = fixture();
        let kept = fixture.store_file(1, "oA", b"kept").await;
        let mut incoming = fixture.sweeper.files.create(100).await.unwrap();
        incoming.write(b"lost").await.unwrap();
        let lost = incoming.finish().await.unwrap();
        fixture.sweeper.mark_lost_files().await.unwrap();
        fixture.sweeper.round().await.unwrap();
        assert!(fixture.is_there(&lost.hash).await, "its row may still come");
        let hash = lost.hash.clone();
        drop(lost);
        fixture.sweeper.round().await.unwrap();
        assert!(!fixture.is_there(&hash).await && fixture.is_there(&kept).await);
    }
}
