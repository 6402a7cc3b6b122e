//! Durable storage: dedup records, customers, messages with their pending calls, and trace steps.
//!
//! One writer thread commits all waiting writes as one transaction, syncs it to disk, and then
//! answers each caller. A caller that received `Ok` may report success to the outside. Only this
//! module contains SQL. It makes no decisions about messages; the model defines the moves that a
//! message may make.

mod answer;
mod backfill;
mod backlog;
mod column;
mod conversation;
mod customer;
mod dedup;
mod fetch;
mod health;
mod held;
mod media;
mod message;
mod new_message;
mod operator;
mod position;
mod prune;
mod session;
mod sqlite;
mod stuck;
#[cfg(test)]
pub mod testing;
mod trace;
mod unreadable_push;
mod upload;
mod value;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{IllegalMove, Millis};

pub use answer::StoredAnswer;
pub use backfill::Backfill;
pub use backlog::Counts;
pub use conversation::PastMessage;
pub use customer::Customer;
pub use fetch::MediaFetch;
pub use health::Outage;
pub use held::HeldAnswer;
pub use media::MediumFile;
pub use message::{AttachState, Head, PendingCall, Settlement};
pub use new_message::NewMessage;
pub use operator::{MessageFilter, MessageSummary};
pub use prune::HeldCursor;
use session::Session;
pub use sqlite::{OpenError, files_of, inspect, log_path};
pub use trace::TraceStep;
pub use unreadable_push::UnreadableRow;
use value::params;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A file. SQLite keeps its `-wal` and `-shm` files beside it.
    File(PathBuf),
    /// In memory. The data is lost when the process ends.
    Memory,
}

/// Why a read or a write failed. A failed write leaves nothing in the database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite returned an error: the disk is full, or the file is read-only, locked or damaged.
    #[error("the store failed: {0}")]
    Database(#[source] Arc<rusqlite::Error>),
    /// This version cannot read the stored data.
    #[error("this version cannot read the stored data: {0}")]
    Unreadable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// This version cannot read a stored message. All others can still be read.
    #[error("this version cannot read message {id}: {source}")]
    UnreadableMessage {
        /// The message.
        id: crate::model::MessageId,
        /// What is wrong with its row.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The message may not make this move from its state.
    #[error(transparent)]
    Move(#[from] IllegalMove),
    /// No message has this id.
    #[error("there is no message {0}")]
    NoMessage(crate::model::MessageId),
    /// The closure of a read or a write panicked. The store keeps working.
    #[error("the transaction's closure panicked, which is a bug")]
    Panicked,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the database works, and only the data that was read cannot be used.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::UnreadableMessage { .. })
    }

    /// Names the message whose row could not be read.
    fn of_message(self, id: crate::model::MessageId) -> Self {
        match self {
            Self::Unreadable(source) => Self::UnreadableMessage { id, source },
            other => other,
        }
    }

    /// Stored data that cannot be read, with the reason.
    fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable(source.into().into())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        match error {
            // A value that does not fit: the row is bad, not the store.
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
            | E::InvalidColumnType(..) => Self::unreadable(error),
            error => Self::Database(Arc::new(error)),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::unreadable(error)
    }
}

/// One transaction. All reads and changes of stored data go through its methods.
#[derive(Debug)]
pub struct Tx<'c> {
    session: Session<'c>,
    now: Millis,
}

impl Tx<'_> {
    /// The time at which this transaction began.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Reads a value from the key-value table; `None` if the key is not set.
    pub fn kv(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.session.find("SELECT value FROM kv WHERE key = ?1", params![key])
    }

    /// Writes a value to the key-value table, replacing the previous one.
    pub fn put_kv(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO kv (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.session.run(sql, params![key, value])?;
        Ok(())
    }

    /// Requests that deleted rows are also overwritten in the database's files, once this is committed.
    fn request_erasure(&self) -> Result<(), StoreError> {
        match self.session {
            Session::Sqlite(connection) => sqlite::request_erasure(connection),
        }
    }
}

/// A handle to the store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    writer: writer::Writer,
    reader: sqlite::Reader,
    clock: Clock,
}

/// Closes the store after all accepted writes are committed. Dropping it does not wait.
#[derive(Debug)]
pub struct Closing {
    thread: std::thread::JoinHandle<()>,
    stop: writer::StopSignal,
    _lock: Option<sqlite::Lock>,
}

impl Store {
    /// Opens the store for this process alone and applies missing migrations. Blocks.
    pub fn open(
        location: &StoreLocation,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Self, Closing), OpenError> {
        let (engine, reader, lock) = sqlite::open(location)?;
        let (writer, thread, stop) =
            writer::start(engine, clock.clone(), metrics).map_err(OpenError::Thread)?;
        Ok((Self { writer, reader, clock }, Closing { thread, stop, _lock: lock }))
    }

    /// Opens a database for an operator's command while another process may be serving it: takes no
    /// lock, and fails if the schema is another version's. Blocks.
    pub fn open_for_operator(location: &StoreLocation, clock: Clock) -> Result<(Self, Closing), OpenError> {
        let (engine, reader) = sqlite::open_for_operator(location)?;
        let (writer, thread, stop) =
            writer::start(engine, clock.clone(), Metrics::default()).map_err(OpenError::Thread)?;
        Ok((Self { writer, reader, clock }, Closing { thread, stop, _lock: None }))
    }

    /// Runs `work` in a transaction that is committed and synced before this returns `Ok`.
    ///
    /// `work` may run more than once: it shares its transaction with other writes and runs again
    /// alone if one of them fails. It must therefore draw no random numbers and have no side
    /// effects outside the transaction.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.submit(work).await
    }

    /// Runs `work` on a snapshot of the committed data, without waiting for the writer.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let Some(reader) = self.reader.clone() else { return self.writer.submit(work).await };
        let (now, mut work) = (self.clock.now(), work);
        let run = move || {
            let mut connection = reader.lock();
            let snapshot = connection.transaction()?;
            work(&Tx { session: Session::Sqlite(&snapshot), now })
        };
        tokio::task::spawn_blocking(run)
            .await
            .map_err(|error| if error.is_panic() { StoreError::Panicked } else { StoreError::Closed })?
    }

    /// The present failure of the store; `None` while commits succeed in time.
    pub fn outage(&self) -> Option<Outage> {
        self.writer.outage()
    }

    /// How many panics the store's writer thread has had.
    pub fn panics(&self) -> u64 {
        self.writer.panics()
    }
}

impl Closing {
    /// Waits until every accepted write is committed, then closes the database. Blocks.
    pub fn close(self) {
        self.stop.send();
        if self.thread.join().is_err() {
            tracing::error!("the store's writer thread panicked before the store was closed");
        }
    }
}
