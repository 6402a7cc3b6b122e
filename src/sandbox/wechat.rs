//! The simulated WeChat platform. It pushes the actions of customers to the bridge, serves the APIs
//! that the bridge calls, and records both.
//!
//! It is written from the reference alone and is as strict as the reference allows. It must not use
//! the bridge's own signature, encryption or parsing code, because it exists to contradict that
//! code.
//!
//! ```text
//! Phone ▶ Draft ▶ push ▶ (HTTP) bridge ▶ reply ▶ Phone::screen
//! bridge ▶ (HTTP) api ▶ tokens, send, media ▶ Phone::screen, Ledger
//! ```

mod api;
mod codes;
mod control;
pub mod crypto;
mod customer;
mod draft;
mod language;
mod ledger;
mod media;
mod phone;
mod push;
mod reply;
mod request;
mod screen;
mod send;
mod settings;
mod timeline;
mod tokens;
mod user_info;
mod voice;
mod window;
mod wire;
mod xml;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::sandbox::fault::Faults;
use crate::sandbox::instance::Instance;
use crate::sandbox::serve::{self, Server, only_date, with_date};

pub use draft::Draft;
pub use language::PhoneLanguage;
pub use ledger::{Ledger, Refusal};
pub use media::{Media, tiny_png};
pub use phone::Phone;
pub use push::PushResult;
pub use request::{Attempt, Query};
pub use screen::{ScreenEntry, Via};
pub use settings::{Mode, Settings, WindowRule};
pub use timeline::{CustomerAction, TimelineEntry, TimelineEvent};
pub use wire::{Direction, WireEvent};
pub use xml::Field;

/// The number of events that a watcher may lag behind before it misses some.
const WIRE_BACKLOG: usize = 1024;
/// The base of every MsgId. The start time in microseconds since 1970 is added to it, so that a
/// MsgId has 17 digits and a restart does not repeat one.
const FIRST_MSG_ID: u64 = 24_300_000_000_000_000;

/// The running platform. It stops when dropped.
#[derive(Debug)]
pub struct WechatSim {
    platform: Arc<Platform>,
    server: Server,
    router: Router,
    /// The listeners for one of several bridges each.
    entrances: Vec<Server>,
}

/// The state that the APIs, the phones and the handle share.
struct Platform {
    clock: Clock,
    base_url: String,
    settings: Mutex<Arc<Settings>>,
    faults: Faults,
    /// Customers by openid. The control routes limit how many they add; tests limit their own.
    customers: Mutex<HashMap<String, Arc<customer::Customer>>>,
    tokens: Mutex<tokens::Tokens>,
    media: Mutex<media::MediaStore>,
    /// The names of the account's tags.
    tags: Mutex<Vec<String>>,
    ledger: Mutex<Ledger>,
    ledger_changed: watch::Sender<()>,
    wire: broadcast::Sender<Arc<WireEvent>>,
    started_calls: broadcast::Sender<Arc<WireEvent>>,
    /// Sends the openid of each customer whose timeline or state changed.
    customer_changes: broadcast::Sender<Arc<str>>,
    http: reqwest::Client,
    next_msg_id: AtomicU64,
    mark_fail: Mutex<push::MarkFail>,
}

impl WechatSim {
    /// Starts the platform on `settings.listen`. Fails if the address is taken or the
    /// EncodingAESKey is malformed.
    pub async fn start(settings: Settings, clock: Clock) -> io::Result<Self> {
        Self::start_with_date(settings, clock.clone(), clock).await
    }

