//! Durable storage: dedup records, customers, messages with their pending calls, and trace steps.
//!
//! One writer thread commits all waiting writes as one transaction, syncs it to disk, and then
//! answers each caller. A caller that received `Ok` may report success to the outside. Only this module contains SQL.
//! It makes no decisions about messages; the model defines the moves that a message may make.

mod answer;
mod backfill;
mod backlog;
mod burst;
mod column;
mod conversation;
mod customer;
mod dedup;
mod failover;
mod ended_conversation;
mod fetch;
mod foresight;
mod health;
mod deferred;
mod held;
mod line;
mod location;
mod media;
mod message;
mod new_message;
mod open_error;
mod operator;
mod position;
mod postgres;
mod profile;
mod prune;
mod question;
mod questions;
mod rating;
mod scope;
mod session;
mod sqlite;
mod stuck;
mod tally;
#[cfg(test)]
pub mod testing;
mod trace;
mod unreadable_push;
mod upload;
mod value;
mod writer;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{IllegalMove, Millis};

pub use answer::StoredAnswer;
pub use backfill::Backfill;
pub use backlog::{Counts, Line};
pub use conversation::PastMessage;
pub use customer::Customer;
pub use ended_conversation::{ConversationFacts, EndedConversation, Silence};
pub use fetch::MediaFetch;
use health::Health;
pub use health::Outage;
pub use held::HeldAnswer;
pub use line::Waiting;
pub use location::StoreLocation;
pub use media::MediumFile;
pub use message::{AttachState, Head, PendingCall, Settlement};
pub use new_message::NewMessage;
pub use open_error::OpenError;
pub use operator::{MessageFilter, MessageSummary};
pub use postgres::connect::PostgresLocation;
pub use postgres::control::{Heard, MEMBERS_CHANGED, Membership};
use postgres::error::PostgresError;
pub use postgres::inspect::{ServerState, inspect_server};
pub use postgres::membership::{Instance, Roll, TTL};
#[cfg(feature = "sandbox")]
pub use postgres::scratch::{drop_schema, end_sessions, find_password, make_schema};
pub use postgres::tls::TlsMode;
pub use prune::HeldCursor;
pub use question::Question;
pub use rating::GivenRating;
use scope::Queue;
pub use scope::Scope;
use session::Session;
pub use sqlite::{files_of, inspect, log_path};
pub use trace::TraceStep;
pub use unreadable_push::UnreadableRow;
use value::params;

/// Why a read or a write failed. A failed write leaves nothing in the database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite returned an error: the disk is full, or the file is read-only, locked or damaged.
    #[error("the store failed: {0}")]
    Database(#[source] Arc<rusqlite::Error>),
    /// PostgreSQL refused it or cannot be reached.
    #[error("the store failed: {0}")]
    Postgres(#[from] PostgresError),
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
    /// Others have taken this instance for dead, and send what it was sending.
    #[error("the other instances have taken this one for dead and have taken over its customers")]
    Buried,
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
            // PostgreSQL has no counterpart: the rows go with the next vacuum, and later from its log.
            Session::Postgres(_) | Session::Questions(_) => Ok(()),
        }
    }
}

/// A handle to the store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    doors: writer::Writer,
    /// The same one where the database has a single writer.
    outbox: writer::Writer,
    reader: Reader,
    clock: Clock,
    keeps_media: bool,
    membership: Option<Membership>,
}

/// Who runs reads.
#[derive(Clone, Debug)]
enum Reader {
    /// A connection that blocks its caller's thread.
    Sqlite(Arc<Mutex<rusqlite::Connection>>),
    /// Threads of their own, or the writer's.
    Threads(Arc<[writer::Writer]>),
}

/// Closes the store after all accepted writes are committed. Dropping it does not wait.
#[derive(Debug)]
pub struct Closing {
    threads: Vec<writer::Thread>,
    control: Option<postgres::control::ControlThread>,
    _lock: Option<sqlite::Lock>,
}

impl Store {
    /// Opens the store for this process alone and applies missing migrations. Blocks.
    pub fn open(
        location: &StoreLocation,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Self, Closing), OpenError> {
        if let StoreLocation::Postgres(server) = location {
            return postgres::open(server, &clock, &metrics);
        }
        let (engine, reader, lock) = sqlite::open(location)?;
        Self::on_sqlite(engine, reader, lock, Health::new(clock, metrics))
    }

