//! The stored messages: conversations in their order, inboxes in order of arrival, and read marks.
//!
//! Storing a message must never scan a conversation.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::msg_key::key;
use crate::model::Millis;

/// How long history keeps a message, in seconds (7 days).
const RETENTION_S: i64 = 604_800;
/// How long sends are remembered to find repeats, in seconds. Only a send in the same second counts
/// as a repeat.
const REPEAT_SECONDS: i64 = 5;

/// A stored message.
#[derive(Debug)]
pub struct Message {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The `MsgSeq`.
    pub seq: u32,
    /// The `MsgRandom`.
    pub random: u32,
    /// The `MsgTime` in Unix seconds.
    pub time: i64,
    /// The `MsgKey`: `{seq}_{random}_{time}`.
    pub key: String,
    /// The `MsgId`.
    pub id: String,
    /// The `MsgBody` as it was sent, an array.
    pub elements: Arc<Value>,
    /// The `CloudCustomData`.
    pub cloud_custom_data: String,
    pub(super) arrived: Millis,
    pub(super) flags: Flags,
    /// The last Unix second at which a receiver who was not connected still gets the message.
    pub(super) expires: i64,
    /// The elements after the sender's last edit. `None` before an edit.
    edited: Mutex<Option<Arc<Value>>>,
    read: AtomicBool,
    recalled: AtomicBool,
    serial: u64,
}

/// How a message is stored and shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    /// Whether the message is in history and reaches a receiver who connects later.
    pub stored: bool,
    /// Whether the message is in the sender's view too (`SyncOtherMachine` is not 2).
    pub visible_to_sender: bool,
    /// How the message arrives at the receiver's client.
    pub arrival: ArrivalKind,
}

/// How a message arrives at the receiver's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrivalKind {
    /// Not pushed. It was imported as history.
    Silent,
    /// Pushed but not counted as unread (`NoUnread`).
    Uncounted,
    /// Pushed and counted as unread.
    Counted,
}

/// The data of a new message.
pub(super) struct NewMessage {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The `MsgSeq`.
    pub seq: u32,
    /// The `MsgRandom`.
    pub random: u32,
    /// The `MsgTime` in Unix seconds.
    pub time: i64,
    /// The `MsgId`.
    pub id: String,
    /// The `MsgBody`, an array.
    pub elements: Arc<Value>,
    /// The `CloudCustomData`.
    pub cloud_custom_data: String,
    /// When the platform received the message.
    pub arrived: Millis,
    /// How to store and show the message.
    pub flags: Flags,
    /// The last Unix second at which a receiver who was not connected still gets the message.
    pub expires: i64,
}

impl Message {
    /// The texts of the text elements, concatenated.
    pub fn text(&self) -> String {
        text_of(&self.current_elements())
    }

    /// The `MsgBody` as it is after the sender's last edit.
    pub fn current_elements(&self) -> Arc<Value> {
        self.edited.lock().clone().unwrap_or_else(|| Arc::clone(&self.elements))
    }

    /// Replaces the `MsgBody`.
    pub(super) fn edit(&self, elements: Arc<Value>) {
        *self.edited.lock() = Some(elements);
    }

    /// Whether the message counts as unread for the receiver.
    pub fn is_unread(&self) -> bool {
        self.flags.arrival == ArrivalKind::Counted && !self.read.load(Ordering::Relaxed)
    }

    /// Whether the receiver has read the message (`IsPeerRead`).
    pub(super) fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// The number of the message among all messages of the platform, in order of arrival.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// When the platform received the message.
    pub fn arrived(&self) -> Millis {
        self.arrived
    }

    /// Whether the message was recalled.
    pub fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Relaxed)
    }
}

/// The texts of the text elements of a `MsgBody`, concatenated.
pub(super) fn text_of(elements: &Value) -> String {
    let elements = elements.as_array().into_iter().flatten();
    elements.filter_map(|element| element["MsgContent"]["Text"].as_str()).collect()
}

/// The position of a message in its conversation: time, MsgSeq and serial.
type Position = (i64, u32, u64);
type Pair = (String, String);
/// The key that a send shares with its repeats: sender, receiver, MsgSeq if the caller gave one,
/// and MsgRandom.
pub(super) type SendKey = (String, String, Option<u32>, u32);

