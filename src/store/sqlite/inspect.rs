//! Inspects a database without changing it: creates no file, runs no migration, changes no setting. It tries a write, and
//! rolls it back.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::header::OPERATOR_BUSY_TIMEOUT;
use super::lock::lock_holder;
use super::open;
use crate::store::StoreLocation;
use crate::store::open_error::OpenError;

/// The state of a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The database exists and is writable.
    pub exists: bool,
    /// An older version wrote it; the next start migrates it.
    pub outdated: bool,
    /// The process that serves it now, as recorded in the lock file.
    pub holder: Option<String>,
}

/// Inspects the database at `path`. Blocks for up to five seconds while another process is writing.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let holder = lock_holder(path)?;
    if !path.exists() {
        return Ok(Inspection { exists: false, outdated: false, holder });
    }
    let location = StoreLocation::File(path.to_owned());
    open::refuse_foreign(&location)?;
    open::refuse_hard_links(path)?;
    let sqlite_error = |source| open::sqlite_error(&location, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error)?;
    connection.busy_timeout(OPERATOR_BUSY_TIMEOUT).map_err(sqlite_error)?;
    let applied = open::applied_migrations(&connection)?;
    // In a read-only file a transaction can begin, so that only a write shows whether one succeeds.
    connection
        .execute_batch("BEGIN IMMEDIATE; CREATE TABLE wechat_im_bridge_check (x); ROLLBACK")
        .map_err(sqlite_error)?;
    Ok(Inspection { exists: true, outdated: applied < open::MIGRATIONS.len(), holder })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::Store;

    #[test]
    fn inspecting_a_missing_database_creates_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let found = inspect(&folder.path().join("bridge.db")).unwrap();
        assert_eq!(found, Inspection { exists: false, outdated: false, holder: None });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_process_that_serves_a_database_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.db");
        let (_store, closing) =
            Store::open(&StoreLocation::File(path.clone()), Clock::system(), Metrics::default()).unwrap();
        let found = inspect(&path).unwrap();
        assert_eq!(found.holder, Some(format!("process {}", std::process::id())));
        closing.close();
        assert_eq!(inspect(&path).unwrap(), Inspection { exists: true, outdated: false, holder: None });
    }

    #[test]
    fn an_older_database_is_unchanged_and_a_newer_or_foreign_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.db");
        std::fs::write(&path, "").unwrap();
        assert!(inspect(&path).unwrap().outdated);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(inspect(&path), Err(OpenError::Foreign { .. })));
        raw.execute_batch("PRAGMA application_id = 0x57494D42; PRAGMA user_version = 99").unwrap();
        assert!(matches!(inspect(&path), Err(OpenError::Newer { found: 99, .. })));
    }
}