    /// Like [`Self::start`], but the `Date` of the answers shows the time of `date`. So `clock` may
    /// be moved to close a window, without WeChat's own clock seeming wrong.
    pub async fn start_with_date(settings: Settings, clock: Clock, date: Clock) -> io::Result<Self> {
        settings.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(settings.listen).await?;
        let http = crate::http_client::loopback()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(256)
            .build()
            .map_err(io::Error::other)?;
        let start_micros = u64::try_from(clock.now().0).unwrap_or_default() * 1000;
        let platform = Arc::new(Platform {
            base_url: format!("http://{}", listener.local_addr()?),
            settings: Mutex::new(Arc::new(settings)),
            faults: Faults::default(),
            customers: Mutex::default(),
            tokens: Mutex::default(),
            media: Mutex::default(),
            tags: Mutex::default(),
            ledger: Mutex::default(),
            ledger_changed: watch::Sender::new(()),
            wire: broadcast::Sender::new(WIRE_BACKLOG),
            started_calls: broadcast::Sender::new(WIRE_BACKLOG),
            customer_changes: broadcast::Sender::new(WIRE_BACKLOG),
            http,
            next_msg_id: AtomicU64::new(FIRST_MSG_ID + start_micros),
            mark_fail: Mutex::default(),
            clock,
        });
        let router = api::router(platform.clone()).route("/", axum::routing::get(only_date));
        let router = with_date(router, date);
        let server = Server::start(listener, router.clone())?;
        Ok(Self { platform, server, router, entrances: Vec::new() })
    }

    /// Opens an address of its own for each of `count` bridges.
    pub(super) async fn open_entrances(&mut self, count: usize) -> io::Result<()> {
        let ip = self.server.address().ip();
        self.entrances = serve::entrances(ip, &self.router, count).await?;
        Ok(())
    }

    /// The base URL of the APIs for one of several bridges.
    pub(super) fn base_url_for(&self, instance: Option<Instance>) -> String {
        let entrance = instance.and_then(|instance| self.entrances.get(instance.index()));
        entrance.map_or_else(|| self.base_url().to_owned(), Server::base_url)
    }

    /// The base URL of the APIs, for the bridge's `wechat.api_base`.
    pub fn base_url(&self) -> &str {
        &self.platform.base_url
    }

