//! The state of the interactive sandbox: both platforms, the bridge between them as a process of its own,
//! and what the page, the drills and the watchers share.
//!
//! The page acts only on the platforms, as a customer or an agent would. Only the platforms call
//! the bridge.

mod actions;
mod agent_actions;
mod desk;
mod event_log;
mod figures;
mod view;
mod watch;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use actions::{ActionError, CustomerAction};
pub use agent_actions::{AgentAction, ClientAction};
pub use event_log::{Busy, Change, ChangeBatch, DrillPhase, DrillState, EventLog};
pub use figures::{CounterTotals, Counters};
pub use view::{event, state};

use super::bridges::Bridges;
use super::stage::Stage;
use super::wechat::Phone;
use super::wire::Secrets;
use crate::clock::Clock;
use crate::config::Texts;
use crate::model::hours::WorkingHours;

/// Customers that may exist; beyond this the page adds no more.
const MAX_CUSTOMERS: usize = 50;
/// Customers that exist from the start.
const INITIAL_CUSTOMERS: usize = 3;
/// Customers, and conversations of an agent, that the page gets.
const PEOPLE_LIMIT: usize = 60;
/// Calls that the state contains.
const SNAPSHOT_CALLS: usize = 200;
/// Readers of events at the same time.
const MAX_READERS: usize = 32;
/// Actions of customers and agents that may run at the same time.
const MAX_ACTIONS: usize = 64;

/// The reasons why the script cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShowError {
    /// It runs already.
    #[error("the script is running")]
    Running,
    /// A drill runs, which would disturb it.
    #[error("a drill is running")]
    Drill,
}

/// The customer of drills.
pub(super) const DRILL_CUSTOMER: &str = "oSandboxDrillCustomer0000001";

/// A drill that the page offers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfferedDrill {
    /// Its name.
    pub name: &'static str,
    /// It fails if it takes longer.
    pub limit: Duration,
}

/// The state that the page, the drills and the watchers share.
pub struct Session {
    /// Both simulated platforms.
    pub stage: Arc<Stage>,
    /// WeChat's clock, which drills move. IM and the bridge use the system's clock.
    pub clock: Clock,
    /// The bridges' processes.
    pub bridges: Bridges,
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
    /// The drills, in the order in which the page offers them.
    drills: Vec<OfferedDrill>,
    desk: desk::Desk,
    /// The phase of the script, as of a drill.
    script: Mutex<DrillPhase>,
    customer_names: Mutex<HashMap<String, String>>,
    next_customer: AtomicUsize,
    /// The counters of each bridge.
    totals: Mutex<Vec<CounterTotals>>,
    /// The last status of each bridge from `/readyz`.
    readiness: Mutex<Vec<String>>,
    /// Whether customers and agents may act. It is `false` while the script runs, so that nothing
    /// disturbs it.
    may_act: tokio::sync::watch::Sender<bool>,
    reader_permits: Arc<tokio::sync::Semaphore>,
    reader_count: tokio::sync::watch::Sender<usize>,
    action_permits: Arc<tokio::sync::Semaphore>,
}

impl Session {
    /// Creates the state over running platforms and a running bridge, with the first customers, and starts
    /// the watchers. `drills` are in the order in which the page offers them. `hours`: when the desk of
    /// the bridges works.
    pub(super) fn start(
        stage: Arc<Stage>,
        clock: Clock,
        bridges: Bridges,
        texts: Texts,
        hours: Option<WorkingHours>,
        drills: Vec<OfferedDrill>,
    ) -> io::Result<Arc<Self>> {
        let session = Arc::new(Self {
            clock,
            totals: Mutex::new(bridges.children().iter().map(|_| CounterTotals::default()).collect()),
            readiness: Mutex::new(bridges.children().iter().map(|_| "ok".to_owned()).collect()),
            bridges,
            event_log: EventLog::new(drills.len()),
            texts,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            http: http_client().map_err(io::Error::other)?,
            drills,
            desk: desk::Desk::new(hours),
            script: Mutex::default(),
            customer_names: Mutex::default(),
            next_customer: AtomicUsize::new(1),
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
        Ok(session)
    }

    /// Records that the script runs, and keeps customers and agents from acting.
    pub(super) fn begin_script(&self) -> Result<(), ShowError> {
        if self.event_log.is_drill_running() {
            return Err(ShowError::Drill);
        }
        if std::mem::replace(&mut *self.script.lock(), DrillPhase::Running) == DrillPhase::Running {
            return Err(ShowError::Running);
        }
        self.may_act.send_replace(false);
        self.event_log.add_change(Change::Script);
        Ok(())
    }

    /// Records how the script ended, and lets customers and agents act.
    pub(super) fn end_script(&self, phase: DrillPhase) {
        *self.script.lock() = phase;
        self.may_act.send_replace(true);
        self.event_log.add_change(Change::Script);
    }

    /// The index of the drill with this name.
    pub(super) fn drill_index(&self, name: &str) -> Option<usize> {
        self.drills.iter().position(|known| known.name == name)
    }

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
        self.customer_names.lock().get(openid).cloned().unwrap_or_else(|| openid.to_owned())
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
        self.customer_names.lock().insert(openid.to_owned(), name);
    }

    /// The counters of all bridges together.
    fn counters(&self) -> Counters {
        Counters::of_all(self.totals.lock().iter().map(CounterTotals::total))
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
    crate::http_client::loopback().redirect(reqwest::redirect::Policy::none()).build()
}
