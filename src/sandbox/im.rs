//! Tencent IM, simulated: the REST API over HTTP as strict as the reference allows, agents at their clients,
//! and the webhooks to the bridge.
//!
//! It must never use the bridge's own code for IM: it verifies UserSig and signs webhooks by itself.

mod accounts;
mod callback;
mod checks;
mod control;
mod deliver;
mod desk;
mod elements;
mod files;
mod history;
mod ledger;
mod messages;
mod roam;
mod settings;
mod upload;
mod usersig;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};

pub use accounts::Account;
pub use callback::{CallbackError, CallbackResult, Query, sign};
pub use checks::Refused;
pub use desk::{Desk, Seen, Sent, TimedOut};
pub use history::Message;
pub use ledger::{AccountChange, AccountChangeKind, Ledger, Outcome, RefusedCall, Send};
pub use settings::{BeforeSend, Edition, Generation, Settings, Webhooks};
pub use upload::Uploaded;
#[cfg(test)]
pub(in crate::sandbox) use usersig::issue as issue_usersig;
pub use wire::{Direction, Exchange};

use crate::clock::Clock;
use crate::sandbox::fault::Faults;
use crate::sandbox::serve::Served;

/// Exchanges that a slow watcher may lag behind before it loses some.
const WIRE_BUFFER: usize = 1024;
/// Webhooks under way at once that REST calls have caused.
const MAX_EMISSIONS: usize = 1024;

/// The simulated platform; stops when dropped.
pub struct ImSim {
    shared: Arc<Shared>,
    served: Served,
}

/// What the HTTP side, the desks and the handle share.
struct Shared {
    settings: RwLock<Arc<Settings>>,
    base_url: String,
    clock: Clock,
    faults: Faults,
    world: Mutex<World>,
    changed: watch::Sender<()>,
    wire: broadcast::Sender<Arc<Exchange>>,
    begun: broadcast::Sender<Arc<Exchange>>,
    http: reqwest::Client,
    emissions: Arc<Semaphore>,
    client_seq: AtomicU32,
    files: Mutex<files::Files>,
    /// How many agents' webhooks are still to be lost on purpose.
    to_lose: AtomicU32,
}

/// Everything that a command reads and changes at once.
#[derive(Default)]
struct World {
    accounts: accounts::Accounts,
    messages: history::Messages,
    book: ledger::Book,
    buckets: checks::Buckets,
}

