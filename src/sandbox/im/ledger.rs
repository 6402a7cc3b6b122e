//! The ledger of the simulated IM records its calls and sends. Tests check the bridge against it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::model::Millis;

/// The outcome of an accepted send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered for the first time.
    Delivered,
    /// Delivered again: a message with the same sender, receiver, MsgSeq and MsgRandom was
    /// delivered before, and the receiver sees it twice.
    DeliveredAgain,
    /// A repeat within one second. It was answered with the first one's MsgKey and not delivered.
    Suppressed,
    /// Answered with success but dropped by the webhook before sending.
    DroppedByWebhook,
}

/// An accepted `sendmsg` or `importmsg`.
#[derive(Clone, Debug)]
pub struct SendRecord {
    /// The API: `openim/sendmsg` and so on.
    pub api: &'static str,
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The `MsgSeq`.
    pub seq: u32,
    /// The `MsgRandom`.
    pub random: u32,
    /// The time in the `MsgKey`, in Unix seconds.
    pub time: i64,
    /// When the platform received the call.
    pub arrived: Millis,
    /// The `MsgKey`.
    pub key: String,
    /// The outcome of the send.
    pub outcome: Outcome,
    /// The request without `MsgBody`, as JSON text.
    pub fields: String,
    /// The elements as stored.
    pub elements: Arc<Value>,
}

impl SendRecord {
    /// A field of the request other than `MsgBody`. Null if it is absent.
    pub fn field(&self, name: &str) -> Value {
        let mut fields: Value = serde_json::from_str(&self.fields).unwrap_or_default();
        fields[name].take()
    }

    /// The texts of the text elements, concatenated.
    pub fn text(&self) -> String {
        super::history::text_of(&self.elements)
    }
}

/// A call that was answered with an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// The API: `openim/sendmsg` and so on, or `unknown` for any other path.
    pub api: &'static str,
    /// The `ErrorCode`.
    pub code: i64,
    /// When the platform answered.
    pub at: Millis,
}

/// An import or deletion of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The UserID.
    pub user_id: String,
    /// The kind of change.
    pub kind: AccountChangeKind,
    /// When it happened.
    pub at: Millis,
}

/// The kind of an account change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountChangeKind {
    /// A new account was imported.
    Imported,
    /// An existing account was imported again.
    ImportedAgain,
    /// An account was deleted.
    Deleted,
}

/// Accepted sends, refused calls and account changes, each in order of arrival. Each list is
/// bounded; the oldest entries are dropped first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sends: VecDeque<Arc<SendRecord>>,
    refused_calls: VecDeque<RefusedCall>,
    account_changes: VecDeque<AccountChange>,
    calls: BTreeMap<&'static str, u64>,
    /// The number of entries that were dropped to keep the bound.
    dropped_entries: u64,
}

impl Ledger {
    /// Every accepted send, oldest first.
    pub fn sends(&self) -> impl DoubleEndedIterator<Item = &SendRecord> + ExactSizeIterator {
        self.sends.iter().map(AsRef::as_ref)
    }

    /// The sends that reached the receiver, for the first time or again.
    pub fn deliveries(&self) -> impl DoubleEndedIterator<Item = &SendRecord> {
        self.sends().filter(|send| matches!(send.outcome, Outcome::Delivered | Outcome::DeliveredAgain))
    }

    /// The sends that reached a receiver who already had the message.
    pub fn repeated_deliveries(&self) -> impl DoubleEndedIterator<Item = &SendRecord> {
        self.sends().filter(|send| send.outcome == Outcome::DeliveredAgain)
    }

    /// Every call that was answered with an error code, oldest first.
    pub fn refused_calls(&self) -> impl DoubleEndedIterator<Item = &RefusedCall> + ExactSizeIterator {
        self.refused_calls.iter()
    }

    /// Every import and deletion, oldest first.
    pub fn account_changes(&self) -> impl DoubleEndedIterator<Item = &AccountChange> + ExactSizeIterator {
        self.account_changes.iter()
    }

    /// The number of calls of an API (`openim/sendmsg`), including refused calls and scripted
    /// faults.
    pub fn call_count(&self, api: &str) -> u64 {
        self.calls.get(api).copied().unwrap_or(0)
    }

    /// The number of entries that were dropped to keep the bound. A test that counts entries should
    /// see 0.
    pub fn dropped_entries(&self) -> u64 {
        self.dropped_entries
    }
}

/// Writes the ledger. Its index of deliveries recognises a second delivery.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    ledger: Ledger,
    deliveries: HashMap<DeliveryId, u32>,
}

/// Sender, receiver, MsgSeq, MsgRandom.
type DeliveryId = (String, String, u32, u32);

impl Recorder {
    /// The ledger so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Counts a call of an API.
    pub fn count_call(&mut self, api: &'static str) {
        *self.ledger.calls.entry(api).or_default() += 1;
    }

    /// Records a send. A second delivery gets [`Outcome::DeliveredAgain`].
    pub fn record_send(&mut self, mut send: SendRecord, limit: usize) {
        if send.outcome == Outcome::Delivered {
            let count = self.deliveries.entry(delivery_id(&send)).or_default();
            *count += 1;
            if *count > 1 {
                send.outcome = Outcome::DeliveredAgain;
            }
        }
        let Some(old) =
            push_bounded(&mut self.ledger.sends, Arc::new(send), limit, &mut self.ledger.dropped_entries)
        else {
            return;
        };
        if matches!(old.outcome, Outcome::Delivered | Outcome::DeliveredAgain)
            && let Entry::Occupied(mut times) = self.deliveries.entry(delivery_id(&old))
        {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    /// Records a refused call.
    pub fn record_refusal(&mut self, call: RefusedCall, limit: usize) {
        push_bounded(&mut self.ledger.refused_calls, call, limit, &mut self.ledger.dropped_entries);
    }

    /// Records an account change.
    pub fn record_account_change(&mut self, change: AccountChange, limit: usize) {
        push_bounded(&mut self.ledger.account_changes, change, limit, &mut self.ledger.dropped_entries);
    }
}

fn delivery_id(send: &SendRecord) -> DeliveryId {
    (send.from.clone(), send.to.clone(), send.seq, send.random)
}

/// Appends an entry. Removes and returns the oldest one if the list exceeds `limit`.
fn push_bounded<T>(list: &mut VecDeque<T>, entry: T, limit: usize, dropped_entries: &mut u64) -> Option<T> {
    list.push_back(entry);
    if list.len() <= limit {
        return None;
    }
    *dropped_entries += 1;
    list.pop_front()
}
