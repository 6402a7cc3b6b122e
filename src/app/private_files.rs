//! Takes the rights of others from files that an earlier version made, or that were copied.

use std::path::{Path, PathBuf};

use crate::config;
use crate::media::Files;
use crate::owner_only;
use crate::store;

/// Mends the database's files and everything in `media.dir`, with one log line for each kind.
/// Blocks for as long as it takes to list the media.
pub(super) fn mend(store: &config::StoreUrl, media: &Files) {
    let database = match store {
        config::StoreUrl::SqliteFile(path) => store::files_of(path),
        config::StoreUrl::SqliteMemory | config::StoreUrl::Postgres(_) => Vec::new(),
    };
    restrict("database files", database);
    let folders = media.folders();
    restrict("media folders", folders.to_vec());
    restrict("media files", folders.iter().flat_map(|folder| files_in(folder)));
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A symbolic link leads to a file that is not ours.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path())
}

fn restrict(kind: &str, paths: impl IntoIterator<Item = PathBuf>) {
    let (mut mended, mut failed) = (0, None);
    for path in paths {
        match owner_only::restrict(&path) {
            Ok(true) => mended += 1,
            Ok(false) => {}
            Err(error) => failed = Some((path, error)),
        }
    }
    if mended > 0 {
        tracing::warn!(count = mended, "other users could read {kind}; now only the owner can");
    }
    if let Some((path, error)) = failed {
        tracing::warn!(
            path = %path.display(), %error,
            "other users can read {kind}, and that could not be changed: correct the owner and the mode"
        );
    }
}
