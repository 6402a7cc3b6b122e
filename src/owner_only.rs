//! Files and folders that only their owner may read: mode 0600 and 0700, whatever the umask is.
//!
//! Must never widen a mode, and never touch a file that this program did not make.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::Mode;

/// The permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// From now on, this process and its children make files with mode 0600 and folders with 0700.
pub fn set_umask() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// The permission bits of `path`, if others than its owner have some; `None` if they have none or
/// there is no such file.
pub fn open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then_some(mode)
}

/// Takes all rights from others. Returns whether there was anything to take. Does nothing if there
/// is no such file.
pub fn restrict(path: &Path) -> io::Result<bool> {
    if open_to_others(path).is_none() {
        return Ok(false);
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_others_are_taken_and_narrow_modes_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for (before, after) in [(0o644, 0o600), (0o755, 0o600), (0o600, 0o600), (0o400, 0o400)] {
            fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            assert_eq!(restrict(&file).unwrap(), before != after, "{before:o}");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, after, "{before:o}");
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(open_to_others(folder.path()), Some(0o755));
        assert!(restrict(folder.path()).unwrap());
        assert_eq!(open_to_others(folder.path()), None);
        assert!(!restrict(&folder.path().join("missing")).unwrap());
    }
}
