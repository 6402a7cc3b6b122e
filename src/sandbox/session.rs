//! The interactive sandbox: both platforms, the bridge between them as a process of its own, and a
//! page on which people play customers and agents.
//!
//! The page acts only on the platforms, as a customer or an agent would. Only the platforms call
//! the bridge.

mod actions;
mod event_log;
mod figures;
mod view;
mod watch;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use actions::{ActionError, AgentAction, CustomerAction};
pub use event_log::{Busy, Change, ChangeBatch, DrillPhase as DrillStage, DrillState, EventLog};
pub use figures::{CounterTotals, Counters};
pub use view::{event, state};

use super::child::{self, Child};
use super::drill::DRILLS;
use super::page_server;
use super::script;
use super::serve::Server;
use super::stage::{self, Stage};
use super::wechat::{Mode, Phone};
use super::wire::Secrets;
use crate::clock::Clock;
use crate::config::Texts;

/// Customers that may exist; beyond this the page adds no more.
const MAX_CUSTOMERS: usize = 50;
/// Customers that exist from the start.
const INITIAL_CUSTOMERS: usize = 3;
/// Calls that the state contains.
const SNAPSHOT_CALLS: usize = 200;
/// Readers of events at the same time.
const MAX_READERS: usize = 32;
/// Actions of customers and agents that may run at the same time.
const MAX_ACTIONS: usize = 64;

/// The settings of a sandbox.
pub struct Settings {
    /// The path of the bridge's binary.
    pub program: PathBuf,
    /// Environment variables for the bridge.
    pub environment: Vec<(String, String)>,
    /// The address on which the page is served.
    pub listen: SocketAddr,
    /// The texts that the bridge uses.
    pub texts: Texts,
}

/// The reasons why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound, or a setting of a platform is invalid.
    #[error("cannot serve the simulated platforms or the page")]
    Io(#[from] io::Error),
    /// The bridge did not become ready.
    #[error("cannot start the bridge")]
    Bridge(#[from] child::ChildError),
}

/// The state that the page, the drills and the watchers share.
pub struct Session {
    /// Both simulated platforms.
    pub stage: Arc<Stage>,
    /// WeChat's clock, which drills move. IM and the bridge use the system's clock.
    pub clock: Clock,
    /// The bridge's process.
    pub child: Child,
    /// Calls, drills, latencies and the numbered changes that the page reads.
    pub event_log: EventLog,
    /// The texts that the bridge uses.
    pub texts: Texts,
    /// Every background task of the sandbox.
    pub tasks: TaskTracker,
    /// Cancelled when the sandbox stops.
    pub stop: CancellationToken,
    /// The client for the bridge's operations listener and for media. It follows no redirect and
    /// uses no proxy.
    pub http: reqwest::Client,
    customer_names: Mutex<HashMap<String, String>>,
    next_customer: AtomicUsize,
    totals: Mutex<CounterTotals>,
    readiness: Mutex<String>,
    /// Whether customers and agents may act. It is `false` while the script runs, so that nothing
    /// disturbs it.
    may_act: tokio::sync::watch::Sender<bool>,
    reader_permits: Arc<tokio::sync::Semaphore>,
    reader_count: tokio::sync::watch::Sender<usize>,
    action_permits: Arc<tokio::sync::Semaphore>,
}

/// The running sandbox.
pub struct Sandbox {
    session: Arc<Session>,
    served: Server,
}

impl Sandbox {
    /// Starts both platforms, the bridge and the page, and waits until the bridge is ready.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let listener = TcpListener::bind(settings.listen).await?;
        let clock = Clock::movable();
        let mut platforms = stage::Settings::default();
        // In safe mode the page shows the encrypted body beside the decrypted one.
        platforms.wechat.mode = Mode::Safe;
        // WeChat's three requests then outlast a restart of the bridge.
        platforms.wechat.retry_pause = std::time::Duration::from_millis(1_500);
        let stage = Arc::new(Stage::start_with_clocks(clock.clone(), Clock::system(), platforms).await?);
        let (configured, moved) = (Arc::clone(&stage), Arc::clone(&stage));
        let child = Child::start(child::Settings {
            program: settings.program,
            environment: settings.environment,
            config: Box::new(move |addresses, store| {
                configured.config_toml(addresses.public, addresses.ops, store)
            }),
            on_move: Box::new(move |addresses| moved.connect(&format!("http://{}", addresses.public))),
        })
        .await?;
        let session = Arc::new(Session {
            clock,
            child,
            event_log: EventLog::new(DRILLS.len()),
            texts: settings.texts,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            http: http_client().map_err(io::Error::other)?,
            customer_names: Mutex::default(),
            next_customer: AtomicUsize::new(1),
            totals: Mutex::default(),
            readiness: Mutex::new("ok".to_owned()),
            may_act: tokio::sync::watch::Sender::new(true),
            reader_permits: Arc::new(tokio::sync::Semaphore::new(MAX_READERS)),
            reader_count: tokio::sync::watch::Sender::new(0),
            action_permits: Arc::new(tokio::sync::Semaphore::new(MAX_ACTIONS)),
            stage,
        });
        for _ in 0..INITIAL_CUSTOMERS {
            session.add_customer(None);
        }
        watch::start(&session);
        let served = Server::start(listener, page_server::router(Arc::clone(&session)))?;
        Ok(Self { session, served })
    }

    /// The address of the page.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// The shared state of this sandbox.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The base URL of the bridge's public listener.
    pub fn bridge_url(&self) -> String {
        format!("http://{}", self.session.child.status().borrow().addresses.public)
    }

    /// Runs the documented scenario of the script on this stage, visible on the page. Until it
    /// ends, customers and agents cannot act.
    pub async fn play(&self, transcript: &mut impl io::Write) -> Result<(), script::ScriptError> {
        self.session.may_act.send_replace(false);
        self.session.set_name(script::CUSTOMER, "Script".to_owned());
        let result = script::play_scenario(&self.session.stage, &self.session.texts, transcript).await;
        self.session.may_act.send_replace(true);
        result
    }

    /// Stops the page, the bridge and the platforms, and waits until all of them have ended.
    pub async fn stop(self) {
        self.session.stop.cancel();
        self.served.stop().await;
        self.session.tasks.close();
        self.session.tasks.wait().await;
        self.session.child.stop().await;
        // If another owner is left, the platforms stop when that owner drops the stage.
        if let Some(stage) = Arc::into_inner(self.session).and_then(|live| Arc::into_inner(live.stage)) {
            stage.stop().await;
        }
    }
}

