//! What the simulated IM was asked and what it did: the oracle that tests hold the bridge against.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::model::Millis;

/// What became of an accepted send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered, for the first time.
    Delivered,
    /// The same sender, receiver, MsgSeq and MsgRandom were delivered before: the receiver sees it twice.
    DeliveredAgain,
    /// A repeat within one second, answered with the first one's MsgKey.
    Suppressed,
    /// Answered with success, dropped by the webhook before sending.
    DroppedByWebhook,
}

/// An accepted `sendmsg`, `batchsendmsg` (one entry a receiver) or `importmsg`.
#[derive(Clone, Debug)]
pub struct Send {
    /// `openim/sendmsg` and so on.
    pub api: &'static str,
    pub from: String,
    pub to: String,
    pub seq: u32,
    pub random: u32,
    /// Unix seconds, as in the MsgKey.
    pub time: i64,
    pub arrived: Millis,
    pub key: String,
    pub outcome: Outcome,
    /// The request without `MsgBody`, as JSON text.
    pub fields: String,
    /// The elements as stored.
    pub elements: Arc<Value>,
}

impl Send {
    /// A field of the request other than `MsgBody`; null when it is absent.
    pub fn field(&self, name: &str) -> Value {
        let mut fields: Value = serde_json::from_str(&self.fields).unwrap_or_default();
        fields[name].take()
    }

    /// The texts of its text elements, joined.
    pub fn text(&self) -> String {
        super::history::text_of(&self.elements)
    }
}

/// A call that was answered with an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// `openim/sendmsg` and so on; `unknown` for a path that is no API.
    pub api: &'static str,
    pub code: i64,
    pub at: Millis,
}

/// A change of the set of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    pub user_id: String,
    pub kind: AccountChangeKind,
    pub at: Millis,
}

/// How an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountChangeKind {
    Imported,
    /// An import of an account that exists.
    ImportedAgain,
    Deleted,
}

/// Everything accepted, refused and changed, in the order of arrival; bounded, the oldest entries go first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sends: VecDeque<Arc<Send>>,
    refused: VecDeque<RefusedCall>,
    accounts: VecDeque<AccountChange>,
    calls: BTreeMap<&'static str, u64>,
    /// Entries that the bound has pushed out.
    forgotten: u64,
}

impl Ledger {
    /// Every accepted send.
    pub fn sends(&self) -> impl DoubleEndedIterator<Item = &Send> + ExactSizeIterator {
        self.sends.iter().map(AsRef::as_ref)
    }

    /// The sends that reached the receiver, first or again.
    pub fn delivered(&self) -> impl DoubleEndedIterator<Item = &Send> {
        self.sends().filter(|send| matches!(send.outcome, Outcome::Delivered | Outcome::DeliveredAgain))
    }

    /// The sends that reached a receiver who already had them.
    pub fn delivered_again(&self) -> impl DoubleEndedIterator<Item = &Send> {
        self.sends().filter(|send| send.outcome == Outcome::DeliveredAgain)
    }

    /// Every call that was answered with an error code.
    pub fn refused(&self) -> impl DoubleEndedIterator<Item = &RefusedCall> + ExactSizeIterator {
        self.refused.iter()
    }

    /// Every import and deletion.
    pub fn accounts(&self) -> impl DoubleEndedIterator<Item = &AccountChange> + ExactSizeIterator {
        self.accounts.iter()
    }

    /// How often an API was called (`openim/sendmsg`), refused calls and scripted faults included.
    pub fn calls(&self, api: &str) -> u64 {
        self.calls.get(api).copied().unwrap_or(0)
    }

    /// How many entries the bound has pushed out; a test that counts should see 0.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// The ledger being written, with the index that tells a second delivery.
#[derive(Debug, Default)]
pub(super) struct Book {
    ledger: Ledger,
    deliveries: HashMap<DeliveryId, u32>,
}

/// Sender, receiver, MsgSeq, MsgRandom.
type DeliveryId = (String, String, u32, u32);

impl Book {
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn count(&mut self, api: &'static str) {
        *self.ledger.calls.entry(api).or_default() += 1;
    }

    /// Writes a send down; a delivery that happened before becomes [`Outcome::DeliveredAgain`].
    pub fn sent(&mut self, mut send: Send, limit: usize) {
        if send.outcome == Outcome::Delivered {
            let times = self.deliveries.entry(id(&send)).or_default();
            *times += 1;
            if *times > 1 {
                send.outcome = Outcome::DeliveredAgain;
            }
        }
        let Some(old) = push(&mut self.ledger.sends, Arc::new(send), limit, &mut self.ledger.forgotten)
        else {
            return;
        };
        if matches!(old.outcome, Outcome::Delivered | Outcome::DeliveredAgain)
            && let Entry::Occupied(mut times) = self.deliveries.entry(id(&old))
        {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    pub fn refuse(&mut self, call: RefusedCall, limit: usize) {
        push(&mut self.ledger.refused, call, limit, &mut self.ledger.forgotten);
    }

    pub fn account(&mut self, change: AccountChange, limit: usize) {
        push(&mut self.ledger.accounts, change, limit, &mut self.ledger.forgotten);
    }
}

fn id(send: &Send) -> DeliveryId {
    (send.from.clone(), send.to.clone(), send.seq, send.random)
}

/// Appends, and gives back the oldest entry if it had to go.
fn push<T>(list: &mut VecDeque<T>, entry: T, limit: usize, forgotten: &mut u64) -> Option<T> {
    list.push_back(entry);
    if list.len() <= limit {
        return None;
    }
    *forgotten += 1;
    list.pop_front()
}
