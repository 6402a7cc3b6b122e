//! Decides how to answer a push or an agent's message, and which calls it needs.
//!
//! For each one: is it a repeat, whose account is it, what may still be sent? The bridge then
//! translates it, commits once and signals the outbox. This module knows neither platform's wire
//! format and calls neither platform; the outbox makes the calls that are decided here.

pub mod account;
mod burst;
mod emoji;
mod assignment;
mod desk;
mod escalation;
mod desk_hours;
mod first_line;
mod from_agent;
mod group;
pub mod work_signal;
mod command;
mod backfill;
mod hand_over;
pub mod callbacks;
pub mod notice;
mod from_customer;
mod impersonation;
mod line;
pub mod quota;
mod passive_reply;
mod places;
mod presence;
mod rating;
mod profiles;
mod send_policy;
mod signature;
mod media_link;
pub mod to_im;
mod to_wechat;
mod translate;
mod typing;
mod unanswered;
mod unreadable;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;
use crate::config::{Acknowledge, AfterHours, Locale, OnUnsubscribe, ReplyMode, Texts};
use crate::fleet::Fleet;
use crate::live::Live;
use crate::media::Media;
use crate::media::download::Rules;
use crate::metrics::Metrics;
use crate::model::hours::WorkingHours;
use crate::model::{ImUserId, Millis};
use crate::store::{Store, StoreError, Tx};

pub use account::{Account, Accounts};
use backfill::MAX_BACKFILL_REQUESTS;
pub use desk::DeskSettings;

pub use backfill::BACKFILL_WAIT;
pub use burst::MergeRule;
pub use escalation::Escalation;
pub use from_agent::{AnswerOutcome, too_late_notice};
pub use line::{Served, give_to_anybody};
pub use media_link::MediaUnavailable;
pub use passive_reply::{AttachedAnswers, Reply};
pub use places::{Place, Places};
pub use profiles::ProfileFailure;
pub use send_policy::{Reservation, notify_discarded};
pub use to_wechat::TEXT_BYTES as MAX_TEXT_BYTES;
pub use work_signal::{DirectCall, WorkSignal};

/// How long after WeChat says that the account may not push (48001) until a push is tried again,
/// milliseconds.
const PUSH_DENIED_MS: i64 = 24 * 3600 * 1000;
/// The `kv` key under which the store keeps the time at which WeChat said so, Unix milliseconds.
const PUSH_DENIED_AT: &str = "push_denied_at";

/// The settings that the decisions depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agents. A new customer is assigned to one of them.
    pub agents: Vec<ImUserId>,
    /// The texts for customers and agents.
    pub texts: Texts,
    /// The canned replies that agents send by name.
    pub replies: command::canned::Replies,
    /// When the customer gets the text that an agent is coming.
    pub acknowledge: Acknowledge,
    /// A new session begins after this long without a message from the customer, milliseconds.
    pub session_idle_ms: i64,
    /// The windows and budgets of `custom/send`.
    pub limits: quota::Limits,
    /// How an answer reaches the customer: pushed or as a passive reply.
    pub reply: ReplyMode,
    /// Whether the IM account of a customer who unsubscribes is deleted.
    pub on_unsubscribe: OnUnsubscribe,
    /// Whether customers' media can be fetched from WeChat: the credentials are configured.
    pub may_fetch: bool,
    /// Which addresses of agents' files may be followed.
    pub download_rules: Rules,
    /// Which agent gets a customer.
    pub desk: DeskSettings,
    /// When agents work; `None`: always.
    pub hours: Option<WorkingHours>,
    /// What happens to customers' messages at other times.
    pub after_hours: AfterHours,
    /// Who is told of a question that waits too long.
    pub escalation: Escalation,
    /// How long before a window closes the agent of an unanswered customer is reminded, milliseconds; `None`: never.
    pub remind_before_ms: Option<i64>,
    /// When lines of an agent are merged; `None`: never.
    pub merge: Option<MergeRule>,
}

/// The parts that the bridge is built from.
#[derive(Debug)]
pub struct Parts {
    /// The settings that the decisions depend on, which may change at any time.
    pub settings: Live<Settings>,
    /// The store, which is the source of truth.
    pub store: Store,
    /// Media files and their links.
    pub media: Media,
    /// Signals new work to the outbox.
    pub work_signal: WorkSignal,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
}

/// The bridge. Clones share it.
#[derive(Clone, Debug)]
pub struct Bridge(Arc<Shared>);

/// What one decision stands on: the parts of the bridge, and the settings as they were when it began.
#[derive(Clone, Debug)]
struct Inner {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
}

impl Deref for Inner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug)]
struct Shared {
    live: Live<Settings>,
    store: Store,
    media: Media,
    accounts: Accounts,
    work_signal: WorkSignal,
    clock: Clock,
    metrics: Metrics,
    /// When WeChat said that the account may not push, Unix milliseconds; 0 if it has not.
    push_denied_at: AtomicI64,
    fleet: Fleet,
    /// Signals the conversations whose history must be backfilled.
    backfill_requests: WorkSignal,
    /// The typing signals that wait, and those that phones show.
    typing: typing::TypingSignals,
    /// Which callbacks IM makes, and which it should but does not.
    callbacks: callbacks::CallbackWatch,
    /// The requests for what WeChat tells of customers.
    profiles: profiles::Profiles,
    /// The notices to those whose messages reach no customer.
    hourly_notices: from_agent::HourlyNotices,
    /// Tells that an agent may be free.
    line_signal: line::LineSignal,
}

