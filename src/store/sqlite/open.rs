//! Opens the database: refuses files of other programs before anything changes them, sets the
//! pragmas, applies the numbered migrations.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use const_format::formatcp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::checkpoint::WRITER_CHECKPOINT_PAGES;
use super::header::{self, APPLICATION_ID, BUSY_TIMEOUT, FileKind, OPERATOR_BUSY_TIMEOUT};
use crate::store::StoreLocation;
use crate::store::open_error::OpenError;

/// The migrations, numbered from 1 by their index, as their names say. Never change a statement of a released one; add
/// the next.
pub(super) const MIGRATIONS: [&str; 24] = [
    include_str!("../../../migrations/0001-initial.sql"),
    include_str!("../../../migrations/0002-media.sql"),
    include_str!("../../../migrations/0003-history-backfill.sql"),
    include_str!("../../../migrations/0004-uploads.sql"),
    include_str!("../../../migrations/0005-media-fetches.sql"),
    include_str!("../../../migrations/0006-late-messages.sql"),
    include_str!("../../../migrations/0007-push-after-reply.sql"),
    include_str!("../../../migrations/0008-plain-names.sql"),
    include_str!("../../../migrations/0009-unreadable-pushes.sql"),
    include_str!("../../../migrations/0010-recalls-and-edits.sql"),
    include_str!("../../../migrations/0011-outbox.sql"),
    include_str!("../../../migrations/0012-one-dialect.sql"),
    include_str!("../../../migrations/0013-took-ms.sql"),
    include_str!("../../../migrations/0014-conversations.sql"),
    include_str!("../../../migrations/0015-working-hours.sql"),
    include_str!("../../../migrations/0016-served-by.sql"),
    include_str!("../../../migrations/0017-bursts.sql"),
    include_str!("../../../migrations/0018-questions.sql"),
    include_str!("../../../migrations/0019-escalation.sql"),
    include_str!("../../../migrations/0020-ended-conversations.sql"),
    include_str!("../../../migrations/0021-line.sql"),
    include_str!("../../../migrations/0022-visits.sql"),
    include_str!("../../../migrations/0023-ratings.sql"),
    include_str!("../../../migrations/0024-groups.sql"),
];

/// More than the number of different statements, so that none is parsed twice.
const STATEMENT_CACHE_SIZE: usize = 256;

/// The log is cut to this many bytes when it starts again from its beginning. It is what the log
/// needs in normal work.
const LOG_BYTES: i64 = 4_096 * WRITER_CHECKPOINT_PAGES;

/// Refuses a file that is not this program's, without changing a byte of it.
pub(super) fn refuse_foreign(location: &StoreLocation) -> Result<(), OpenError> {
    let StoreLocation::File(path) = location else { return Ok(()) };
    match header::kind_of(path) {
        Ok(FileKind::Foreign) => Err(OpenError::Foreign { path: display_path(location) }),
        Ok(FileKind::Other) => Err(OpenError::NotADatabase { path: display_path(location) }),
        // SQLite says better why a file cannot be read.
        Ok(FileKind::Empty | FileKind::Ours) | Err(_) => Ok(()),
    }
}

/// Refuses a database file that has a second name.
pub(super) fn refuse_hard_links(path: &Path) -> Result<(), OpenError> {
    let links = std::fs::metadata(path).map_or(1, |found| found.nlink());
    if links > 1 {
        return Err(OpenError::HardLinks { path: path.to_owned(), links });
    }
    Ok(())
}

/// Fails if the database cannot be written, because another program has locked it.
pub(super) fn check_writable(connection: &Connection) -> Result<(), OpenError> {
    connection
        .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
        .map_err(|source| sqlite_error_at(path_of(connection), source))
}

/// Opens the database for the writer.
pub(super) fn connect(location: &StoreLocation) -> Result<Connection, OpenError> {
    let connection = location.file().map_or_else(Connection::open_in_memory, Connection::open);
    configure(connection, location)
}

/// Opens a third connection, which makes the checkpoints in place of the writer; `None` for a store
/// in memory, which has no log.
pub(super) fn checkpoint_connection(
    location: &StoreLocation,
    writer: &Connection,
) -> Result<Option<Connection>, OpenError> {
    let StoreLocation::File(path) = location else { return Ok(None) };
    let connection = configure(Connection::open(path), location)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", 0)
        .and_then(|()| writer.pragma_update(None, "wal_autocheckpoint", WRITER_CHECKPOINT_PAGES))
        .map_err(|source| sqlite_error(location, source))?;
    Ok(Some(connection))
}

