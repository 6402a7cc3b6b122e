//! The sandbox for people: both platforms, the bridge as a process of its own between them, and the page on which to
//! play everyone.
//!
//! Whatever the page does it does to the platforms, as a customer or an agent would; only they call the bridge.

mod act;
mod book;
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

pub use act::{AgentDoes, CustomerDoes, Refused};
pub use book::{Book, Busy, Change, Drill, Since, Stage as DrillStage};
pub use figures::{Counters, Sum};
pub use view::{event, state};

use super::child::{self, Child};
use super::drill::DRILLS;
use super::page_server;
use super::script;
use super::serve::Served;
use super::stage::{self, Stage};
use super::wechat::{Mode, Phone};
use super::wire::Secrets;
use crate::clock::Clock;
use crate::config::Texts;

/// Customers there may be before the page makes no more.
const MAX_CUSTOMERS: usize = 50;
/// Those that are there from the start.
const FIRST_CUSTOMERS: usize = 3;
/// Calls that the state has.
const WIRE_SHOWN: usize = 200;
/// Readers of events at once.
const MAX_READERS: usize = 32;
/// Doings that are under way at once.
const MAX_DOINGS: usize = 64;

/// What differs from one sandbox to the next.
pub struct Settings {
    /// The binary of the bridge.
    pub program: PathBuf,
    /// Variables that the bridge gets.
    pub environment: Vec<(String, String)>,
    /// Where the page is served.
    pub listen: SocketAddr,
    /// The texts that the bridge has.
    pub texts: Texts,
}

