//! One customer of the account: what changes about them, and who is told.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::ledger;
use super::screen::ScreenEntry;
use super::timeline::{CustomerAction, Timeline};
use super::window::Window;
use crate::model::Millis;

/// The most entries that a screen keeps. The oldest are dropped first.
const SCREEN_LIMIT: usize = 10_000;

/// One customer of the account.
#[derive(Debug)]
pub(super) struct Customer {
    /// The customer's openid.
    pub openid: String,
    /// The number of customers created before this one.
    pub number: usize,
    /// Everything about the customer that changes.
    pub state: Mutex<State>,
    /// Signals every change of `state` to waiters on this customer.
    pub changed: watch::Sender<()>,
    /// Sends the openid after every change, to watchers of the whole platform.
    platform_changes: broadcast::Sender<Arc<str>>,
}

/// What the account's staff has recorded of a customer in the console.
#[derive(Clone, Debug, Default)]
pub(super) struct UserFacts {
    /// What the staff calls the customer.
    pub remark: String,
    /// The ids of the customer's tags.
    pub tags: Vec<usize>,
    /// The URL of the customer's picture. The platform has not told it since 2021.
    pub picture: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether the customer follows the account.
    pub following: bool,
    /// The customer's allowances for `custom/send`.
    pub window: Window,
    /// What the account's staff has recorded.
    pub facts: UserFacts,
    /// When the last message went either way.
    pub last_traffic: Option<Millis>,
    /// When the phone began to show that the account types. A message ends it, and so does time.
    pub typing_since: Option<Millis>,
    /// The latest entries of the screen, oldest first.
    pub screen: VecDeque<ScreenEntry>,
    /// The customer's actions and screen entries in one order.
    pub timeline: Timeline,
}

impl Customer {
    /// Creates a customer who does not follow.
    pub fn new(openid: &str, number: usize, platform_changes: broadcast::Sender<Arc<str>>) -> Self {
        let changed = watch::Sender::new(());
        Self { openid: openid.to_owned(), number, state: Mutex::default(), changed, platform_changes }
    }

    /// Applies `act` to the state and records the action that it returns. Returns the id of the
    /// timeline entry.
    pub fn record_action(&self, act: impl FnOnce(&mut State) -> (Millis, CustomerAction)) -> u64 {
        let mut state = self.state.lock();
        let (at, action) = act(&mut state);
        let id = state.timeline.add_action(at, action);
        drop(state);
        self.notify();
        id
    }

    /// Marks an action as no longer pending. Its push was answered or given up.
    pub fn mark_answered(&self, id: u64) {
        self.state.lock().timeline.mark_answered(id);
        self.notify();
    }

    /// Tells every waiter and watcher that the state has changed.
    pub fn notify(&self) {
        self.changed.send_replace(());
        // Sending fails only if there is no watcher.
        let _ = self.platform_changes.send(self.openid.as_str().into());
    }

    /// Shows an entry on the screen.
    pub fn show(&self, entry: ScreenEntry) {
        let Ok(()) = self.show_if(|_| Ok::<_, Infallible>(entry));
    }

    /// Shows the entry that `decide` returns. The state stays locked from the decision until the
    /// entry is shown.
    pub fn show_if<E>(&self, decide: impl FnOnce(&mut State) -> Result<ScreenEntry, E>) -> Result<(), E> {
        let mut state = self.state.lock();
        let entry = decide(&mut state)?;
        state.typing_since = None;
        state.timeline.add_screen_entry(entry.clone());
        ledger::push_bounded(&mut state.screen, entry, SCREEN_LIMIT);
        drop(state);
        self.notify();
        Ok(())
    }
}
