//! The files of `media.dir`: written as they come, named by the SHA-256 of their bytes once they are whole.
//!
//! What is not whole lies in `incoming` and is removed at the next start. A file that nobody points at is removed
//! by [`super::sweep`], never one that a row is just about to point at.

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
use crate::store::Failing;

/// Where unfinished files lie, below `media.dir`.
const INCOMING: &str = "incoming";

/// Why a file was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It is larger than it may be.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The file system refused.
    #[error("media.dir: {path}: {source}; the directory must exist on a disk with space, and be writable")]
    Io { path: PathBuf, source: io::Error },
}

/// The directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    clock: Clock,
    held: Mutex<Held>,
    failing: Mutex<Failures>,
}

/// Each ends with the next success of its own kind: a full disk can still be read.
#[derive(Debug, Default)]
struct Failures {
    reading: Option<Failing>,
    writing: Option<Failing>,
}

#[derive(Debug, Default)]
struct Held {
    /// Files that a row may be about to point at.
    pinned: HashMap<MediaHash, usize>,
    /// Files that are about to be removed; one that is stored again meanwhile is taken out.
    doomed: HashSet<MediaHash>,
}

/// A whole file on disk. As long as this lives the file is not removed: drop it when a row points at it.
#[derive(Debug)]
pub struct Stored {
    /// The name on disk.
    pub hash: MediaHash,
    /// Bytes.
    pub size: u64,
    /// What it is.
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
    /// The files in `dir`, which is made where it is missing; what an earlier process left unfinished is removed.
    /// Blocks.
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

    /// Begins a file of at most `max_bytes`.
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

    /// Opens a file to be read; `None` when it is not there.
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

    /// Where a file lies, for a program that reads it by its path.
    pub fn path(&self, hash: &MediaHash) -> PathBuf {
        self.0.dir.join(hash.as_str())
    }

    /// Since when files cannot be written or read, and what the system said; `None` while all is well.
    pub fn failing(&self) -> Option<Failing> {
        let failures = self.failures();
        failures.writing.as_ref().or(failures.reading.as_ref()).cloned()
    }

    /// Marks a file as about to be removed. `false` when somebody is about to need it.
    pub(super) fn doom(&self, hash: &MediaHash) -> bool {
        let mut held = self.held();
        let free = !held.pinned.contains_key(hash);
        if free {
            held.doomed.insert(hash.clone());
        }
        free
    }

    /// The doomed file is needed after all.
    pub(super) fn spare(&self, hash: &MediaHash) {
        self.held().doomed.remove(hash);
    }

    /// Removes a doomed file, unless it has been stored again meanwhile. Blocks.
    pub(super) fn remove(&self, hash: &MediaHash) -> Result<(), FilesError> {
        // Under the lock, so that no new copy is pinned between the look and the removal.
        let mut held = self.held();
        if !held.doomed.remove(hash) {
            return Ok(());
        }
        // The original last: while it is here, a row in the store still says that there is something to remove.
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

    /// The whole files, for a look at what nobody points at. Blocks.
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
        what: impl FnOnce(&mut Failures) -> &mut Option<Failing>,
        path: &Path,
        source: io::Error,
    ) -> FilesError {
        let mut failures = self.failures();
        let failing = what(&mut failures);
        let since = failing.as_ref().map_or_else(|| self.0.clock.now(), |failing| failing.since);
        *failing = Some(Failing { since, why: source.to_string() });
        FilesError::Io { path: path.to_owned(), source }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being written. Dropped before it is finished, it leaves nothing.
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
    /// Adds `chunk`, unless the file becomes larger than it may.
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

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first bytes so far, at most [`HEAD_BYTES`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The file is whole: syncs it and gives it its name.
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
            // The name is durable only once the directory is.
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

/// Removes an unfinished file, off the runtime's threads where there is a runtime.
#[derive(Debug)]
struct Leftover {
    path: Option<PathBuf>,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        // What cannot be removed now is removed at the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests;