    /// Sets the URL that receives pushes, as the console does.
    pub fn connect(&self, bridge_url: &str) {
        self.platform.change(|settings| settings.bridge_url = Some(bridge_url.to_owned()));
    }

    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.platform.settings()
    }

    /// Changes settings at run time. Changes nothing if the new EncodingAESKey is malformed.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), crypto::CryptoError> {
        let mut settings = self.platform.settings().as_ref().clone();
        change(&mut settings);
        settings.check()?;
        *self.platform.settings.lock() = Arc::new(settings);
        Ok(())
    }

    /// Sets whether the account is a personal one, which may not call `custom/*` (48001).
    pub fn set_personal(&self, personal: bool) {
        self.platform.change(|settings| settings.personal = personal);
    }

    /// The faults of coming API calls. An API is named by the end of its path
    /// (`message/custom/send`).
    pub fn faults(&self) -> &Faults {
        &self.platform.faults
    }

    /// The customer with this openid. Creates one who does not follow if the openid is unknown.
    pub fn customer(&self, openid: &str) -> Phone {
        self.platform.phone(openid)
    }

    /// Makes every access token invalid (40001), as a forced refresh by another program does.
    pub fn revoke_tokens(&self) {
        self.platform.tokens.lock().revoke_all();
    }

    /// Refuses all tokens, and goes on handing the stable one out until it is forced to make another.
    pub fn distrust_tokens(&self) {
        self.platform.tokens.lock().distrust_all();
    }

    /// Makes every access token expire now (42001).
    pub fn expire_tokens(&self) {
        self.platform.tokens.lock().expire_all(self.platform.clock.now());
    }

    /// A copy of the ledger so far.
    pub fn ledger(&self) -> Ledger {
        self.platform.ledger.lock().clone()
    }

    /// Waits until the ledger fulfils `condition`. Returns false if it does not within `timeout`.
    ///
    /// The ledger is locked while the condition runs, so the condition must not use any other part
    /// of the platform.
    pub async fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&Ledger) -> bool) -> bool {
        let mut changed = self.platform.ledger_changed.subscribe();
        let fulfilled = async {
            while !condition(&self.platform.ledger.lock()) {
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(timeout, fulfilled).await.is_ok()
    }

    /// Subscribes to every call from now on, made or received. A slow reader misses events
    /// (`RecvError::Lagged`).
    pub fn events(&self) -> broadcast::Receiver<Arc<WireEvent>> {
        self.platform.wire.subscribe()
    }

    /// Subscribes to every push from now on. Each event is sent before its request is, and so has
    /// no answer yet and precedes every effect of the push.
    pub fn started_calls(&self) -> broadcast::Receiver<Arc<WireEvent>> {
        self.platform.started_calls.subscribe()
    }

    /// Subscribes to the openid of each customer who acts or is shown something from now on. A slow
    /// reader misses some.
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.platform.customer_changes.subscribe()
    }

    /// Whether there is a customer with this openid.
    pub fn has_customer(&self, openid: &str) -> bool {
        self.platform.customers.lock().contains_key(openid)
    }

    /// All customers, in the order of their creation.
    pub fn phones(&self) -> Vec<Phone> {
        let mut customers: Vec<_> = self.platform.customers.lock().values().cloned().collect();
        customers.sort_by_key(|customer| customer.number);
        customers.into_iter().map(|customer| Phone::new(self.platform.clone(), customer)).collect()
    }

    /// A stored file, sent by a customer or uploaded by the bridge. `None` once it has expired.
    pub fn media(&self, id: &str) -> Option<Arc<Media>> {
        self.platform.media.lock().get(id, self.platform.clock.now())
    }

    /// Makes the console's check of the URL. Returns whether the bridge returned `echostr` byte for
    /// byte.
    pub async fn verify_url(&self) -> bool {
        self.platform.verify_url().await
    }

    /// Sends one GET as the console does, after `tweak` has changed its query.
    pub async fn verify_raw(&self, tweak: impl FnOnce(&mut Query)) -> Attempt {
        self.platform.verify_raw(tweak).await
    }

    /// Pushes a draft with the same body in up to `settings.attempts` requests. A draft may be
    /// pushed several times, also concurrently.
    pub async fn deliver(&self, draft: &Draft) -> PushResult {
        self.platform.deliver(draft).await
    }

    /// Pushes the identical body again, as WeChat does after it lost the answer.
    pub async fn repeat(&self, result: &PushResult) -> PushResult {
        self.platform.deliver(&result.draft).await
    }

    /// Pushes one draft `copies` times concurrently.
    pub async fn deliver_copies(&self, draft: &Draft, copies: usize) -> Vec<PushResult> {
        futures_util::future::join_all((0..copies).map(|_| self.platform.deliver(draft))).await
    }

    /// Sends one POST of any body. Its query is signed correctly for the openid, then changed by
    /// `tweak`. The ledger does not record it.
    pub async fn push_raw(
        &self,
        openid: &str,
        body: impl Into<bytes::Bytes>,
        tweak: impl FnOnce(&mut Query),
    ) -> Attempt {
        self.platform.push_raw(openid, body.into(), tweak).await
    }

    /// Stops listening and waits until every connection is closed.
    pub async fn stop(self) {
        join_all(self.entrances.iter().chain([&self.server]).map(Server::stop)).await;
    }
}

impl Platform {
    fn settings(&self) -> Arc<Settings> {
        self.settings.lock().clone()
    }

    /// Changes settings without a check. Use it only for changes that cannot be invalid.
    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(Arc::make_mut(&mut self.settings.lock()));
    }

    /// The customer with this openid. Creates one if the openid is unknown.
    fn phone(self: &Arc<Self>, openid: &str) -> Phone {
        let mut customers = self.customers.lock();
        let number = customers.len();
        let customer = customers
            .entry(openid.to_owned())
            .or_insert_with(|| {
                Arc::new(customer::Customer::new(openid, number, self.customer_changes.clone()))
            })
            .clone();
        Phone::new(self.clone(), customer)
    }

    fn next_msg_id(&self) -> u64 {
        self.next_msg_id.fetch_add(1, Ordering::Relaxed)
    }

    fn record(&self, write: impl FnOnce(&mut Ledger, usize)) {
        let limit = self.settings().ledger_limit;
        write(&mut self.ledger.lock(), limit);
        self.ledger_changed.send_replace(());
    }

    fn has_watchers(&self) -> bool {
        self.wire.receiver_count() > 0
    }

    /// Publishes an event to the watchers. Does not build `event` if there are none.
    fn publish(&self, event: impl FnOnce() -> WireEvent) {
        if self.has_watchers() {
            // Sending fails only if the last watcher has left since the check.
            let _ = self.wire.send(Arc::new(event()));
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
