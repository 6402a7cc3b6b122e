//! SQLite: the engine of one process, with its data in one file.
//!
//! The writer's thread owns the connection that writes. A second connection reads, and a third copies committed pages
//! into the file. Must never be used by two processes that serve: [`lock`] sees to that.

mod checkpoint;
mod erase;
mod header;
mod inspect;
mod lock;
mod open;
pub(super) mod statement;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use fail::fail_point;
use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};

use super::open_error::OpenError;
use super::scope::Scope;
use super::session::Session;
use super::writer::{Committed, Engine, Failure};
use super::{StoreError, StoreLocation};
use crate::model::Millis;

use checkpoint::Checkpointer;
use erase::Eraser;
pub(super) use erase::request_erasure;
pub use inspect::inspect;
pub(super) use lock::Lock;

/// The connection of the writer's thread, and what depends on it.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Connection,
    checkpointer: Option<Checkpointer>,
    /// Must be closed after the last connection: closing it releases SQLite's locks of this process.
    _database: Option<Arc<File>>,
}

/// A connection that reads snapshots; `None` for a store in memory, which only the writer can see.
pub(super) type Reader = Option<Arc<Mutex<Connection>>>;

/// Opens the store for this process alone and applies missing migrations. Blocks.
pub(super) fn open(location: &StoreLocation) -> Result<(Sqlite, Reader, Option<Lock>), OpenError> {
    open::refuse_foreign(location)?;
    let lock = lock::lock(location)?;
    let connection = open::connect(location)?;
    open::migrate(&connection)?;
    open::check_writable(&connection)?;
    let reader = open::reader(location)?.map(|reader| Arc::new(Mutex::new(reader)));
    let database = lock.as_ref().map(|lock| Arc::clone(&lock.database));
    let checkpointer = match (location, &database, open::checkpoint_connection(location, &connection)?) {
        (StoreLocation::File(path), Some(file), Some(connection)) => {
            let log = log_path(path);
            let eraser = Eraser::new(Arc::clone(file), log.clone());
            Some(Checkpointer::start(connection, eraser, log).map_err(OpenError::Thread)?)
        }
        _ => None,
    };
    Ok((Sqlite { connection, checkpointer, _database: database }, reader, lock))
}

/// Opens a database that another process may be serving. Takes no lock, and migrates nothing. Blocks.
pub(super) fn open_for_operator(location: &StoreLocation) -> Result<(Sqlite, Reader), OpenError> {
    let connection = open::connect_existing(location)?;
    // A separate read connection, so that a long list does not block the serving process.
    let reader = open::reader(location)?.map(|reader| Arc::new(Mutex::new(reader)));
    Ok((Sqlite { connection, checkpointer: None, _database: None }, reader))
}

/// The database's write-ahead log.
pub fn log_path(database: &Path) -> PathBuf {
    header::sibling_path(&std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()), "-wal")
}

/// The files of the database at `path`, whether or not they exist now.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    ["", "-wal", "-shm", "-lock"].map(|end| header::sibling_path(&real, end)).to_vec()
}

impl Engine for Sqlite {
    fn transact(
        &mut self,
        _: &[Scope],
        _: &dyn Fn(Session<'_>),
        work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
    ) -> Result<Committed, Failure> {
        let changes = self.connection.total_changes();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failure::Begin(error.into()))?;
        work(Session::Sqlite(&transaction)).map_err(Failure::Write)?;
        let started = Instant::now();
        fail_point!("store.commit");
        transaction.commit().map_err(|error| Failure::Write(error.into()))?;
        fail_point!("store.committed");
        let has_changes = self.connection.total_changes() > changes;
        Ok(Committed { took: started.elapsed(), has_changes })
    }

    fn probe(&mut self, now: Millis) -> Result<(), StoreError> {
        let sql = "INSERT INTO kv (key, value) VALUES ('probe', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.connection.execute(sql, [now.0])?;
        Ok(())
    }

    /// Whether every other commit would fail for the same reason.
    fn is_outage(&self, error: &StoreError) -> bool {
        use rusqlite::ErrorCode as E;
        let StoreError::Database(error) = error else { return false };
        let code = error.sqlite_error_code();
        matches!(code, Some(E::DatabaseBusy | E::DatabaseLocked | E::DiskFull | E::ReadOnly))
    }

    fn tried_group(&mut self) {
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.notify_commit();
        }
    }

    fn close(self) {
        if let Some(checkpointer) = self.checkpointer {
            checkpointer.end();
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "the final checkpoint failed; the next start makes it");
        }
    }
}
