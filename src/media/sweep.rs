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
use crate::store::{Store, StoreError, Tx};

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
            let (total, limit) = self.total_and_limit().await?;
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

    /// The bytes of all media, and how many there may be. Where the database keeps them, the cache is brought within
    /// its limit, and the media have one only if it is configured.
    async fn total_and_limit(&self) -> Result<(u64, u64), SweepError> {
        let (files, sweeper, is_cache) = (self.files.clone(), self.clone(), self.store.keeps_media());
        let count = move || {
            let (total, limit) = (files.count_bytes()?, sweeper.max_total());
            if is_cache && total > limit {
                files.shrink_cache(limit / 4 * 3)?;
            }
            Ok::<_, FilesError>((total, limit))
        };
        let counted = tokio::task::spawn_blocking(count).await.map_err(|_| StoreError::Closed)??;
        if !is_cache {
            return Ok(counted);
        }
        let limit = match self.max_total_bytes.load(Ordering::Relaxed) {
            0 => u64::MAX,
            limit => limit,
        };
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method is not general enough over the transaction's lifetime"
        )]
        let total = self.store.read(|tx| tx.media_bytes()).await?;
        Ok((total, limit))
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
        let (files, swept) = (self.files.clone(), hash.clone());
        let forget = move |tx: &Tx<'_>| {
            // One that is stored again now gets its row after its bytes.
            if !files.is_pinned(&swept) {
                tx.drop_chunks(&swept)?;
            }
            tx.unmark_orphan(&swept)
        };
        Ok(self.store.write(forget).await?)
    }

    /// Finds files that were stored but got no row, because the process was killed in between.
    async fn mark_lost_files(&self) -> Result<(), SweepError> {
        if self.store.keeps_media() {
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method is not general enough over the transaction's lifetime"
            )]
            let marked = self.store.write(|tx| tx.mark_lost_chunks()).await;
            marked?;
        }
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
mod tests;