/// All stored messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    conversations: HashMap<Pair, BTreeMap<Position, Arc<Message>>>,
    inboxes: HashMap<String, VecDeque<InboxEntry>>,
    /// Every stored message in order of arrival, to enforce the limit.
    order: VecDeque<Arc<Message>>,
    /// The accepted sends of the last seconds, by second.
    recent_sends: BTreeMap<i64, HashMap<SendKey, Arc<Message>>>,
    unread: HashMap<String, i64>,
    next_serial: u64,
}

#[derive(Debug)]
struct InboxEntry {
    message: Arc<Message>,
    /// Whether the message arrived while the receiver was not connected, and still waits for a
    /// login.
    waiting: bool,
}

fn pair(one: &str, other: &str) -> Pair {
    if one <= other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) }
}

/// One side's view of a conversation at one moment.
#[derive(Clone, Copy)]
pub(super) struct ConversationView<'a> {
    /// The user whose view it is.
    pub operator: &'a str,
    /// The other side.
    pub peer: &'a str,
    /// The serial of the first visible message. Earlier ones belong to a deleted account of the
    /// same UserID.
    pub first_serial: u64,
    /// The current time.
    pub now: Millis,
    /// How long a new message stays invisible, in milliseconds.
    pub delay: i64,
}

impl ConversationView<'_> {
    fn shows(&self, message: &Message) -> bool {
        message.serial >= self.first_serial
            && (message.from != self.operator || message.flags.visible_to_sender)
            && self.now.since(message.arrived) >= self.delay
            && self.now.seconds() - message.time <= RETENTION_S
    }
}

impl Messages {
    /// The serial that the next message gets.
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// The UserIDs with which `user` has a conversation, sorted.
    pub fn peers(&self, user: &str) -> Vec<String> {
        let other = |(one, two): &Pair| match user {
            user if user == one => Some(two.clone()),
            user if user == two => Some(one.clone()),
            _ => None,
        };
        let mut peers: Vec<String> = self.conversations.keys().filter_map(other).collect();
        peers.sort_unstable();
        peers
    }

    /// The message with the same key that was accepted within `second` (Unix time), if there is
    /// one.
    pub fn find_repeat(&self, key: &SendKey, second: i64) -> Option<Arc<Message>> {
        self.recent_sends.get(&second)?.get(key).cloned()
    }

    /// Remembers a send for [`Messages::find_repeat`].
    pub fn remember_send(&mut self, key: SendKey, message: &Arc<Message>) {
        self.recent_sends.entry(message.time).or_default().insert(key, Arc::clone(message));
        while let Some(oldest) = self.recent_sends.first_entry()
            && *oldest.key() < message.time - REPEAT_SECONDS
        {
            oldest.remove();
        }
    }

    /// Stores a message. `connected` says whether its receiver is connected. Drops the oldest
    /// message beyond `limit`.
    pub fn store(&mut self, new: NewMessage, connected: bool, limit: usize) -> Arc<Message> {
        let message = Arc::new(Message {
            key: key(new.seq, new.random, new.time),
            from: new.from,
            to: new.to,
            seq: new.seq,
            random: new.random,
            time: new.time,
            id: new.id,
            elements: new.elements,
            cloud_custom_data: new.cloud_custom_data,
            arrived: new.arrived,
            flags: new.flags,
            expires: new.expires,
            edited: Mutex::default(),
            read: AtomicBool::new(false),
            recalled: AtomicBool::new(false),
            serial: self.next_serial,
        });
        self.next_serial += 1;
        if message.flags.arrival != ArrivalKind::Silent && (connected || message.flags.stored) {
            if message.is_unread() {
                *self.unread.entry(message.to.clone()).or_default() += 1;
            }
            let incoming = InboxEntry { message: Arc::clone(&message), waiting: !connected };
            self.inboxes.entry(message.to.clone()).or_default().push_back(incoming);
        }
        if message.flags.stored {
            let log = self.conversations.entry(pair(&message.from, &message.to)).or_default();
            log.insert((message.time, message.seq, message.serial), Arc::clone(&message));
        }
        self.order.push_back(Arc::clone(&message));
        if self.order.len() > limit {
            self.drop_oldest();
        }
        message
    }

    fn drop_oldest(&mut self) {
        let Some(old) = self.order.pop_front() else { return };
        if let Some(log) = self.conversations.get_mut(&pair(&old.from, &old.to)) {
            log.remove(&(old.time, old.seq, old.serial));
        }
        if let Some(inbox) = self.inboxes.get_mut(&old.to)
            && inbox.front().is_some_and(|incoming| incoming.message.serial == old.serial)
        {
            inbox.pop_front();
        }
    }

