//! Files that are derived from another one: named after it, and removed with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::{Files, FilesError, INCOMING, TempFile};
use crate::media::file_type::{FileType, HEAD_BYTES};
use crate::media::scale::Scale;
use crate::model::MediaHash;

/// The ending of a recording that was converted to a voice message.
pub(in crate::media) const VOICE: &str = "voice.mp3";
/// The ending of a video that was converted to MP4.
pub(in crate::media) const VIDEO: &str = "video.mp4";

/// A name for a file that another program writes. What it wrote is removed with this value.
#[derive(Debug)]
pub(in crate::media) struct Scratch {
    temp: TempFile,
    path: PathBuf,
}

impl Scratch {
    /// Where the program writes.
    pub(in crate::media) fn path(&self) -> &Path {
        &self.path
    }

    /// The type of the file; `None` if it cannot be read.
    pub(in crate::media) async fn kind(&self) -> Option<FileType> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let file = tokio::fs::File::open(&self.path).await.ok()?;
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).await.ok()?;
        Some(FileType::detect(&head))
    }
}

impl Files {
    /// The path of the file that is derived from `original` and has this `ending`, whether or not
    /// it exists.
    pub(in crate::media) fn derived(&self, original: &MediaHash, extension: &str) -> PathBuf {
        self.0.dir.join(format!("{}.{extension}", original.as_str()))
    }

    /// The path and the size of a derived file; `None` if it does not exist.
    pub(in crate::media) async fn find_derived(
        &self,
        original: &MediaHash,
        extension: &str,
    ) -> Option<(PathBuf, u64)> {
        let path = self.derived(original, extension);
        let size = tokio::fs::metadata(&path).await.ok()?.len();
        Some((path, size))
    }

    /// Creates a name for a file that another program writes.
    pub(in crate::media) fn scratch(&self) -> Scratch {
        let path = self.unfinished();
        Scratch { temp: TempFile { path: Some(path.clone()) }, path }
    }

    /// Keeps a file that another program has written as one derived from `original`. Returns its path
    /// and its size in bytes; `None` if the original was removed in the meantime.
    pub(in crate::media) async fn adopt_derived(
        &self,
        original: &MediaHash,
        extension: &'static str,
        scratch: Scratch,
    ) -> Result<Option<(PathBuf, u64)>, FilesError> {
        let (files, key, path) = (self.clone(), original.clone(), scratch.path.clone());
        let adopt = move || {
            let written = std::fs::File::open(&path).and_then(|file| {
                file.sync_all()?;
                Ok(file.metadata()?.len())
            });
            let size = *written.as_ref().unwrap_or(&0);
            let is_kept = files.rename_derived(&key, extension, &path, written.map(|_| ()))?;
            Ok::<_, FilesError>(is_kept.then(|| (files.derived(&key, extension), size)))
        };
        let adopted = tokio::task::spawn_blocking(adopt).await;
        // The file has its name now, or it is removed.
        drop(scratch.temp);
        adopted.unwrap_or(Ok(None))
    }

    /// Stores `bytes`, which were derived from `original`. Returns `false` if the original was
    /// removed in the meantime. Blocks.
    pub(in crate::media) fn store_derived(
        &self,
        original: &MediaHash,
        extension: &str,
        bytes: &[u8],
    ) -> Result<bool, FilesError> {
        let unfinished = self.unfinished();
        let written = std::fs::File::create_new(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let is_kept = self.rename_derived(original, extension, &unfinished, written);
        if !matches!(is_kept, Ok(true)) {
            // A file that cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&unfinished);
        }
        is_kept
    }

    fn unfinished(&self) -> PathBuf {
        self.0.dir.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()))
    }

    /// Gives a `written` file its final name, unless the original is gone. Blocks.
    fn rename_derived(
        &self,
        original: &MediaHash,
        extension: &str,
        unfinished: &Path,
        written: std::io::Result<()>,
    ) -> Result<bool, FilesError> {
        // Hold the lock, so that the original is not removed between the check and the rename.
        let pins = self.lock_pins();
        let original_exists = self.path(original).exists();
        let renamed = written.and_then(|()| {
            if original_exists {
                std::fs::rename(unfinished, self.derived(original, extension))
            } else {
                Ok(())
            }
        });
        drop(pins);
        self.check_write(unfinished, renamed).map(|()| original_exists)
    }

    /// The paths of all files that may be derived from `original`.
    pub(super) fn all_derived(&self, original: &MediaHash) -> impl Iterator<Item = PathBuf> {
        let endings = Scale::ALL.map(Scale::extension).into_iter().chain([VOICE, VIDEO]);
        endings.map(|ending| self.derived(original, ending))
    }
}
