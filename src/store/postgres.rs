//! PostgreSQL: the engine of a store on another machine.
//!
//! Each thread of the store has one direct connection and drives it itself: a statement blocks its thread and no other.
//! A connection that is lost is made anew, and the group that was running on it is run again. Must never report a
//! group as failed that was committed, nor the other way round: [`transaction`] finds out.

mod chunk;
pub(super) mod connect;
pub(super) mod control;
pub(super) mod encoding;
pub(super) mod error;
mod image;
mod instances;
pub(super) mod inspect;
pub(super) mod link;
mod many;
pub(super) mod membership;
mod migrate;
mod password;
#[cfg(feature = "sandbox")]
pub(super) mod scratch;
mod serve;
pub(super) mod statement;
pub(super) mod tls;
mod transaction;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::health::Health;
use super::open_error::OpenError;
use super::scope::Queue;
use super::{Closing, Reader, Store, StoreError, writer};
use crate::clock::Clock;
use crate::metrics::Metrics;
use connect::{Connector, PostgresLocation};
use control::Life;
use error::PostgresError;
use link::Link;

/// How many connections read: a long read does not keep all others waiting.
const READERS: usize = 2;
/// How long a lost connection is made anew before the writes that wait for it fail.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection is for.
#[derive(Clone, Debug)]
enum Access {
    /// This process serves the database, as long as this is its life.
    Serve(Arc<Life>),
    /// An operator's command beside the process that serves.
    Operator,
    /// Reads snapshots.
    Read,
}

/// A thread's connection, and how to make the next one.
#[derive(Debug)]
pub(super) struct Postgres {
    connector: Connector,
    runtime: Rc<Runtime>,
    access: Access,
    /// The name of its row in the table `writer`.
    writer: String,
    /// `None` after it was lost, until the next group needs one.
    link: Option<Link>,
    /// The name of the connection that was lost.
    lost: Option<String>,
}

impl Postgres {
    /// Connects a writer of a process that serves the database. Blocks.
    fn open(
        connector: Connector,
        queue: Queue,
        life: Arc<Life>,
        runtime: Rc<Runtime>,
    ) -> Result<Self, OpenError> {
        let writer = format!("{queue:?} {}", connector.process);
        Self::connect(connector, Access::Serve(life), writer, runtime)
    }

    /// Connects to a database that other processes may be serving. Migrates nothing. Blocks.
    fn open_for_operator(connector: Connector, runtime: Rc<Runtime>) -> Result<Self, OpenError> {
        let writer = format!("operator {}", connector.process);
        let postgres = Self::connect(connector, Access::Operator, writer, runtime)?;
        if let Some(link) = &postgres.link {
            migrate::check(link, &postgres.connector)?;
        }
        Ok(postgres)
    }

    /// Connects to read. Blocks.
    fn open_to_read(connector: Connector, runtime: Rc<Runtime>) -> Result<Self, OpenError> {
        Self::connect(connector, Access::Read, String::new(), runtime)
    }

    fn connect(
        connector: Connector,
        access: Access,
        writer: String,
        runtime: Rc<Runtime>,
    ) -> Result<Self, OpenError> {
        let link = connector.connect(&runtime).map_err(|error| connector.error(&error))?;
        Ok(Self { connector, runtime, access, writer, link: Some(link), lost: None })
    }

    /// The connection. Makes a lost one anew, and tries that for [`RECONNECT_TIMEOUT`].
    fn link(&mut self) -> Result<&Link, StoreError> {
        if let Some(link) = self.link.take_if(|link| link.is_lost()) {
            self.lost = Some(link.name.clone());
        }
        let until = Instant::now() + RECONNECT_TIMEOUT;
        while self.link.is_none() {
            match self.reconnect() {
                Ok(link) => {
                    tracing::info!("the connection to PostgreSQL was lost and is made anew");
                    self.lost = None;
                    self.link = Some(link);
                }
                Err(error) if Instant::now() >= until => return Err(error.into()),
                Err(_) => std::thread::sleep(RECONNECT_PAUSE),
            }
        }
        self.link.as_ref().ok_or(StoreError::Closed)
    }

    fn reconnect(&self) -> Result<Link, PostgresError> {
        let link = self.connector.connect(&self.runtime)?;
        let lost = self.lost.as_deref().unwrap_or_default();
        // A reader's session has nothing that another would need.
        if !matches!(self.access, Access::Read) {
            serve::end_session(&link, lost)?;
        }
        Ok(link)
    }
}

/// Opens the store as one of the instances on the database: the control connection, a writer for the doors, one for
/// the outbox, and the readers. Blocks.
pub(super) fn open(
    server: &PostgresLocation,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<(Store, Closing), OpenError> {
    let (connector, life) = (Connector::new(server)?, Arc::<Life>::default());
    let (membership, control) = control::start(connector.clone(), Arc::clone(&life), metrics.clone())?;
    let health = || Health::new(clock.clone(), metrics.clone());
    let write = |name, queue| {
        let (connector, life) = (connector.clone(), Arc::clone(&life));
        writer::start(name, health(), move |runtime| {
            Postgres::open(connector, queue, life, Rc::clone(runtime))
        })
    };
    let (doors, accepting) = write("store-doors", Queue::Doors)?;
    let (outbox, sending) = write("store-outbox", Queue::Outbox)?;
    let (reader, reading) = open_readers(&connector, clock, READERS)?;
    let threads = [accepting, sending].into_iter().chain(reading).collect();
    let (clock, membership) = (clock.clone(), Some(membership));
    Ok((
        Store { doors, outbox, reader, clock, keeps_media: true, membership },
        Closing { threads, control: Some(control), _lock: None },
    ))
}

/// Opens the store for an operator's command while other processes may be serving it. Blocks.
pub(super) fn open_for_operator(
    server: &PostgresLocation,
    clock: &Clock,
) -> Result<(Store, Closing), OpenError> {
    let connector = Connector::new(server)?;
    let (health, of_writer) = (Health::new(clock.clone(), Metrics::default()), connector.clone());
    let (writer, writing) = writer::start("store", health, move |runtime| {
        Postgres::open_for_operator(of_writer, Rc::clone(runtime))
    })?;
    let (reader, reading) = open_readers(&connector, clock, 1)?;
    let threads = std::iter::once(writing).chain(reading).collect();
    let (doors, outbox, clock) = (writer.clone(), writer, clock.clone());
    let store = Store { doors, outbox, reader, clock, keeps_media: true, membership: None };
    Ok((store, Closing { threads, control: None, _lock: None }))
}

fn open_readers(
    connector: &Connector,
    clock: &Clock,
    count: usize,
) -> Result<(Reader, Vec<writer::Thread>), OpenError> {
    let mut readers = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..count {
        let connector = connector.clone();
        let open = move |runtime: &Rc<Runtime>| Postgres::open_to_read(connector, Rc::clone(runtime));
        let (reader, thread) = writer::start("store-reader", Health::of_reader(clock.clone()), open)?;
        readers.push(reader);
        threads.push(thread);
    }
    Ok((Reader::Threads(readers.into()), threads))
}

/// What drives the connections of one thread.
fn runtime() -> Result<Rc<Runtime>, OpenError> {
    let build = tokio::runtime::Builder::new_current_thread().enable_all().build();
    build.map(Rc::new).map_err(OpenError::Thread)
}

#[cfg(test)]
mod tests;
