//! The lock that keeps a second process from serving the same database, under whatever name it
//! finds it.
//!
//! The lock file beside the database names the process that has it. The database file itself is
//! locked too, because a bind mount gives it a second name. A file with hard links is refused:
//! SQLite keeps its log beside the name, so that two names would be two logs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::header::sibling_path;
use super::open::refuse_hard_links;
use crate::store::StoreLocation;
use crate::store::open_error::OpenError;

/// How often, and at which interval, the lock is tried again before the open fails because another
/// process holds it.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Keeps other processes from serving the file for as long as it lives.
#[derive(Debug)]
pub(in crate::store) struct Lock {
    /// The database file. Closing it releases SQLite's locks of this process, so it must be closed
    /// after the last connection.
    pub database: Arc<File>,
    _file: File,
}

/// Takes the lock. SQLite alone would let two processes write alternately. `None` for a store in
/// memory.
pub(super) fn lock(location: &StoreLocation) -> Result<Option<Lock>, OpenError> {
    let StoreLocation::File(named) = location else { return Ok(None) };
    let open_failed = |source| OpenError::Lock { path: named.clone(), source };
    let database = open_database(named).map_err(open_failed)?;
    refuse_hard_links(named)?;
    // A symbolic link is another name of the same file.
    let path = sibling_path(&std::fs::canonicalize(named).map_err(open_failed)?, "-lock");
    let failed = |source| OpenError::Lock { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let mut take = |lock: &dyn Fn(&File) -> Result<(), TryLockError>, target: Option<&File>| {
        for tries in 0.. {
            match lock(target.unwrap_or(&file)) {
                Ok(()) => break,
                // A process that is just ending, or has just forked, releases the lock within a
                // moment.
                Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse { path: named.clone(), holder: holder(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(())
    };
    take(&File::try_lock, None)?;
    // Elsewhere this lock would conflict with those that SQLite takes on the same file.
    if cfg!(target_os = "linux") {
        take(&File::try_lock, Some(&database))?;
    }
    let holder = format!("process {}\n", std::process::id());
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    file.write_all(holder.as_bytes()).map_err(failed)?;
    Ok(Some(Lock { database: Arc::new(database), _file: file }))
}

/// Opens the database file, and creates it if it is missing, for its owner only. SQLite gives the
/// files beside it the same mode.
fn open_database(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => options.create(true).open(path),
        // SQLite says better what is wrong with it.
        Err(_) => File::open(path),
        opened => opened,
    }
}

/// The process that holds the lock of the database; `None` if the lock is free.
pub(super) fn lock_holder(database: &Path) -> Result<Option<String>, OpenError> {
    let real = std::fs::canonicalize(database).unwrap_or_else(|_| PathBuf::from(database));
    let path = sibling_path(&real, "-lock");
    let failed = |source| OpenError::Lock { path: path.clone(), source };
    // Whoever takes the lock writes into the file.
    let mut file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut file))),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The process that wrote itself into the lock file.
fn holder(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = io::Read::by_ref(file).take(200).read_to_string(&mut holder);
    if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_name_of_the_file_defeats_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.db");
        let location = StoreLocation::File(path.clone());
        let first = lock(&location).unwrap();
        let other = folder.path().join("elsewhere");
        std::fs::create_dir(&other).unwrap();
        let link = other.join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = lock(&StoreLocation::File(link.clone())).unwrap_err();
        let me = format!("process {}", std::process::id());
        assert!(matches!(&refused, OpenError::InUse { holder, .. } if *holder == me), "{refused}");
        assert_eq!(lock_holder(&link).unwrap(), Some(me));

        // The lock on the file itself: its lock file is gone, as under a bind mount.
        std::fs::remove_file(folder.path().join("bridge.db-lock")).unwrap();
        if cfg!(target_os = "linux") {
            let refused = lock(&location).unwrap_err();
            assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
        }
        drop(first);
        lock(&StoreLocation::File(link)).unwrap();

        std::fs::hard_link(&path, other.join("hard.db")).unwrap();
        for name in [path, other.join("hard.db")] {
            let refused = lock(&StoreLocation::File(name)).unwrap_err();
            assert!(matches!(refused, OpenError::HardLinks { links: 2, .. }), "{refused}");
        }
    }
}
