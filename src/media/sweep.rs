//! Removes media older than `media.keep_days`, and files without a row.
//!
//! It works in small steps. The files of a customer who unsubscribes are removed at once; files
//! left behind by a crash are removed at the next start.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Files, FilesError};
use crate::model::MediaHash;
use crate::store::{Store, StoreError};

/// The pause between two rounds.
const ROUND: Duration = Duration::from_mins(10);
/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// Rows or files checked in one step.
const STEP: u32 = 100;

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

/// The sweeper. Clones wake the same task.
#[derive(Clone, Debug)]
pub struct Sweeper {
    store: Store,
    files: Files,
    keep_ms: i64,
    bell: Arc<Notify>,
}

impl Sweeper {
    /// Creates a sweeper of `files` that keeps media for `keep_ms` milliseconds.
    pub fn new(store: Store, files: Files, keep_ms: i64) -> Self {
        Self { store, files, keep_ms, bell: Arc::default() }
    }

    /// Starts a round now, because files may have lost their last row.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(ROUND);
        let mut adopted = false;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.bell.notified() => {}
                () = stop.cancelled() => return,
            }
            let round = async {
                if !adopted {
                    self.find_lost().await?;
                    adopted = true;
                }
                self.round().await
            };
            tokio::select! {
                done = round => if let Err(error) = done {
                    tracing::warn!(%error, "could not remove old media files; the next round tries again");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Runs one round: removes the media that are too old, then every file without a row.
    pub async fn round(&self) -> Result<(), SweepError> {
        let keep_ms = self.keep_ms;
        while self.store.write(move |tx| tx.prune_media(tx.now().plus(-keep_ms), STEP)).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut seen = None;
        loop {
            let orphans = self.store.read(|tx| tx.orphans(STEP)).await?;
            // A file that is being stored again cannot be removed now; the next round checks it
            // again.
            if orphans.is_empty() || seen.as_ref() == Some(&orphans) {
                return Ok(());
            }
            for hash in &orphans {
                self.sweep(hash).await?;
            }
            seen = Some(orphans);
        }
    }

    async fn sweep(&self, hash: &MediaHash) -> Result<(), SweepError> {
        if !self.files.doom(hash) {
            return Ok(());
        }
        let asked = hash.clone();
        if self.store.read(move |tx| tx.is_file_referenced(&asked)).await? {
            self.files.spare(hash);
        } else {
            let (files, hash) = (self.files.clone(), hash.clone());
            let removed = tokio::task::spawn_blocking(move || files.remove(&hash)).await;
            removed.map_err(|_| StoreError::Closed)??;
        }
        let done = hash.clone();
        Ok(self.store.write(move |tx| tx.unmark_orphan(&done)).await?)
    }

    /// Finds files that were stored but got no row, because the process was killed in between.
    async fn find_lost(&self) -> Result<(), SweepError> {
        let files = self.files.clone();
        let mut listed =
            tokio::task::spawn_blocking(move || files.list()).await.map_err(|_| StoreError::Closed)??;
        loop {
            let step = move || (listed.by_ref().take(STEP as usize).collect::<Vec<_>>(), listed);
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
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{MediaName, MediaOrigin, OpenId};
    use crate::store::{Closing, MediumFile, StoreLocation};
    use tempfile::TempDir;

    const DAY_MS: i64 = 86_400_000;

    struct Shed {
        sweeper: Sweeper,
        clock: Clock,
        _folder: TempDir,
        _closing: Closing,
    }

    fn shed() -> Shed {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::movable());
        let (store, closing) =
            Store::open(&StoreLocation::Memory, clock.clone(), Metrics::default()).unwrap();
        let files = Files::open(folder.path(), clock.clone()).unwrap();
        Shed { sweeper: Sweeper::new(store, files, 30 * DAY_MS), clock, _folder: folder, _closing: closing }
    }

    impl Shed {
        async fn keep(&self, number: u128, openid: &str, bytes: &[u8]) -> MediaHash {
            let mut incoming = self.sweeper.files.begin(100).await.unwrap();
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

        async fn forget(&self, openid: &str) {
            let openid = OpenId::new(openid).unwrap();
            self.sweeper.store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_customers_files_go_with_the_customer_but_not_those_of_others() {
        let shed = shed();
        let own = shed.keep(1, "oA", b"own").await;
        let shared = shed.keep(2, "oA", b"shared").await;
        assert_eq!(shed.keep(3, "oB", b"shared").await, shared);
        shed.sweeper.round().await.unwrap();
        assert!(shed.is_there(&own).await);
        shed.forget("oA").await;
        shed.sweeper.round().await.unwrap();
        assert!(!shed.is_there(&own).await && shed.is_there(&shared).await);
        shed.forget("oB").await;
        shed.sweeper.round().await.unwrap();
        assert!(!shed.is_there(&shared).await);
        assert_eq!(shed.sweeper.store.read(|tx| tx.orphans(9)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_is_kept_long_enough_goes() {
        let shed = shed();
        let old = shed.keep(1, "oA", b"old").await;
        shed.clock.advance(29 * DAY_MS);
        let young = shed.keep(2, "oA", b"young").await;
        shed.clock.advance(2 * DAY_MS);
        shed.sweeper.round().await.unwrap();
        assert!(!shed.is_there(&old).await && shed.is_there(&young).await);
    }

    #[tokio::test]
    async fn a_file_that_never_got_a_row_is_found_at_the_start() {
        let shed = shed();
        let kept = shed.keep(1, "oA", b"kept").await;
        let mut incoming = shed.sweeper.files.begin(100).await.unwrap();
        incoming.write(b"lost").await.unwrap();
        let lost = incoming.finish().await.unwrap();
        shed.sweeper.find_lost().await.unwrap();
        shed.sweeper.round().await.unwrap();
        assert!(shed.is_there(&lost.hash).await, "its row may still come");
        let hash = lost.hash.clone();
        drop(lost);
        shed.sweeper.round().await.unwrap();
        assert!(!shed.is_there(&hash).await && shed.is_there(&kept).await);
    }
}
