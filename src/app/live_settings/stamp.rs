//! Whether a file has changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

/// A file of more bytes is no configuration, and is compared without its content.
const MAX_BYTES: u64 = 1_048_576;

/// What tells whether a file has changed: its time, size, inode and content. Links are followed, because a mounted
/// configuration only exchanges a link. A missing file is a state like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(SystemTime, u64, u64, Option<[u8; 32]>)>);

impl Stamp {
    /// Looks at the file. Blocks for a moment.
    pub(super) fn of(path: &Path) -> Self {
        let look = || {
            let file = std::fs::metadata(path).ok()?;
            // Reading a pipe would take what it holds.
            let is_short = file.is_file() && file.len() <= MAX_BYTES;
            let content = if is_short { std::fs::read(path).ok() } else { None };
            let digest = content.map(|content| Sha256::digest(content).into());
            Some((file.modified().ok()?, file.len(), file.ino(), digest))
        };
        Self(look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_content_of_the_same_size_and_time_is_a_change_and_so_is_no_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            file.as_file().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            Stamp::of(file.path())
        };
        let (first, again, other) = (write("one"), write("one"), write("two"));
        assert!(first == again && first != other);
        assert_ne!(other, Stamp::of(&file.path().join("missing")));
    }
}
