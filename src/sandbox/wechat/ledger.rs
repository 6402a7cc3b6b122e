//! Everything that happened, as the platform saw it: the oracle of tests that crash the bridge.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::model::Millis;

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with `success` or nothing.
    Acknowledged,
    /// Answered with a valid reply of this `MsgType`.
    Replied(String),
    /// No try was answered as it must be; why the last one was not.
    Failed(String),
    /// Not sent: the platform had stopped pushing (MarkFail).
    Withheld,
}

/// One push and its end. A push that is sent again on purpose has an entry each time.
#[derive(Clone, Debug)]
pub struct PushEntry {
    /// When it ended.
    pub at: Millis,
    /// The customer.
    pub openid: String,
    /// `MsgType`, or `Event` for an event.
    pub kind: String,
    /// `MsgId`; none for events.
    pub msg_id: Option<u64>,
    /// `Content` of a text, else empty.
    pub text: String,
    /// How many requests were made.
    pub tries: usize,
    /// How it ended.
    pub outcome: Outcome,
}

impl PushEntry {
    /// The bridge has answered it and is responsible for it from then on.
    pub fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged | Outcome::Replied(_))
    }
}

/// A call of `custom/send` that was carried out.
#[derive(Clone, Debug)]
pub struct SendEntry {
    /// Counts every accepted call from 0.
    pub order: u64,
    /// When.
    pub at: Millis,
    /// `touser`.
    pub openid: String,
    /// `msgtype`.
    pub kind: String,
    /// `content` of a text, else empty.
    pub text: String,
    /// The whole body.
    pub payload: Value,
}

/// A call that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When.
    pub at: Millis,
    /// The API's path.
    pub path: String,
    /// `touser`, where the call had a readable one.
    pub openid: Option<String>,
    /// The return code.
    pub code: i64,
}

/// How often tokens were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Successful calls of `stable_token`.
    pub stable: u64,
    /// Of them, with `force_refresh`.
    pub forced: u64,
    /// Of them, those that made a new token.
    pub fresh: u64,
    /// Successful calls of `token`.
    pub plain: u64,
}

/// The record. Cloning it copies pointers. Each list keeps its latest entries, up to the limit in the settings.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Pushes that have ended, in the order of their ends.
    pub pushes: VecDeque<Arc<PushEntry>>,
    /// Accepted `custom/send` calls, in their order.
    pub sends: VecDeque<Arc<SendEntry>>,
    /// Refused calls of every API.
    pub refusals: VecDeque<Arc<Refusal>>,
    /// Token calls.
    pub tokens: TokenCounts,
    /// Media uploads that succeeded.
    pub uploads: u64,
    /// Media downloads that succeeded.
    pub downloads: u64,
    /// Accepted sends since the start, forgotten ones included.
    pub(super) sends_made: u64,
}

impl Ledger {
    /// The texts that one customer was sent by `custom/send`, in order.
    pub fn sent_texts(&self, openid: &str) -> Vec<&str> {
        let sends = self.sends.iter().filter(|send| send.openid == openid && send.kind == "text");
        sends.map(|send| send.text.as_str()).collect()
    }

    /// How many calls were refused with this code.
    pub fn refused(&self, code: i64) -> usize {
        self.refusals.iter().filter(|refusal| refusal.code == code).count()
    }
}

/// Appends and forgets the oldest beyond `limit`.
pub(super) fn keep<T>(list: &mut VecDeque<T>, entry: T, limit: usize) {
    while list.len() >= limit.max(1) {
        list.pop_front();
    }
    list.push_back(entry);
}