/// Opens a database that another process may be serving. Migrates nothing.
pub(super) fn connect_existing(location: &StoreLocation) -> Result<Connection, OpenError> {
    if let StoreLocation::File(path) = location {
        if !path.exists() {
            return Err(OpenError::Missing(path.clone()));
        }
        refuse_foreign(location)?;
        refuse_hard_links(path)?;
        // Only the right schema may be opened in a way that changes settings of the file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let found = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(OPERATOR_BUSY_TIMEOUT)?;
            version(&connection)
        });
        let found = found.map_err(|source| sqlite_error(location, source))?;
        if usize::try_from(found) != Ok(MIGRATIONS.len()) {
            return Err(OpenError::OtherVersion {
                path: display_path(location),
                found,
                known: MIGRATIONS.len(),
            });
        }
    }
    let connection = connect(location)?;
    connection.busy_timeout(OPERATOR_BUSY_TIMEOUT).map_err(|source| sqlite_error(location, source))?;
    Ok(connection)
}

/// Opens a second, read-only connection; `None` for a store in memory, which only the writer can
/// see.
pub(super) fn reader(location: &StoreLocation) -> Result<Option<Connection>, OpenError> {
    let StoreLocation::File(path) = location else { return Ok(None) };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| sqlite_error(location, source))?;
    prepare(&connection).map_err(|source| sqlite_error(location, source))?;
    Ok(Some(connection))
}

/// The settings of every connection.
///
/// With the stability guarantee, a plan does not depend on the values of the parameters. Without it, SQLite, which is
/// built with STAT4 here, parses and plans some statements anew at every execution.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE_SIZE);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn configure(
    connection: rusqlite::Result<Connection>,
    location: &StoreLocation,
) -> Result<Connection, OpenError> {
    let sqlite_error = |source| sqlite_error(location, source);
    let connection = connection.map_err(sqlite_error)?;
    prepare(&connection).map_err(sqlite_error)?;
    // `secure_delete` overwrites deleted rows and pages: the messages of a customer who unsubscribed
    // must not stay in the file. [`super::erase`] does the rest. The value FAST would not do: it
    // leaves free pages as they are.
    connection
        .execute_batch(formatcp!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -16000;
             PRAGMA journal_size_limit = {LOG_BYTES};"
        ))
        .map_err(sqlite_error)?;
    Ok(connection)
}

/// Applies the missing migrations, each in a transaction of its own.
pub(super) fn migrate(connection: &Connection) -> Result<(), OpenError> {
    let applied = applied_migrations(connection)?;
    let sqlite_error = |source| sqlite_error_at(path_of(connection), source);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(applied) {
        let sql = format!(
            "BEGIN IMMEDIATE;\n{migration}\nPRAGMA application_id = {APPLICATION_ID};\n\
             PRAGMA user_version = {};\nCOMMIT;",
            index + 1
        );
        connection.execute_batch(&sql).map_err(sqlite_error)?;
    }
    Ok(())
}

/// The number of migrations applied to a database; an error if the file is not a database of this
/// program, or a newer version wrote it.
pub(super) fn applied_migrations(connection: &Connection) -> Result<usize, OpenError> {
    let sqlite_error = |source| sqlite_error_at(path_of(connection), source);
    let application: i32 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(sqlite_error)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite_error)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(OpenError::Foreign { path: path_of(connection) });
    }
    let found = version(connection).map_err(sqlite_error)?;
    match usize::try_from(found) {
        Ok(applied) if applied <= MIGRATIONS.len() => Ok(applied),
        _ => Err(OpenError::Newer { path: path_of(connection), found, known: MIGRATIONS.len() }),
    }
}

fn path_of(connection: &Connection) -> String {
    connection.path().filter(|path| !path.is_empty()).unwrap_or("memory").to_owned()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(super) fn sqlite_error(location: &StoreLocation, source: rusqlite::Error) -> OpenError {
    sqlite_error_at(display_path(location), source)
}

fn sqlite_error_at(path: String, source: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode;
    let fix = match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged or not a database: restore a backup, or move it away to start afresh"
        }
        Some(ErrorCode::DiskFull) => "free some disk space",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "let this user write to the file and its folder"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it: stop that program"
        }
        _ => "the folder must exist and be writable by this user",
    };
    OpenError::Sqlite { path, source, fix }
}

fn display_path(location: &StoreLocation) -> String {
    location.file().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests;
