//! Files that are made of another one: named after it, and gone when it is.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Files, FilesError, INCOMING};
use crate::media::scale::Scale;
use crate::model::MediaHash;

impl Files {
    /// Where what is made of `original` under this `ending` lies, should there be such a file.
    pub(in crate::media) fn derived(&self, original: &MediaHash, ending: &str) -> PathBuf {
        self.0.dir.join(format!("{}.{ending}", original.as_str()))
    }

    /// Keeps `bytes`, which were made of `original`; `false` when that has gone meanwhile. Blocks.
    pub(in crate::media) fn keep_derived(
        &self,
        original: &MediaHash,
        ending: &str,
        bytes: &[u8],
    ) -> Result<bool, FilesError> {
        let unfinished = self.0.dir.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
        let written = std::fs::File::create_new(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        // Under the lock, so that the original is not removed between the look and the renaming.
        let held = self.held();
        let is_here = self.path(original).exists();
        let named = written.and_then(|()| {
            if is_here { std::fs::rename(&unfinished, self.derived(original, ending)) } else { Ok(()) }
        });
        drop(held);
        if named.is_err() || !is_here {
            // What cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&unfinished);
        }
        self.checked(&unfinished, named).map(|()| is_here)
    }

    /// Everything that may have been made of `original`.
    pub(super) fn all_derived(&self, original: &MediaHash) -> impl Iterator<Item = PathBuf> {
        Scale::ALL.into_iter().map(|scale| self.derived(original, scale.extension()))
    }
}
