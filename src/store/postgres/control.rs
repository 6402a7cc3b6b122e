//! The connection by which an instance is there for the others: it holds the instance's presence, and hears what they
//! tell. A thread of its own drives it, so that no long statement keeps it from being heard.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::connect::{Connector, Event, OnEvent};
use super::error::PostgresError;
use super::link::Link;
use super::membership::{self, Roll};
use super::{migrate, serve};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::open_error::OpenError;

/// The most questions that wait for the thread.
const QUEUE: usize = 64;
/// The most notifications that wait to be heard. Beyond that some are lost, which is told.
const HEARD: usize = 4_096;
/// What an instance tells when it has gone: its shards are free.
pub const MEMBERS_CHANGED: &str = "m";

/// The number by which this process is alive; 0: none.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicI64);

impl Life {
    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, id: i64) {
        self.0.store(id, Ordering::Release);
    }
}

/// What another instance told, or that something may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message of another instance, or our own.
    Told(String),
    /// The connection is new, or too much was told at once.
    Missed,
}

type Question = Box<dyn FnOnce(&mut Control) + Send>;

/// The place of this process among the instances on one database. Clones share it.
#[derive(Clone, Debug)]
pub struct Membership(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    questions: mpsc::Sender<Question>,
    life: Arc<Life>,
    state: Arc<ConnectionState>,
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
}

/// What is known of the connection.
#[derive(Debug, Default)]
struct ConnectionState {
    is_connected: AtomicBool,
    /// How many connections there were.
    number: AtomicU64,
    has_missed: AtomicBool,
}

impl Membership {
    /// The number of this instance, which changes when it was buried and enters again.
    pub fn id(&self) -> i64 {
        self.0.life.get()
    }

    /// Whether the session that holds the presence lives, as far as we know; and how many there were.
    pub fn connection(&self) -> (bool, u64) {
        let state = &self.0.state;
        (state.is_connected.load(Ordering::Acquire), state.number.load(Ordering::Acquire))
    }

    /// What others tell. Only the first caller gets it.
    pub fn hear(&self) -> Option<mpsc::Receiver<Heard>> {
        self.0.heard.lock().take()
    }

    /// Whether something that was told could not be kept, since the last call.
    pub fn take_missed(&self) -> bool {
        self.0.state.has_missed.swap(false, Ordering::AcqRel)
    }

    /// Tells that this instance is alive. `None`: it has been buried.
    pub async fn beat(&self, is_leaving: bool, settings: String) -> Result<Option<Roll>, StoreError> {
        self.ask(move |control| {
            let id = control.life.get();
            membership::beat(control.link()?, id, is_leaving, &settings)
        })
        .await
    }

    /// Whether a program serves the database alone, as earlier versions do. It sends, and nobody else may.
    pub async fn is_served_alone(&self) -> Result<bool, StoreError> {
        self.ask(|control| {
            if !control.keeps_single_ones_away {
                control.keeps_single_ones_away = membership::keep_single_ones_away(control.link()?)?;
            }
            Ok(!control.keeps_single_ones_away)
        })
        .await
    }

    /// Enters again, after this instance was buried.
    pub async fn enter_again(&self) -> Result<(), StoreError> {
        self.ask(|control| {
            control.life.set(0);
            control.lose();
            control.enter()
        })
        .await
    }

    /// Buries another instance. `false` if somebody else was first.
    pub async fn bury(&self, id: i64) -> Result<bool, StoreError> {
        self.ask(move |control| membership::bury(control.link()?, id)).await
    }

    /// Takes up to `count` free shards.
    pub async fn take(&self, count: u32) -> Result<Vec<u8>, StoreError> {
        self.ask(move |control| {
            let id = control.life.get();
            membership::take(control.link()?, id, i64::from(count))
        })
        .await
    }

    /// Gives shards back.
    pub async fn give_back(&self, shards: Vec<u8>) -> Result<(), StoreError> {
        self.ask(move |control| {
            let id = control.life.get();
            membership::give_back(control.link()?, id, &shards)
        })
        .await
    }

    /// Tells all instances something.
    pub async fn tell(&self, payloads: Vec<String>) -> Result<(), StoreError> {
        self.ask(move |control| membership::notify(control.link()?, &payloads)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Control) -> Result<T, PostgresError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (asker, answer) = oneshot::channel();
        let question: Question = Box::new(move |control| {
            let _ = asker.send(question(control));
        });
        self.0.questions.send(question).await.map_err(|_| StoreError::Closed)?;
        Ok(answer.await.map_err(|_| StoreError::Closed)??)
    }
}

/// The thread, which ends when it is told to and then leaves the database.
#[derive(Debug)]
pub(in crate::store) struct ControlThread {
    handle: std::thread::JoinHandle<()>,
    stop: mpsc::Sender<()>,
}

impl ControlThread {
    /// Leaves the database. Blocks.
    pub fn close(self) {
        drop(self.stop);
        if self.handle.join().is_err() {
            tracing::error!("the thread of the store's control connection panicked");
        }
    }
}

/// What lives in the thread.
struct Control {
    connector: Connector,
    runtime: Rc<Runtime>,
    life: Arc<Life>,
    state: Arc<ConnectionState>,
    heard: mpsc::Sender<Heard>,
    link: Option<Link>,
    /// The name of the connection that was lost.
    lost: Option<String>,
    /// Of the present connection.
    keeps_single_ones_away: bool,
    metrics: Metrics,
}

