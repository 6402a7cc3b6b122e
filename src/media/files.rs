//! The files of `media.dir`. Each is written as its bytes arrive and is named by their SHA-256 once
//! it is complete.
//!
//! Incomplete files are in `incoming` and are removed at the next start. [`super::sweep`] removes
//! unreferenced files, but never one that a row is about to reference.

mod derived;

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::kind::{HEAD_BYTES, Kind};
use crate::clock::Clock;
use crate::model::MediaHash;
use crate::store::Outage;

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
}

/// The media directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    clock: Clock,
    held: Mutex<Held>,
    failing: Mutex<Failures>,
}

/// The last failures. Each ends with the next success of its own kind, because a full disk can
/// still be read.
#[derive(Debug, Default)]
struct Failures {
    reading: Option<Outage>,
    writing: Option<Outage>,
}

#[derive(Debug, Default)]
struct Held {
    /// Files that a row may be about to reference, with the number of pins.
    pinned: HashMap<MediaHash, usize>,
    /// Files that are about to be removed. A file that is stored again in the meantime is taken
    /// out.
    doomed: HashSet<MediaHash>,
}

/// A complete file on disk. The file is not removed while this value lives: drop it once a row
/// references the file.
#[derive(Debug)]
pub struct Stored {
    /// The hash, which is the name on disk.
    pub hash: MediaHash,
    /// The size in bytes.
    pub size: u64,
    /// The file's type.
    pub kind: Kind,
    _pin: Pin,
}

#[derive(Debug)]
struct Pin {
    files: Files,
    hash: MediaHash,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut held = self.files.held();
        if let Some(count) = held.pinned.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                held.pinned.remove(&self.hash);
            }
        }
    }
}

impl Files {
    /// Opens the files in `dir`, which is created if it is missing, and removes the incomplete
    /// files of an earlier process. Blocks.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, FilesError> {
        let incoming = dir.join(INCOMING);
        let failed = |source| FilesError::Io { path: incoming.clone(), source };
        std::fs::create_dir_all(&incoming).map_err(failed)?;
        for left in std::fs::read_dir(&incoming).map_err(failed)? {
            std::fs::remove_file(left.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            clock,
            held: Mutex::default(),
            failing: Mutex::default(),
        })))
    }

    /// Begins a file of at most `max_bytes` bytes.
    pub async fn begin(&self, max_bytes: u64) -> Result<Incoming, FilesError> {
        let path = self.0.dir.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
        let opened = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
        let file = self.checked(&path, opened)?;
        Ok(Incoming {
            file,
            left: Leftover { path: Some(path) },
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
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(|failures| &mut failures.reading, &path, source)),
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
    pub(super) fn doom(&self, hash: &MediaHash) -> bool {
        let mut held = self.held();
        let free = !held.pinned.contains_key(hash);
        if free {
            held.doomed.insert(hash.clone());
        }
        free
    }

    /// Unmarks a file that is needed after all.
    pub(super) fn spare(&self, hash: &MediaHash) {
        self.held().doomed.remove(hash);
    }

    /// Removes a marked file, unless it has been stored again in the meantime. Blocks.
    pub(super) fn remove(&self, hash: &MediaHash) -> Result<(), FilesError> {
        // Hold the lock, so that no new copy is pinned between the check and the removal.
        let mut held = self.held();
        if !held.doomed.remove(hash) {
            return Ok(());
        }
        // Remove the original last: while it exists, a row in the store still says that there is
        // something to remove.
        for path in self.all_derived(hash).chain([self.path(hash)]) {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(self.unwritten(&path, source));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lists the complete files, to find unreferenced ones. Blocks.
    pub(super) fn list(&self) -> Result<impl Iterator<Item = MediaHash> + use<>, FilesError> {
        let listed = std::fs::read_dir(&self.0.dir).map_err(|source| self.unwritten(&self.0.dir, source))?;
        Ok(listed.filter_map(|entry| MediaHash::new(entry.ok()?.file_name().into_string().ok()?).ok()))
    }

    fn pin(&self, hash: MediaHash) -> Pin {
        let mut held = self.held();
        held.doomed.remove(&hash);
        *held.pinned.entry(hash.clone()).or_default() += 1;
        drop(held);
        Pin { files: self.clone(), hash }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T>(&self, path: &Path, done: io::Result<T>) -> Result<T, FilesError> {
        done.map_err(|source| self.unwritten(path, source))
    }

    fn unwritten(&self, path: &Path, source: io::Error) -> FilesError {
        self.failed(|failures| &mut failures.writing, path, source)
    }

    fn failed(
        &self,
        what: impl FnOnce(&mut Failures) -> &mut Option<Outage>,
        path: &Path,
        source: io::Error,
    ) -> FilesError {
        let mut failures = self.failures();
        let failing = what(&mut failures);
        let since = failing.as_ref().map_or_else(|| self.0.clock.now(), |failing| failing.since);
        *failing = Some(Outage { since, why: source.to_string() });
        FilesError::Io { path: path.to_owned(), source }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being written. If it is dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    file: tokio::fs::File,
    left: Leftover,
    files: Files,
    digest: Sha256,
    head: Vec<u8>,
    size: u64,
    max_bytes: u64,
}

impl Incoming {
    /// Appends `chunk`. Fails if the file would become larger than allowed.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), FilesError> {
        let size = self.size.saturating_add(chunk.len() as u64);
        if size > self.max_bytes {
            return Err(FilesError::TooLarge(self.max_bytes));
        }
        let written = self.file.write_all(chunk).await;
        self.files.checked(&self.path(), written)?;
        self.digest.update(chunk);
        let wanted = HEAD_BYTES.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(chunk.get(..wanted).unwrap_or_default());
        self.size = size;
        Ok(())
    }

    /// The number of bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first bytes so far, at most [`HEAD_BYTES`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Completes the file: syncs it and gives it its name.
    pub async fn finish(mut self) -> Result<Stored, FilesError> {
        let path = self.path();
        let flushed = self.file.flush().await;
        self.files.checked(&path, flushed)?;
        let synced = self.file.sync_all().await;
        self.files.checked(&path, synced)?;
        let hash = MediaHash::of_digest(self.digest.clone().finalize().into());
        let pin = self.files.pin(hash.clone());
        let (from, to, dir) = (path.clone(), self.files.path(&hash), self.files.0.dir.clone());
        let named = move || {
            std::fs::rename(from, to)?;
            // The name is durable only after the directory is synced.
            std::fs::File::open(dir)?.sync_all()
        };
        let named = tokio::task::spawn_blocking(named).await.unwrap_or_else(|error| Err(error.into()));
        self.files.checked(&path, named)?;
        self.left.path = None;
        self.files.failures().writing = None;
        Ok(Stored { hash, size: self.size, kind: Kind::of(&self.head), _pin: pin })
    }

    fn path(&self) -> PathBuf {
        self.left.path.clone().unwrap_or_default()
    }
}

/// Removes an incomplete file, on a blocking thread if there is a runtime.
#[derive(Debug)]
struct Leftover {
    path: Option<PathBuf>,
}

impl Drop for Leftover {
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
