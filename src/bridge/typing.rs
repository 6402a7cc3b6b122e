//! Typing signals of agents, on their way to the customer's phone.
//!
//! A signal is best effort: it is never stored, queued behind a message, repeated or counted against a budget. At the
//! limit a signal is dropped.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::from_agent::customer_with_account;
use super::{Bridge, quota};
use crate::model::{Millis, OpenId, TypingSignal};
use crate::store::{Customer, StoreError};

/// How long WeChat shows one signal. A repeat within this time is refused (45081).
const SHOWN_MS: i64 = 15_000;
/// WeChat refuses a signal when the last message either way is longer ago than this (45080).
const AFTER_ACTION_MS: i64 = 30_000;
/// Signals that wait for the task that sends them. The oldest is dropped when more come.
const WAITING: usize = 256;
/// Customers remembered at the same time. Beyond this, signals are dropped.
const MAX_CUSTOMERS: usize = 10_000;

/// The signals that wait, and those that phones show.
#[derive(Debug)]
pub(super) struct TypingSignals {
    waiting: broadcast::Sender<TypingSignal>,
    customers: Mutex<HashMap<OpenId, Recent>>,
}

/// What happened lately in one conversation.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    /// When the phone began to show the signal.
    shown_since: Option<Millis>,
    /// When an agent's last message was accepted.
    message_at: Option<Millis>,
}

impl Recent {
    fn is_shown(&self, now: Millis) -> bool {
        self.shown_since.is_some_and(|since| (0..SHOWN_MS).contains(&now.since(since)))
    }

    fn had_message(&self, now: Millis) -> bool {
        self.message_at.is_some_and(|at| (0..AFTER_ACTION_MS).contains(&now.since(at)))
    }
}

impl Default for TypingSignals {
    fn default() -> Self {
        Self { waiting: broadcast::Sender::new(WAITING), customers: Mutex::default() }
    }
}

impl TypingSignals {
    /// A message of an agent was accepted, which ends the signal when it arrives.
    pub fn message_sent(&self, customer: &OpenId, now: Millis) {
        let mut customers = self.customers.lock();
        if make_room(&mut customers, now) || customers.contains_key(customer) {
            customers.insert(customer.clone(), Recent { shown_since: None, message_at: Some(now) });
        }
    }

    /// Whether the signal changes what the customer's phone shows; remembers that it does. `is_near` says whether the
    /// customer acted lately.
    fn update(&self, customer: &OpenId, is_typing: bool, is_near: bool, now: Millis) -> bool {
        let mut customers = self.customers.lock();
        let recent = customers.get(customer).copied().unwrap_or_default();
        let changes = recent.is_shown(now) != is_typing;
        if !changes || (is_typing && !is_near && !recent.had_message(now)) {
            return false;
        }
        if !make_room(&mut customers, now) && !customers.contains_key(customer) {
            return false;
        }
        customers.insert(customer.clone(), Recent { shown_since: is_typing.then_some(now), ..recent });
        true
    }
}

/// Forgets what is over, once the map is full. Whether there is room.
fn make_room(customers: &mut HashMap<OpenId, Recent>, now: Millis) -> bool {
    if customers.len() >= MAX_CUSTOMERS {
        customers.retain(|_, recent| recent.is_shown(now) || recent.had_message(now));
    }
    customers.len() < MAX_CUSTOMERS
}

impl Bridge {
    /// Passes a signal on to the task that sends signals, if there is one.
    pub fn signal_typing(&self, signal: TypingSignal) {
        // Nobody listens where the account has no credentials.
        let _ = self.0.typing.waiting.send(signal);
    }

    /// The signals from now on, for the task that sends them.
    pub fn typing_signals(&self) -> broadcast::Receiver<TypingSignal> {
        self.0.typing.waiting.subscribe()
    }

    /// The customer whose phone is to show the signal, or to stop showing it; `None` if WeChat would refuse the call
    /// or if it would change nothing.
    pub async fn typing_target(&self, signal: &TypingSignal) -> Result<Option<OpenId>, StoreError> {
        let (account, now) = (signal.to.clone(), self.0.clock.now());
        if !self.may_push(now) {
            return Ok(None);
        }
        let found = self.0.store.read(move |tx| customer_with_account(tx, &account)).await?;
        let customer = found.filter(|customer| quota::budget(customer, now).is_ok());
        let changes = |customer: &Customer| {
            let is_near = (0..AFTER_ACTION_MS).contains(&now.since(customer.active_at));
            self.0.typing.update(&customer.openid, signal.is_typing, is_near, now)
        };
        Ok(customer.filter(changes).map(|customer| customer.openid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_told_once_in_fifteen_seconds_and_stopped_only_while_it_shows_the_signal() {
        let (signals, customer) = (TypingSignals::default(), OpenId::new("oA").unwrap());
        let at = |seconds: i64, is_typing| {
            signals.update(&customer, is_typing, seconds < 30, Millis(seconds * 1000))
        };
        assert!(!at(0, false), "nothing is shown yet");
        assert!(at(1, true));
        assert!(!at(5, true), "it is still shown");
        assert!(at(6, false));
        assert!(!at(7, false), "it is stopped already");
        assert!(at(8, true));
        assert!(at(23, true), "the first has ended by itself");
        signals.message_sent(&customer, Millis(24_000));
        assert!(!at(24, false), "the message has ended it");
        assert!(at(40, true), "the agent's message is near");
        assert!(!at(56, false), "it has ended by itself");
        assert!(!at(57, true), "nothing was said for 30 seconds");
    }

    #[test]
    fn customers_are_remembered_up_to_a_limit() {
        let signals = TypingSignals::default();
        let customer = |n: usize| OpenId::new(format!("o{n}")).unwrap();
        for n in 0..MAX_CUSTOMERS {
            assert!(signals.update(&customer(n), true, true, Millis(0)));
        }
        assert!(!signals.update(&customer(MAX_CUSTOMERS), true, true, Millis(1)));
        assert!(signals.update(&customer(MAX_CUSTOMERS), true, true, Millis(SHOWN_MS)));
    }
}