    /// Opens a database for an operator's command while another process may be serving it: takes no
    /// lock, and fails if the schema is another version's. Blocks.
    pub fn open_for_operator(location: &StoreLocation, clock: Clock) -> Result<(Self, Closing), OpenError> {
        if let StoreLocation::Postgres(server) = location {
            return postgres::open_for_operator(server, &clock);
        }
        let (engine, reader) = sqlite::open_for_operator(location)?;
        Self::on_sqlite(engine, reader, None, Health::new(clock, Metrics::default()))
    }

    fn on_sqlite(
        engine: sqlite::Sqlite,
        reader: sqlite::Reader,
        lock: Option<sqlite::Lock>,
        health: Health,
    ) -> Result<(Self, Closing), OpenError> {
        let clock = health.clock.clone();
        let (writer, thread) = writer::start("store", health, move |_| Ok(engine))?;
        let reader = reader.map_or_else(|| Reader::Threads(Arc::new([writer.clone()])), Reader::Sqlite);
        let (doors, outbox) = (writer.clone(), writer);
        let store = Self { doors, outbox, reader, clock, keeps_media: false, membership: None };
        Ok((store, Closing { threads: vec![thread], control: None, _lock: lock }))
    }

    /// Runs `work` in a transaction that is committed and synced before this returns `Ok`. No other write runs at
    /// the same time.
    ///
    /// `work` may run more than once: it shares its transaction with other writes and runs again
    /// alone if one of them fails. It must therefore draw no random numbers and have no side
    /// effects outside the transaction.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_for(Scope::EVERYTHING, work).await
    }

    /// The same for a `work` that reads and changes nothing outside `scope`, as far as its decisions depend on it.
    /// Writes with other scopes may run at the same time.
    pub async fn write_for<T, F>(&self, scope: Scope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_foreseen(scope, |_| {}, work).await
    }

    /// The same for a `work` that can tell before what it will probably read: `foresee` calls the methods that read it,
    /// and gets no answers.
    pub async fn write_foreseen<T, F>(
        &self,
        scope: Scope,
        foresee: impl Fn(&Tx<'_>) + Send + 'static,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let writer = match scope.queue() {
            Queue::Doors => &self.doors,
            Queue::Outbox => &self.outbox,
        };
        writer.submit(scope, foresee, work).await
    }

    /// Runs `work` on a snapshot of the committed data, without waiting for the writer.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let reader = match &self.reader {
            Reader::Sqlite(reader) => Arc::clone(reader),
            Reader::Threads(readers) => {
                let idlest = readers.iter().min_by_key(|reader| reader.load());
                return idlest.ok_or(StoreError::Closed)?.submit(Scope::EVERYTHING, |_| {}, work).await;
            }
        };
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

    /// The place of this process among the instances that serve the database; `None` where it serves it alone.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Whether the database keeps the bytes of media, so that `media.dir` is only a cache.
    pub fn keeps_media(&self) -> bool {
        self.keeps_media
    }

    /// Whether other processes that serve may use the database at the same time. SQLite's is locked for one.
    pub fn is_shared(&self) -> bool {
        self.membership.is_some()
    }

    /// The present failure of the store; `None` while commits succeed in time.
    pub fn outage(&self) -> Option<Outage> {
        self.doors.outage().or_else(|| self.outbox.outage())
    }

    /// How many outages have ended. After one, the store may hold messages whose acceptance was refused or never
    /// answered.
    pub fn recoveries(&self) -> u64 {
        self.of_writers(writer::Writer::recoveries)
    }

    /// How many panics the store's writer threads have had.
    pub fn panics(&self) -> u64 {
        self.of_writers(writer::Writer::panics)
    }

    fn of_writers(&self, count: impl Fn(&writer::Writer) -> u64) -> u64 {
        let of_outbox = if self.outbox.is_same(&self.doors) { 0 } else { count(&self.outbox) };
        count(&self.doors) + of_outbox
    }
}

impl Closing {
    /// Waits until every accepted write is committed, then closes the database. Blocks.
    pub fn close(self) {
        self.threads.into_iter().for_each(writer::Thread::close);
        if let Some(control) = self.control {
            control.close();
        }
    }
}
