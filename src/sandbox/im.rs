//! The simulated Tencent IM: the REST API over HTTP, agents at their clients, and the webhooks to
//! the bridge. The API is as strict as the reference allows.
//!
//! It must never use the bridge's own code for IM. It has its own code to verify UserSig and to
//! sign webhooks.

mod accounts;
mod callback;
mod checks;
mod control;
mod deliver;
mod agent_client;
mod elements;
mod exchange;
mod files;
mod history;
mod ledger;
mod messages;
mod msg_key;
mod presence;
mod retract;
mod roam;
mod settings;
mod shown;
mod uikit;
mod upload;
mod usersig;
mod wire;

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};

pub use accounts::Account;
pub use agent_client::{AgentClient, MessageView, Platform, SentMessage, TimedOut};
pub use callback::{CallbackResult, Query, sign};
pub use checks::ApiError;
pub use exchange::{Direction, Exchange};
pub use ledger::{AccountChangeKind, Ledger, Outcome, SendRecord};
pub use settings::{Edition, Settings};
pub use shown::Shown;
pub use upload::UploadedFile;
#[cfg(test)]
pub(in crate::sandbox) use usersig::issue as issue_usersig;

use crate::clock::Clock;
use crate::sandbox::fault::Faults;
use crate::sandbox::instance::Instance;
use crate::sandbox::serve::{self, Server, only_date, with_date};

/// The number of exchanges that a watcher may lag behind before it misses some.
const WIRE_BUFFER: usize = 1024;
/// The most concurrent webhooks that REST calls cause.
const MAX_WEBHOOKS: usize = 1024;

/// The simulated platform. It stops when dropped.
pub struct ImSim {
    shared: Arc<Shared>,
    server: Server,
    router: Router,
    /// The listeners for one of several bridges each.
    entrances: Vec<Server>,
}

/// The state that the HTTP side, the agent clients and the handle share.
struct Shared {
    settings: RwLock<Arc<Settings>>,
    base_url: String,
    clock: Clock,
    faults: Faults,
    world: Mutex<World>,
    changed: watch::Sender<()>,
    wire: broadcast::Sender<Arc<Exchange>>,
    started_calls: broadcast::Sender<Arc<Exchange>>,
    http: reqwest::Client,
    webhook_permits: Arc<Semaphore>,
    client_seq: AtomicU32,
    files: Mutex<files::Files>,
    /// The number of webhooks of agents' messages still to be lost on purpose.
    webhooks_to_lose: AtomicU32,
    /// What the composers of agents' kits have signalled, by agent and customer. Never more than conversations.
    composers: Mutex<HashMap<(String, String), uikit::Composer>>,
}

/// The data that commands read and change under one lock.
#[derive(Default)]
struct World {
    accounts: accounts::Accounts,
    messages: history::Messages,
    recorder: ledger::Recorder,
    buckets: checks::Buckets,
}

