//! Files that are derived from another one: named after it, and removed with it.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Files, FilesError, INCOMING};
use crate::media::scale::Scale;
use crate::model::MediaHash;

impl Files {
    /// The path of the file that is derived from `original` and has this `ending`, whether or not
    /// it exists.
    pub(in crate::media) fn derived(&self, original: &MediaHash, extension: &str) -> PathBuf {
        self.0.dir.join(format!("{}.{extension}", original.as_str()))
    }

    /// Stores `bytes`, which were derived from `original`. Returns `false` if the original was
    /// removed in the meantime. Blocks.
    pub(in crate::media) fn store_derived(
        &self,
        original: &MediaHash,
        extension: &str,
        bytes: &[u8],
    ) -> Result<bool, FilesError> {
        let unfinished = self.0.dir.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
        let written = std::fs::File::create_new(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        // Hold the lock, so that the original is not removed between the check and the rename.
        let pins = self.lock_pins();
        let original_exists = self.path(original).exists();
        let renamed = written.and_then(|()| {
            if original_exists {
                std::fs::rename(&unfinished, self.derived(original, extension))
            } else {
                Ok(())
            }
        });
        drop(pins);
        if renamed.is_err() || !original_exists {
            // A file that cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&unfinished);
        }
        self.check_write(&unfinished, renamed).map(|()| original_exists)
    }

    /// The paths of all files that may be derived from `original`.
    pub(super) fn all_derived(&self, original: &MediaHash) -> impl Iterator<Item = PathBuf> {
        Scale::ALL.into_iter().map(|scale| self.derived(original, scale.extension()))
    }
}