    /// The messages that reached `user`'s clients, in order of arrival, without recalled ones.
    pub fn inbox(&self, user: &str) -> Vec<Arc<Message>> {
        let inbox = self.inboxes.get(user).into_iter().flatten();
        let delivered = inbox.filter(|incoming| !incoming.waiting && !incoming.message.is_recalled());
        delivered.map(|incoming| Arc::clone(&incoming.message)).collect()
    }

    /// Delivers the waiting messages to `user`, who connects. Drops those whose `MsgLifeTime` has
    /// passed.
    pub fn connect(&mut self, user: &str, now: Millis) {
        let Some(inbox) = self.inboxes.get_mut(user) else { return };
        inbox.retain_mut(|incoming| {
            let expired = incoming.waiting && incoming.message.expires < now.seconds();
            incoming.waiting = false;
            !expired
        });
    }

    /// Removes the inbox of a deleted account.
    pub fn remove_inbox(&mut self, user: &str) {
        self.inboxes.remove(user);
        self.unread.remove(user);
    }

    /// The messages of a conversation that `view` shows, newest first, from `position` back to
    /// `min_time` (Unix seconds).
    pub fn newest_first<'a>(
        &'a self,
        view: ConversationView<'a>,
        min_time: i64,
        position: Position,
    ) -> impl Iterator<Item = &'a Arc<Message>> {
        let log = self.conversations.get(&pair(view.operator, view.peer));
        let range = (min_time, 0, 0)..=position;
        let log = log.filter(|_| range.start() <= range.end());
        log.into_iter()
            .flat_map(move |log| log.range(range.clone()).rev())
            .map(|(_, message)| message)
            .filter(move |message| view.shows(message))
    }

    /// The position just before the message with this MsgKey. If there is no such message, the
    /// position just before its second and MsgSeq.
    pub fn position_before(&self, one: &str, other: &str, (seq, random, time): (u32, u32, i64)) -> Position {
        let found = self.find(one, other, seq, random, time);
        let (time, seq, serial) = found.map_or((time, seq, 0), |message| (time, seq, message.serial));
        match (serial, seq) {
            (1.., _) => (time, seq, serial - 1),
            (0, 1..) => (time, seq - 1, u64::MAX),
            (0, 0) => (time - 1, u32::MAX, u64::MAX),
        }
    }

    /// Finds a stored message of a conversation, in either direction.
    pub fn find(&self, one: &str, other: &str, seq: u32, random: u32, time: i64) -> Option<&Arc<Message>> {
        let log = self.conversations.get(&pair(one, other))?;
        let mut same_second = log.range((time, seq, 0)..=(time, seq, u64::MAX));
        same_second.find(|(_, message)| message.random == random).map(|(_, message)| message)
    }

    /// Recalls a message. Returns false if it was recalled before.
    pub fn recall(&mut self, message: &Message) -> bool {
        let is_first = !message.recalled.swap(true, Ordering::Relaxed);
        if is_first {
            self.mark_read(message);
        }
        is_first
    }

    /// Marks `peer`'s messages to `reader` up to `time` (Unix seconds) as read. Works backwards and
    /// stops at the first message that is already read.
    pub fn read_until(&mut self, reader: &str, peer: &str, time: i64) {
        let Some(log) = self.conversations.get(&pair(reader, peer)) else { return };
        let messages = log.range(..=(time, u32::MAX, u64::MAX)).rev().map(|(_, message)| message);
        let unread: Vec<_> = messages
            .filter(|message| message.to == reader && message.flags.arrival == ArrivalKind::Counted)
            .take_while(|message| message.is_unread())
            .cloned()
            .collect();
        for message in unread {
            self.mark_read(&message);
        }
    }

    fn mark_read(&mut self, message: &Message) {
        if !message.read.swap(true, Ordering::Relaxed)
            && message.flags.arrival == ArrivalKind::Counted
            && let Some(unread) = self.unread.get_mut(&message.to)
        {
            *unread = (*unread - 1).max(0);
        }
    }

    /// The number of unread messages of `user`.
    pub fn unread_count(&self, user: &str) -> i64 {
        self.unread.get(user).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