impl ImSim {
    /// Starts the platform and imports its admins. Fails if the address cannot be bound.
    pub async fn start(settings: Settings, clock: Clock) -> std::io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let http = crate::http_client::loopback().redirect(reqwest::redirect::Policy::none());
        let shared = Arc::new(Shared {
            settings: RwLock::new(Arc::new(settings)),
            base_url: format!("http://{}", listener.local_addr()?),
            clock,
            faults: Faults::default(),
            world: Mutex::default(),
            changed: watch::Sender::default(),
            wire: broadcast::Sender::new(WIRE_BUFFER),
            started_calls: broadcast::Sender::new(WIRE_BUFFER),
            http: http.build().map_err(std::io::Error::other)?,
            webhook_permits: Arc::new(Semaphore::new(MAX_WEBHOOKS)),
            client_seq: AtomicU32::new(1),
            files: Mutex::default(),
            webhooks_to_lose: AtomicU32::new(0),
            composers: Mutex::default(),
        });
        let admins = shared.settings().admins.clone();
        for admin in &admins {
            shared.import(admin).map_err(std::io::Error::other)?;
        }
        let router =
            control::routes().merge(files::routes()).fallback(wire::serve).with_state(Arc::clone(&shared));
        let router = router.route("/", axum::routing::get(only_date));
        let router = with_date(router, shared.clock.clone());
        let server = Server::start(listener, router.clone())?;
        Ok(Self { shared, server, router, entrances: Vec::new() })
    }

    /// Opens an address of its own for each of `count` bridges.
    pub(super) async fn open_entrances(&mut self, count: usize) -> std::io::Result<()> {
        let ip = self.server.address().ip();
        self.entrances = serve::entrances(ip, &self.router, count).await?;
        Ok(())
    }

    /// The base URL of the REST API for one of several bridges.
    pub(super) fn base_url_for(&self, instance: Option<Instance>) -> String {
        let entrance = instance.and_then(|instance| self.entrances.get(instance.index()));
        entrance.unwrap_or(&self.server).base_url()
    }

    /// The base URL of the REST API: `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// Sets the URL that receives webhooks.
    pub fn connect(&self, callback_url: impl Into<String>) {
        let url = callback_url.into();
        self.change(|settings| settings.callback_url = Some(url));
    }

    /// Changes the settings. Calls in progress keep the old ones.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut current = self.shared.settings.write();
        change(Arc::make_mut(&mut current));
    }

    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings()
    }

    /// The faults of coming API calls. An API is named by the end of its path (`openim/sendmsg`).
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Imports an account as the console does. Of the REST API's limits, only those on accounts
    /// apply.
    pub fn import(&self, user_id: &str) -> Result<(), ApiError> {
        self.shared.import(user_id)
    }

    /// The current data of an account. `None` if it is not imported.
    pub fn account(&self, user_id: &str) -> Option<Account> {
        self.shared.world().accounts.get(user_id).cloned()
    }

    /// Logs an agent in at a web client. Imports the account if it is not imported yet, as a login
    /// does.
    pub fn agent(&self, user_id: &str) -> Result<AgentClient, ApiError> {
        self.shared.import(user_id)?;
        let mut world = self.shared.world();
        world.accounts.set_connected(user_id, true);
        world.messages.connect(user_id, self.shared.clock.now());
        drop(world);
        Ok(AgentClient {
            shared: Arc::clone(&self.shared),
            user: user_id.to_owned(),
            platform: Platform::Web,
        })
    }

    /// Sends a webhook with any body after `tweak` has changed its valid query. Tests use it for
    /// forged, late or contradictory webhooks.
    pub async fn send_raw_callback(&self, body: &str, tweak: impl Fn(&mut Query)) -> CallbackResult {
        callback::send(&self.shared, &callback::Webhook::raw(body), tweak).await
    }

    /// Sends the webhook of an agent's message again, or for the first time if it was lost. The
    /// body is the same; the signature is new. `None` if the message caused no webhook.
    pub async fn repeat(&self, sent: &SentMessage) -> Option<CallbackResult> {
        Some(callback::send(&self.shared, sent.webhook.as_ref()?, |_| {}).await)
    }

    /// Loses the webhooks of the next `count` messages of agents. The messages stay in history.
    pub fn lose_next_callbacks(&self, count: u32) {
        self.shared.webhooks_to_lose.store(count, Ordering::Relaxed);
    }

    /// A copy of the ledger so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().recorder.ledger().clone()
    }

    /// Waits until `condition` holds for the ledger. The platform's data is locked while the
    /// condition runs.
    pub async fn wait_for(
        &self,
        mut condition: impl FnMut(&Ledger) -> bool,
        timeout: Duration,
    ) -> Result<(), TimedOut> {
        let mut changes = self.shared.changes();
        let wait = async {
            while !condition(self.shared.world().recorder.ledger()) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.map_err(|_| TimedOut(timeout))
    }

    /// Subscribes to every HTTP exchange from now on. A watcher that lags too far behind misses the
    /// oldest.
    pub fn events(&self) -> broadcast::Receiver<Arc<Exchange>> {
        self.shared.wire.subscribe()
    }

    /// Subscribes to every webhook from now on. Each event is sent before its request is, and so
    /// has no answer yet and precedes every effect of the webhook.
    pub fn started_calls(&self) -> broadcast::Receiver<Arc<Exchange>> {
        self.shared.started_calls.subscribe()
    }

    /// Stores a file as the platform stores the files of agents. Returns its URL.
    pub fn store_file(&self, name: &str, bytes: impl Into<bytes::Bytes>) -> String {
        let mut files = self.shared.files.lock();
        format!("{}{}", self.base_url(), files.add(name, bytes.into()))
    }

    /// Subscribes to changes of messages, accounts and read marks.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes()
    }

    /// Stops listening and cuts every connection.
    pub async fn stop(self) {
        join_all(self.entrances.iter().chain([&self.server]).map(Server::stop)).await;
    }
}

impl Shared {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }

    fn import(&self, user: &str) -> Result<(), ApiError> {
        let settings = self.settings();
        self.world().import(&settings, self.clock.now(), user, ("", ""))?;
        self.notify();
        Ok(())
    }

    /// Wakes all tasks that wait for a change.
    fn notify(&self) {
        self.changed.send_replace(());
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether to send the webhook of an agent's message. Counts down the webhooks to be lost.
    fn should_send_webhook(&self) -> bool {
        let counted_down = self
            .webhooks_to_lose
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted_down.is_err() && self.settings().callback_url.is_some()
    }

    fn has_watchers(&self) -> bool {
        self.wire.receiver_count() > 0
    }

    fn publish(&self, exchange: impl FnOnce() -> Exchange) {
        if self.has_watchers() {
            // Sending fails only if the last watcher has left since the check.
            let _ = self.wire.send(Arc::new(exchange()));
        }
    }
}
