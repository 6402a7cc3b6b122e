//! The files of `media.dir`. Each is written as its bytes arrive and is named by their SHA-256 once
//! it is complete.
//!
//! Incomplete files are in `incoming` and are removed at the next start. [`super::sweep`] removes
//! unreferenced files, but never one that a row is about to reference.

mod derived;
mod kept;

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::file_type::{FileType, HEAD_BYTES};
use crate::clock::Clock;
use crate::model::MediaHash;
use crate::store::{Outage, Store, StoreError};

pub(super) use derived::{Scratch, VIDEO, VOICE};

/// The directory of incomplete files, below `media.dir`.
const INCOMING: &str = "incoming";

/// Why a file was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file is larger than this many bytes.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The file system returned an error.
    #[error("media.dir: {path}: {source}; the directory must exist on a disk with space, and be writable")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The database, which keeps the bytes, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The media directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// The store that keeps the bytes; `None`: the directory does.
    kept_in: Option<Store>,
    clock: Clock,
    pins: Mutex<PinState>,
    failing: Mutex<Failures>,
    /// The bytes of all files, as far as they were counted.
    total_bytes: AtomicU64,
}

/// The last failures. Each ends with the next success of its own kind, because a full disk can
/// still be read.
#[derive(Debug, Default)]
struct Failures {
    reading: Option<Outage>,
    writing: Option<Outage>,
}

#[derive(Debug, Default)]
struct PinState {
    /// Files that a row may be about to reference, with the number of pins.
    pinned: HashMap<MediaHash, usize>,
    /// Files that are about to be removed. A file that is stored again in the meantime is taken
    /// out.
    unreferenced: HashSet<MediaHash>,
}

/// A complete file on disk. The file is not removed while this value lives: drop it once a row
/// references the file.
#[derive(Debug)]
pub struct StoredFile {
    /// The hash, which is the name on disk.
    pub hash: MediaHash,
    /// The size in bytes.
    pub size: u64,
    /// The file's type.
    pub kind: FileType,
    _pin: Pin,
}

#[derive(Debug)]
struct Pin {
    files: Files,
    hash: MediaHash,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.files.lock_pins();
        if let Some(count) = pins.pinned.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                pins.pinned.remove(&self.hash);
            }
        }
    }
}

impl Files {
    /// The files of a directory that keeps them itself.
    #[cfg(test)]
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, FilesError> {
        Self::open_cache(dir, clock, None)
    }

    /// Opens the files in `dir`, which is created if it is missing, and removes the incomplete
    /// files of an earlier process. `kept_in` is the store that keeps their bytes, if one does. Blocks.
    pub fn open_cache(dir: &Path, clock: Clock, kept_in: Option<Store>) -> Result<Self, FilesError> {
        let incoming = dir.join(INCOMING);
        let failed = |source| FilesError::Io { path: incoming.clone(), source };
        std::fs::create_dir_all(&incoming).map_err(failed)?;
        for leftover in std::fs::read_dir(&incoming).map_err(failed)? {
            std::fs::remove_file(leftover.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            kept_in,
            clock,
            pins: Mutex::default(),
            failing: Mutex::default(),
            total_bytes: AtomicU64::new(0),
        })))
    }

    /// `media.dir`.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// `media.dir` and the folder of incomplete files in it.
    pub fn folders(&self) -> [PathBuf; 2] {
        [self.0.dir.clone(), self.0.dir.join(INCOMING)]
    }

    /// The bytes of all complete files: those of the last count, and those stored since.
    pub fn total_bytes(&self) -> u64 {
        self.0.total_bytes.load(Ordering::Relaxed)
    }

    /// Counts the bytes of all complete files anew. Blocks.
    pub(super) fn count_bytes(&self) -> Result<u64, FilesError> {
        let failed = |source| self.write_failed(&self.0.dir, source);
        let entries = std::fs::read_dir(&self.0.dir).map_err(failed)?;
        let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        let total = sizes.filter(std::fs::Metadata::is_file).map(|found| found.len()).sum();
        self.0.total_bytes.store(total, Ordering::Relaxed);
        Ok(total)
    }

    /// Begins a file of at most `max_bytes` bytes.
    pub async fn create(&self, max_bytes: u64) -> Result<IncomingFile, FilesError> {
        let path = self.0.dir.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
        let opened = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
        let file = self.check_write(&path, opened)?;
        Ok(IncomingFile {
            file,
            temp: TempFile { path: Some(path) },
            files: self.clone(),
            digest: Sha256::new(),
            head: Vec::with_capacity(HEAD_BYTES),
            size: 0,
            max_bytes,
        })
    }

    /// Opens a file for reading; `None` if it does not exist.
    pub async fn read(&self, hash: &MediaHash) -> Result<Option<tokio::fs::File>, FilesError> {
        let path = self.path(hash);
        match tokio::fs::File::open(&path).await {
            Ok(file) => {
                self.failures().reading = None;
                Ok(Some(file))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && self.restore(hash).await? => {
                let opened = tokio::fs::File::open(&path).await;
                opened
                    .map(Some)
                    .map_err(|source| self.record_failure(|failures| &mut failures.reading, &path, source))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.record_failure(|failures| &mut failures.reading, &path, source)),
        }
    }

    /// The path of a file, for a program that reads it by path.
    pub fn path(&self, hash: &MediaHash) -> PathBuf {
        self.0.dir.join(hash.as_str())
    }

    /// Since when files cannot be written or read, and the system's error; `None` if they can.
    pub fn failing(&self) -> Option<Outage> {
        let failures = self.failures();
        failures.writing.as_ref().or(failures.reading.as_ref()).cloned()
    }

    /// Marks a file as about to be removed. Returns `false` if a row may be about to reference it.
    pub(super) fn mark_unreferenced(&self, hash: &MediaHash) -> bool {
        let mut pins = self.lock_pins();
        let is_unpinned = !pins.pinned.contains_key(hash);
        if is_unpinned {
            pins.unreferenced.insert(hash.clone());
        }
        is_unpinned
    }

    /// Whether a row may be about to reference the file.
    pub(super) fn is_pinned(&self, hash: &MediaHash) -> bool {
        self.lock_pins().pinned.contains_key(hash)
    }

    /// Unmarks a file that is needed after all.
    pub(super) fn unmark(&self, hash: &MediaHash) {
        self.lock_pins().unreferenced.remove(hash);
    }

    /// Removes a marked file, unless it has been stored again in the meantime. Blocks.
    pub(super) fn remove(&self, hash: &MediaHash) -> Result<(), FilesError> {
        // Hold the lock, so that no new copy is pinned between the check and the removal.
        let mut pins = self.lock_pins();
        if !pins.unreferenced.remove(hash) {
            return Ok(());
        }
        // Remove the original last: while it exists, a row in the store still says that there is
        // something to remove.
        for path in self.all_derived(hash).chain([self.path(hash)]) {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(self.write_failed(&path, source));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lists the complete files, to find unreferenced ones. Blocks.
    pub(super) fn list(&self) -> Result<impl Iterator<Item = MediaHash> + use<>, FilesError> {
        let listed =
            std::fs::read_dir(&self.0.dir).map_err(|source| self.write_failed(&self.0.dir, source))?;
        Ok(listed.filter_map(|entry| MediaHash::new(entry.ok()?.file_name().into_string().ok()?).ok()))
    }

    fn pin(&self, hash: MediaHash) -> Pin {
        let mut pins = self.lock_pins();
        pins.unreferenced.remove(&hash);
        *pins.pinned.entry(hash.clone()).or_default() += 1;
        drop(pins);
        Pin { files: self.clone(), hash }
    }

    fn lock_pins(&self) -> MutexGuard<'_, PinState> {
        self.0.pins.lock()
    }

    fn check_write<T>(&self, path: &Path, done: io::Result<T>) -> Result<T, FilesError> {
        done.map_err(|source| self.write_failed(path, source))
    }

    fn write_failed(&self, path: &Path, source: io::Error) -> FilesError {
        self.record_failure(|failures| &mut failures.writing, path, source)
    }

    fn record_failure(
        &self,
        select: impl FnOnce(&mut Failures) -> &mut Option<Outage>,
        path: &Path,
        source: io::Error,
    ) -> FilesError {
        let mut failures = self.failures();
        let failing = select(&mut failures);
        let since = failing.as_ref().map_or_else(|| self.0.clock.now(), |failing| failing.since);
        *failing = Some(Outage { since, why: source.to_string() });
        FilesError::Io { path: path.to_owned(), source }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failing.lock()
    }
}

/// What becomes of a file that is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// A row may name it.
    Durable,
    /// It came from the database.
    Cached,
}