/// The sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("the simulated platforms or the page cannot be served")]
    Io(#[from] io::Error),
    #[error("the bridge cannot be started")]
    Bridge(#[from] child::Failed),
}

/// Everything that the page, the drills and the watchers share.
pub struct Live {
    pub stage: Arc<Stage>,
    /// WeChat's, which drills move; everyone else lives in real time.
    pub clock: Clock,
    pub child: Child,
    pub book: Book,
    pub texts: Texts,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub http: reqwest::Client,
    names: Mutex<HashMap<String, String>>,
    next_customer: AtomicUsize,
    figures: Mutex<Sum>,
    ready: Mutex<String>,
    /// Who may act: closed while the script is played, so that nobody steps on its stage.
    gate: tokio::sync::watch::Sender<bool>,
    readers: Arc<tokio::sync::Semaphore>,
    watched: tokio::sync::watch::Sender<usize>,
    doings: Arc<tokio::sync::Semaphore>,
}

/// The running sandbox.
pub struct Sandbox {
    live: Arc<Live>,
    served: Served,
}

impl Sandbox {
    /// Starts both platforms, the bridge and the page, and waits until the bridge is ready.
    pub async fn start(settings: Settings) -> Result<Self, Failed> {
        let listener = TcpListener::bind(settings.listen).await?;
        let clock = Clock::movable();
        let mut platforms = stage::Settings::default();
        // So that what is encrypted can be seen beside what is in it.
        platforms.wechat.mode = Mode::Safe;
        // Three requests ride out a restart of the bridge.
        platforms.wechat.retry_pause = std::time::Duration::from_millis(1_500);
        let stage = Arc::new(Stage::start_apart(clock.clone(), Clock::system(), platforms).await?);
        let (configured, moved) = (Arc::clone(&stage), Arc::clone(&stage));
        let child = Child::start(child::Settings {
            program: settings.program,
            environment: settings.environment,
            config: Box::new(move |addresses, store| {
                configured.config_toml(addresses.public, addresses.ops, store)
            }),
            moved: Box::new(move |addresses| moved.connect(&format!("http://{}", addresses.public))),
        })
        .await?;
        let live = Arc::new(Live {
            clock,
            child,
            book: Book::new(DRILLS.len()),
            texts: settings.texts,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            http: client().map_err(io::Error::other)?,
            names: Mutex::default(),
            next_customer: AtomicUsize::new(1),
            figures: Mutex::default(),
            ready: Mutex::new("ok".to_owned()),
            gate: tokio::sync::watch::Sender::new(true),
            readers: Arc::new(tokio::sync::Semaphore::new(MAX_READERS)),
            watched: tokio::sync::watch::Sender::new(0),
            doings: Arc::new(tokio::sync::Semaphore::new(MAX_DOINGS)),
            stage,
        });
        for _ in 0..FIRST_CUSTOMERS {
            live.add_customer(None);
        }
        watch::start(&live);
        let served = Served::start(listener, page_server::router(Arc::clone(&live)))?;
        Ok(Self { live, served })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// What the page draws from.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Where the bridge takes pushes.
    pub fn bridge_url(&self) -> String {
        format!("http://{}", self.live.child.status().borrow().addresses.public)
    }

    /// Plays the script's beginning on this stage, where it can be watched; until it ends nobody else acts.
    pub async fn play(&self, transcript: &mut impl io::Write) -> Result<(), script::Failed> {
        self.live.gate.send_replace(false);
        self.live.call(script::CUSTOMER, "Script".to_owned());
        let played = script::introduce(&self.live.stage, &self.live.texts, transcript).await;
        self.live.gate.send_replace(true);
        played
    }

    /// Ends the page, the bridge and the platforms, and waits until nothing is left of them.
    pub async fn stop(self) {
        self.live.stop.cancel();
        self.served.stop().await;
        self.live.tasks.close();
        self.live.tasks.wait().await;
        self.live.child.stop().await;
        // Nobody else holds it any more, else the platforms end with the last who does.
        if let Some(stage) = Arc::into_inner(self.live).and_then(|live| Arc::into_inner(live.stage)) {
            stage.stop().await;
        }
    }
}

impl Live {
    /// What a secret is here.
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

    /// What a customer is called on the page.
    fn name(&self, openid: &str) -> String {
        lock(&self.names).get(openid).cloned().unwrap_or_else(|| openid.to_owned())
    }

    /// A new customer, who does not follow yet.
    fn add_customer(&self, name: Option<String>) -> Phone {
        let number = self.next_customer.fetch_add(1, Ordering::Relaxed);
        let openid = format!("oSandboxPageCustomer{number:08}");
        self.call(&openid, name.unwrap_or_else(|| format!("Customer {number}")));
        self.stage.wechat.customer(&openid)
    }

    /// Calls a customer so from now on.
    pub fn call(&self, openid: &str, name: String) {
        lock(&self.names).insert(openid.to_owned(), name);
    }

    fn figures(&self) -> MutexGuard<'_, Sum> {
        lock(&self.figures)
    }

    /// What the bridge last said of its readiness.
    fn ready(&self) -> String {
        lock(&self.ready).clone()
    }

    /// Begins a drill, unless one is running. `None` where there is none of this name.
    pub fn begin_drill(self: &Arc<Self>, name: &str) -> Option<Result<(), Busy>> {
        let at = DRILLS.iter().position(|drill| drill.name == name)?;
        let busy = self.book.begin_drill(at);
        if busy.is_ok() {
            let live = Arc::clone(self);
            self.tasks.spawn(async move {
                let began = tokio::time::Instant::now();
                let outcome = tokio::select! {
                    outcome = super::drill::run(&live, &DRILLS[at]) => outcome,
                    () = live.stop.cancelled() => return,
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
                live.book.end_drill(at, Drill { state, outcome: Some(outcome), took_ms: Some(took_ms) });
            });
        }
        Some(busy)
    }

    /// A place among the readers of events, while there is one.
    pub fn reader(self: &Arc<Self>) -> Option<Reader> {
        let place = Arc::clone(&self.readers).try_acquire_owned().ok()?;
        self.watched.send_modify(|readers| *readers += 1);
        Some(Reader { live: Arc::clone(self), _place: place })
    }
}

/// Somebody is looking, as long as this exists.
pub struct Reader {
    pub live: Arc<Live>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.live.watched.send_modify(|readers| *readers -= 1);
    }
}

/// Asks where it is told to and nowhere else.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}

/// A panic elsewhere leaves these values whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