impl ImSim {
    /// Starts the platform with its admins imported. Fails when the address cannot be bound.
    pub async fn start(settings: Settings, clock: Clock) -> std::io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let shared = Arc::new(Shared {
            settings: RwLock::new(Arc::new(settings)),
            base_url: format!("http://{}", listener.local_addr()?),
            clock,
            faults: Faults::default(),
            world: Mutex::default(),
            changed: watch::Sender::default(),
            wire: broadcast::Sender::new(WIRE_BUFFER),
            begun: broadcast::Sender::new(WIRE_BUFFER),
            http: http.build().map_err(std::io::Error::other)?,
            emissions: Arc::new(Semaphore::new(MAX_EMISSIONS)),
            client_seq: AtomicU32::new(1),
            files: Mutex::default(),
            to_lose: AtomicU32::new(0),
        });
        let admins = shared.settings().admins.clone();
        for admin in &admins {
            shared.import(admin).map_err(std::io::Error::other)?;
        }
        let router =
            control::routes().merge(files::routes()).fallback(wire::serve).with_state(Arc::clone(&shared));
        let served = Served::start(listener, router)?;
        Ok(Self { shared, served })
    }

    /// Where the REST API is: `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.served.address())
    }

    /// Sets where webhooks go.
    pub fn connect(&self, callback_url: impl Into<String>) {
        let url = callback_url.into();
        self.change(|settings| settings.callback_url = Some(url));
    }

    /// Changes the settings; calls that are under way keep the old ones.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut current = self.shared.settings.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings()
    }

    /// Faults for coming calls, by the end of their path (`openim/sendmsg`).
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Imports an account as the console would, past all limits of the REST API but those on accounts.
    pub fn import(&self, user_id: &str) -> Result<(), Refused> {
        self.shared.import(user_id)
    }

    /// An account as it is now; `None` when it is not imported.
    pub fn account(&self, user_id: &str) -> Option<Account> {
        self.shared.world().accounts.get(user_id).cloned()
    }

    /// Logs an agent in at a web client, which imports the account if need be (a login does so too).
    pub fn agent(&self, user_id: &str) -> Result<Desk, Refused> {
        self.shared.import(user_id)?;
        let mut world = self.shared.world();
        world.accounts.set_connected(user_id, true);
        world.messages.connect(user_id, self.shared.clock.now());
        drop(world);
        Ok(Desk { shared: Arc::clone(&self.shared), user: user_id.to_owned() })
    }

    /// Sends a webhook with any body, once its right query has been bent by `tweak`: forged, late, contradictory.
    pub async fn emit_callback(&self, body: &str, tweak: impl Fn(&mut Query)) -> CallbackResult {
        callback::emit(&self.shared, &callback::Emission::raw(body), tweak).await
    }

    /// Sends the webhook of an agent's message again, or for the first time if it was lost: the same body, signed
    /// anew. `None` when the message caused none.
    pub async fn repeat(&self, sent: &Sent) -> Option<CallbackResult> {
        Some(callback::emit(&self.shared, sent.emission.as_ref()?, |_| {}).await)
    }

    /// The webhooks of the next `count` messages of agents get lost; the messages stay in history.
    pub fn lose_next_callbacks(&self, count: u32) {
        self.shared.to_lose.store(count, Ordering::Relaxed);
    }

    /// What was accepted, refused and changed so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().book.ledger().clone()
    }

    /// Waits until `condition` holds for the ledger, which is locked while it is looked at.
    pub async fn wait_for(
        &self,
        mut condition: impl FnMut(&Ledger) -> bool,
        timeout: Duration,
    ) -> Result<(), TimedOut> {
        let mut changes = self.shared.changes();
        let wait = async {
            while !condition(self.shared.world().book.ledger()) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.map_err(|_| TimedOut(timeout))
    }

    /// Every HTTP exchange from now on; a watcher that lags too far behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Arc<Exchange>> {
        self.shared.wire.subscribe()
    }

    /// Every webhook from now on before it is made, and so before anything can come of it: without an answer yet.
    pub fn begun(&self) -> broadcast::Receiver<Arc<Exchange>> {
        self.shared.begun.subscribe()
    }

    /// Keeps a file as the platform does with what an agent sends, and gives its URL.
    pub fn keep_file(&self, name: &str, bytes: impl Into<bytes::Bytes>) -> String {
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}{}", self.base_url(), files.keep(name, bytes.into()))
    }

    /// Tells that something has changed: a message, an account, what has been read.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes()
    }

    /// Stops listening and cuts every connection.
    pub async fn stop(self) {
        self.served.stop().await;
    }
}

impl Shared {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn import(&self, user: &str) -> Result<(), Refused> {
        let settings = self.settings();
        self.world().import(&settings, self.clock.now(), user, accounts::Profile::default())?;
        self.ring();
        Ok(())
    }

    /// Wakes everyone who waits for something to happen.
    fn ring(&self) {
        self.changed.send_replace(());
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether an agent's webhook goes out; counts those that are to be lost.
    fn may_emit(&self) -> bool {
        let lost =
            self.to_lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        lost.is_err() && self.settings().callback_url.is_some()
    }

    fn watched(&self) -> bool {
        self.wire.receiver_count() > 0
    }

    fn tell(&self, exchange: impl FnOnce() -> Exchange) {
        if self.watched() {
            // Fails only when the last watcher has just gone.
            let _ = self.wire.send(Arc::new(exchange()));
        }
    }
}