/// A file that is being written. If it is dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct IncomingFile {
    file: tokio::fs::File,
    temp: TempFile,
    files: Files,
    digest: Sha256,
    head: Vec<u8>,
    size: u64,
    max_bytes: u64,
}

impl IncomingFile {
    /// Appends `chunk`. Fails if the file would become larger than allowed.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), FilesError> {
        let size = self.size.saturating_add(chunk.len() as u64);
        if size > self.max_bytes {
            return Err(FilesError::TooLarge(self.max_bytes));
        }
        let written = self.file.write_all(chunk).await;
        self.files.check_write(&self.path(), written)?;
        self.digest.update(chunk);
        let head_missing = HEAD_BYTES.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(chunk.get(..head_missing).unwrap_or_default());
        self.size = size;
        Ok(())
    }

    /// The first bytes so far, at most [`HEAD_BYTES`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Completes the file: syncs it, gives it its name, and copies it into the database if that keeps the bytes.
    pub async fn finish(self) -> Result<StoredFile, FilesError> {
        self.complete(Keep::Durable).await
    }

    async fn complete(mut self, keep: Keep) -> Result<StoredFile, FilesError> {
        let path = self.path();
        let flushed = self.file.flush().await;
        self.files.check_write(&path, flushed)?;
        let synced = self.file.sync_all().await;
        self.files.check_write(&path, synced)?;
        let hash = MediaHash::of_digest(self.digest.clone().finalize().into());
        let pin = self.files.pin(hash.clone());
        let (from, to, dir) = (path.clone(), self.files.path(&hash), self.files.0.dir.clone());
        let rename = move || {
            std::fs::rename(from, to)?;
            // The name is durable only after the directory is synced.
            std::fs::File::open(dir)?.sync_all()
        };
        let renamed = tokio::task::spawn_blocking(rename).await.unwrap_or_else(|error| Err(error.into()));
        self.files.check_write(&path, renamed)?;
        self.temp.path = None;
        self.files.failures().writing = None;
        self.files.0.total_bytes.fetch_add(self.size, Ordering::Relaxed);
        if keep == Keep::Durable {
            self.files.keep(&hash).await?;
        }
        Ok(StoredFile { hash, size: self.size, kind: FileType::detect(&self.head), _pin: pin })
    }

    fn path(&self) -> PathBuf {
        self.temp.path.clone().unwrap_or_default()
    }
}

/// Removes an incomplete file, on a blocking thread if there is a runtime.
#[derive(Debug)]
struct TempFile {
    path: Option<PathBuf>,
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        // A file that cannot be removed now is removed at the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests;
