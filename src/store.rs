//! What is kept: seen-marks, customers, messages with what is owed for them, and their steps.
//!
//! One writer thread commits everything that waits as one transaction, synced to disk, and then answers each
//! caller: a caller that got `Ok` may tell the world. Only this module knows SQL. It decides nothing about
//! messages; the moves a message may make are the model's.

mod column;
mod conversation;
mod checkpoint;
mod customer;
mod fetch;
mod held;
mod inspect;
mod look;
mod media;
mod message;
mod open;
mod operator;
mod prune;
mod seen;
mod turn;
mod upload;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{IllegalMove, Millis};

use checkpoint::Checkpointer;
pub use conversation::Past;
pub use customer::Customer;
pub use fetch::Fetch;
pub use held::{Held, Ridden, Riding};
pub use inspect::{Inspection, inspect};
pub use look::Look;
pub use media::{Medium, MediumFile};
pub use message::{Counts, Head, Listed, NewMessage, Owed, Settled, Step};
pub use open::OpenError;
pub use prune::HeldAt;
pub use seen::FirstAnswer;

/// Where the store lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file; its `-wal` and `-shm` lie beside it.
    File(PathBuf),
    /// Memory: gone when the process ends.
    Memory,
}

/// Why a read or write did not happen. Nothing of a failed write is kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused: disk full, read-only, locked, damaged.
    #[error("the store failed: {0}")]
    Database(String),
    /// What is stored cannot be read by this version.
    #[error("the store holds what this version cannot read: {0}")]
    Unreadable(String),
    /// A message was asked to make a move it may not make.
    #[error(transparent)]
    Move(#[from] IllegalMove),
    /// There is no such message.
    #[error("there is no message {0}")]
    NoMessage(crate::model::MessageId),
    /// The work of a read or write panicked; the store goes on.
    #[error("deciding about it ended in a panic, which is a bug")]
    Panicked,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// One transaction's view of the store. Its methods are the only way to read or change anything.
#[derive(Debug)]
pub struct Tx<'c> {
    connection: &'c Connection,
    now: Millis,
}

impl Tx<'_> {
    /// The time of this transaction.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// A single stored value.
    pub fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let mut statement = self.connection.prepare_cached("SELECT value FROM fact WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Keeps a single value.
    pub fn put_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO fact (name, value) VALUES (?1, ?2)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.connection.prepare_cached(sql)?.execute([name, value])?;
        Ok(())
    }
}

/// Since when the store cannot commit, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The first failure of the present row of failures.
    pub since: Millis,
    /// The database's words.
    pub why: String,
}

/// A handle on the store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    writer: writer::Writer,
    reader: Option<Arc<Mutex<Connection>>>,
    clock: Clock,
}

/// Ends the store: waits until every write that was taken is committed. Dropping it does not wait.
#[derive(Debug)]
pub struct Closing {
    thread: std::thread::JoinHandle<()>,
    stop: writer::Stop,
    _lock: Option<open::Lock>,
}

impl Store {
    /// Opens the store, alone, and applies the migrations it lacks. Blocks.
    pub fn open(place: &Place, clock: Clock, metrics: Metrics) -> Result<(Self, Closing), OpenError> {
        let lock = open::lock(place)?;
        let connection = open::connect(place)?;
        open::migrate(&connection)?;
        let reader = open::reader(place)?.map(|reader| Arc::new(Mutex::new(reader)));
        let checkpointer = open::checkpoints(place, &connection)?.map(Checkpointer::start).transpose();
        let checkpointer = checkpointer.map_err(OpenError::Thread)?;
        let (writer, thread, stop) =
            writer::start(connection, checkpointer, clock.clone(), metrics).map_err(OpenError::Thread)?;
        Ok((Self { writer, reader, clock }, Closing { thread, stop, _lock: lock }))
    }

    /// Opens a database beside the process that serves it, for an operator's command: no lock, no migration.
    pub fn open_beside(place: &Place, clock: Clock) -> Result<(Self, Closing), OpenError> {
        let connection = open::connect_existing(place)?;
        // Reads of their own keep a long list from holding up the process that serves the file.
        let reader = open::reader(place)?.map(|reader| Arc::new(Mutex::new(reader)));
        let (writer, thread, stop) =
            writer::start(connection, None, clock.clone(), Metrics::default()).map_err(OpenError::Thread)?;
        Ok((Self { writer, reader, clock }, Closing { thread, stop, _lock: None }))
    }

    /// Runs `work` in a transaction that is committed and synced before this returns `Ok`.
    ///
    /// `work` may run more than once (its transaction is shared, and repeated alone when a neighbour fails), so
    /// it must draw nothing and tell nobody.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.submit(work).await
    }

    /// Runs `work` on a snapshot of what is committed, beside the writer.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let Some(reader) = self.reader.clone() else { return self.writer.submit(work).await };
        let (now, mut work) = (self.clock.now(), work);
        let read = move || {
            let mut connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = connection.transaction()?;
            work(&Tx { connection: &snapshot, now })
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| if error.is_panic() { StoreError::Panicked } else { StoreError::Closed })?
    }

    /// `None` while commits succeed.
    pub fn failing(&self) -> Option<Failing> {
        self.writer.failing()
    }
}

impl Closing {
    /// Waits until every write that was taken is committed, and closes the database. Blocks.
    pub fn close(self) {
        self.stop.now();
        if self.thread.join().is_err() {
            tracing::error!("the store's writer thread had ended by a panic");
        }
    }
}