/// Connects, applies missing migrations and enters the database. Blocks.
pub(super) fn start(
    connector: Connector,
    life: Arc<Life>,
    metrics: Metrics,
) -> Result<(Membership, ControlThread), OpenError> {
    let (questions, asked) = mpsc::channel(QUEUE);
    let (stop, stopped) = mpsc::channel(1);
    let (heard, receiver) = mpsc::channel(HEARD);
    let state = Arc::<ConnectionState>::default();
    let (opened, is_open) = std::sync::mpsc::channel();
    let (of_thread, shared) = (Arc::clone(&life), Arc::clone(&state));
    let run = move || {
        let opening = super::runtime().and_then(|runtime| {
            let control = Control {
                connector,
                runtime,
                life: of_thread,
                state: shared,
                heard,
                link: None,
                lost: None,
                keeps_single_ones_away: false,
                metrics,
            };
            control.open()
        });
        match opening {
            Ok(control) => {
                let _ = opened.send(Ok(()));
                control.run(asked, stopped);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        }
    };
    let thread = std::thread::Builder::new().name("store-control".to_owned()).spawn(run);
    let handle = thread.map_err(OpenError::Thread)?;
    let died = |_| OpenError::Thread(std::io::Error::other("the store's thread panicked while opening it"));
    is_open.recv().map_err(died)??;
    let shared = Shared { questions, life, state, heard: Mutex::new(Some(receiver)) };
    Ok((Membership(Arc::new(shared)), ControlThread { handle, stop }))
}

impl Control {
    fn open(mut self) -> Result<Self, OpenError> {
        let connector = self.connector.clone();
        let link = self.connect().map_err(|error| connector.error(&error))?;
        migrate::migrate(&link, &connector)?;
        serve::refuse_pooler(&link).map_err(|error| connector.error(&error))?;
        self.begin(&link).map_err(|error| connector.error(&error))?;
        self.link = Some(link);
        self.enter().map_err(|error| connector.error(&error))?;
        Ok(self)
    }

    fn run(mut self, mut asked: mpsc::Receiver<Question>, mut stopped: mpsc::Receiver<()>) {
        let runtime = Rc::clone(&self.runtime);
        loop {
            // Meanwhile the connection is driven.
            let next = async {
                tokio::select! {
                    question = asked.recv() => question,
                    _ = stopped.recv() => None,
                }
            };
            match runtime.block_on(next) {
                Some(question) => question(&mut self),
                None => break,
            }
        }
        if let Some(link) = self.link.take_if(|link| !link.is_lost()) {
            let left = membership::leave(&link, self.life.get(), &self.connector.process)
                .and_then(|()| membership::notify(&link, &[MEMBERS_CHANGED.to_owned()]));
            if let Err(error) = left {
                tracing::debug!(%error, "this instance could not leave the database; others will notice that it is gone");
            }
        }
    }

    /// Enters as a new instance.
    fn enter(&mut self) -> Result<(), PostgresError> {
        let (name, process) = (instance_name(), self.connector.process.clone());
        let link = self.link()?;
        let id = membership::register(link, &name, &process, migrate::VERSION)?;
        self.life.set(id);
        Ok(())
    }

    /// Gives the connection up.
    fn lose(&mut self) {
        self.keeps_single_ones_away = false;
        if let Some(link) = self.link.take() {
            self.lost = Some(link.name.clone());
        }
    }

    /// The connection. Makes a lost one anew, once.
    fn link(&mut self) -> Result<&Link, PostgresError> {
        if self.link.as_ref().is_some_and(Link::is_lost) {
            self.lose();
        }
        if self.link.is_none() {
            let link = self.connect()?;
            if let Some(lost) = &self.lost {
                serve::end_session(&link, lost)?;
            }
            // A session that the server still ends keeps its lock for a moment.
            if self.life.get() != 0 && !membership::take_presence(&link, self.life.get())? {
                return Err(PostgresError::Lost("the server still has the session before".to_owned()));
            }
            self.begin(&link)?;
            tracing::info!("the control connection to PostgreSQL was lost and is made anew");
            self.lost = None;
            self.link = Some(link);
        }
        self.link.as_ref().ok_or_else(|| PostgresError::Lost("there is no connection".to_owned()))
    }

    fn connect(&self) -> Result<Link, PostgresError> {
        let (state, heard) = (Arc::clone(&self.state), self.heard.clone());
        let number = self.state.number.fetch_add(1, Ordering::AcqRel) + 1;
        let on_event: OnEvent = Box::new(move |event| match event {
            Event::Notified(payload) => {
                if heard.try_send(Heard::Told(payload)).is_err() {
                    state.has_missed.store(true, Ordering::Release);
                }
            }
            // Of a connection that has been replaced already it tells nothing.
            Event::Ended if state.number.load(Ordering::Acquire) == number => {
                state.is_connected.store(false, Ordering::Release);
            }
            Event::Ended => {}
        });
        let link = self.connector.connect_and_hear(&self.runtime, Some(on_event))?;
        let listen = format!("LISTEN {}", membership::channel(&link));
        link.ask(async |client| client.batch_execute(&listen).await)?;
        Ok(link)
    }

    /// What must be done before this instance counts as connected, and may send.
    fn begin(&self, link: &Link) -> Result<(), PostgresError> {
        if membership::note_failover(link)? {
            self.metrics.record_failover();
            tracing::error!(
                "another PostgreSQL server has taken the place of the one before; what was committed last may be lost. \
                 Messages of the last minute to IM are looked up before they are sent, and those to WeChat become unknown"
            );
        }
        self.state.is_connected.store(true, Ordering::Release);
        if self.heard.try_send(Heard::Missed).is_err() {
            self.state.has_missed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// The machine and the process.
fn instance_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host: String = if host.is_empty() { "localhost" } else { host }.chars().take(64).collect();
    format!("{host} {}", std::process::id())
}