impl Bridge {
    /// Creates a bridge over the store and reads whether WeChat has denied pushes.
    pub async fn new(parts: Parts) -> Result<Self, StoreError> {
        let Parts { settings, store, media, work_signal, clock, metrics } = parts;
        let denied_at = store.read(|tx| tx.kv(PUSH_DENIED_AT)).await?;
        let push_denied_at = AtomicI64::new(denied_at.and_then(|at| at.parse().ok()).unwrap_or(0));
        let callbacks = callbacks::CallbackWatch::load(&store).await?;
        let accounts = Accounts::new(store.clone());
        let fleet = work_signal.fleet().clone();
        // Only lanes of this instance request one.
        let backfill_requests = WorkSignal::with_capacity(Fleet::alone(0), MAX_BACKFILL_REQUESTS);
        Ok(Self(Arc::new(Shared {
            live: settings,
            store,
            media,
            accounts,
            work_signal,
            clock,
            metrics,
            push_denied_at,
            fleet,
            backfill_requests,
            typing: typing::TypingSignals::default(),
            callbacks,
            profiles: profiles::Profiles::default(),
            hourly_notices: from_agent::HourlyNotices::default(),
            line_signal: line::LineSignal::default(),
        })))
    }

    /// The map of imported accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Media files and their links.
    pub fn media(&self) -> &Media {
        &self.0.media
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Signals new work to the outbox.
    pub fn work_signal(&self) -> &WorkSignal {
        &self.0.work_signal
    }

    /// The configured agents.
    pub fn agents(&self) -> Vec<ImUserId> {
        self.0.live.get().agents.clone()
    }

    /// A session is over after this long without a message from the customer, milliseconds.
    pub fn session_idle_ms(&self) -> i64 {
        self.0.live.get().session_idle_ms
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.live.get()
    }

    /// The settings as they are now, with the parts: what a decision takes once, when it begins.
    fn inner(&self) -> Inner {
        Inner { settings: self.0.live.get(), shared: Arc::clone(&self.0) }
    }

    /// The agent's account of WeChat's customer service, as whom customers see the agent.
    pub fn kf_account(&self, agent: &ImUserId) -> Option<String> {
        self.0.live.get().desk.kf_accounts.get(agent).cloned()
    }

    /// How answers reach customers at present. [`ReplyMode::Auto`] becomes `Passive` while WeChat
    /// denies pushes.
    pub fn reply_mode(&self) -> ReplyMode {
        let inner = self.inner();
        match inner.settings.reply {
            ReplyMode::Auto if !inner.may_push(inner.clock.now()) => ReplyMode::Passive,
            mode => mode,
        }
    }

    /// The configured reply mode.
    pub fn configured_reply_mode(&self) -> ReplyMode {
        self.0.live.get().reply
    }

    /// The language of the texts for customers and agents.
    pub fn locale(&self) -> Locale {
        self.0.live.get().texts.locale
    }

    /// The windows and budgets.
    pub fn limits(&self) -> quota::Limits {
        self.0.live.get().limits
    }

    /// Whether answers may be pushed now, as far as we know.
    pub fn may_push(&self, now: Millis) -> bool {
        self.inner().may_push(now)
    }

    /// Records that WeChat denied a push: answers go out as passive replies for a day.
    pub fn record_push_denied(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        tx.put_kv(PUSH_DENIED_AT, &tx.now().0.to_string())?;
        self.0.push_denied_at.store(tx.now().0, Ordering::Relaxed);
        Ok(())
    }

    /// Records that a push succeeded, so the account may push after all.
    pub fn record_push_allowed(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        // Decide by the stored value, not by memory: the transaction may run again after memory has
        // changed, and must then write the value again.
        if tx.kv(PUSH_DENIED_AT)?.is_some_and(|at| at != "0") {
            tx.put_kv(PUSH_DENIED_AT, "0")?;
        }
        self.0.push_denied_at.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Reads again whether WeChat has denied pushes, which another instance may have recorded.
    pub async fn refresh_push_denied(&self) -> Result<(), StoreError> {
        let denied_at = self.0.store.read(|tx| tx.kv(PUSH_DENIED_AT)).await?;
        let denied_at = denied_at.and_then(|at| at.parse().ok()).unwrap_or(0);
        self.0.push_denied_at.store(denied_at, Ordering::Relaxed);
        Ok(())
    }
}

impl Inner {
    fn may_push(&self, now: Millis) -> bool {
        match self.settings.reply {
            ReplyMode::Push => true,
            ReplyMode::Passive => false,
            ReplyMode::Auto => {
                let denied_at = self.push_denied_at.load(Ordering::Relaxed);
                denied_at == 0 || now.since(Millis(denied_at)) >= PUSH_DENIED_MS
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