impl Session {
    /// The secrets of both platforms, which the page must not show.
    fn secrets(&self) -> Secrets {
        let (wechat, im) = (self.stage.wechat.settings(), self.stage.im.settings());
        let callback_token = im.callback_token.as_ref().map(|token| token.expose_secret().to_owned());
        Secrets::new([
            wechat.token.clone(),
            wechat.app_secret.clone(),
            wechat.encoding_aes_key.clone(),
            im.secret_key.expose_secret().to_owned(),
            callback_token.unwrap_or_default(),
        ])
    }

    /// The name of a customer on the page, or the openid if none is set.
    fn name_of(&self, openid: &str) -> String {
        lock(&self.customer_names).get(openid).cloned().unwrap_or_else(|| openid.to_owned())
    }

    /// Adds a customer who does not follow yet.
    fn add_customer(&self, name: Option<String>) -> Phone {
        let number = self.next_customer.fetch_add(1, Ordering::Relaxed);
        let openid = format!("oSandboxPageCustomer{number:08}");
        self.set_name(&openid, name.unwrap_or_else(|| format!("Customer {number}")));
        self.stage.wechat.customer(&openid)
    }

    /// Sets the name of a customer on the page.
    pub fn set_name(&self, openid: &str, name: String) {
        lock(&self.customer_names).insert(openid.to_owned(), name);
    }

    fn totals(&self) -> MutexGuard<'_, CounterTotals> {
        lock(&self.totals)
    }

    /// The bridge's last status from `/readyz`.
    fn readiness(&self) -> String {
        lock(&self.readiness).clone()
    }

    /// Begins a drill, unless one is running. `None` if no drill has this name.
    pub fn begin_drill(self: &Arc<Self>, name: &str) -> Option<Result<(), Busy>> {
        let at = DRILLS.iter().position(|drill| drill.name == name)?;
        let busy = self.event_log.begin_drill(at);
        if busy.is_ok() {
            let session = Arc::clone(self);
            self.tasks.spawn(async move {
                let began = tokio::time::Instant::now();
                let outcome = tokio::select! {
                    outcome = super::drill::run(&session, &DRILLS[at]) => outcome,
                    () = session.stop.cancelled() => return,
                };
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let name = DRILLS[at].name;
                let (state, outcome) = match outcome {
                    Ok(values) => {
                        (DrillStage::Passed, json!({"key": format!("drill.{name}.passed"), "values": values}))
                    }
                    Err(missed) => {
                        (DrillStage::Failed, json!({"key": format!("drill.{name}.failed"), "values": missed}))
                    }
                };
                session
                    .event_log
                    .end_drill(at, DrillState { state, outcome: Some(outcome), took_ms: Some(took_ms) });
            });
        }
        Some(busy)
    }

    /// Registers a reader of events. `None` if there are too many.
    pub fn reader(self: &Arc<Self>) -> Option<Reader> {
        let permit = Arc::clone(&self.reader_permits).try_acquire_owned().ok()?;
        self.reader_count.send_modify(|readers| *readers += 1);
        Some(Reader { session: Arc::clone(self), _permit: permit })
    }
}

/// A registered reader of events, until it is dropped.
pub struct Reader {
    /// The state that it reads.
    pub session: Arc<Session>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.session.reader_count.send_modify(|readers| *readers -= 1);
    }
}

/// Connects only to the given URL: it follows no redirect and uses no proxy.
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}

/// Ignores poisoning: each value changes in one step, so a panic elsewhere leaves it consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
