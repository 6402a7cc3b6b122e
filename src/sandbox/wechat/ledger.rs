//! The ledger records everything that the platform saw. Tests that crash the bridge check against
//! it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Millis;

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bridge answered `success` or an empty body.
    Acknowledged,
    /// The bridge answered with a valid reply of this `MsgType`.
    Replied(String),
    /// No request got a valid answer. Holds the error of the last one.
    Failed(String),
    /// The platform sent nothing because it had stopped pushing (MarkFail).
    Withheld,
}

/// One push that has ended. A push that a test repeats has one entry for each repeat.
#[derive(Clone, Debug)]
pub struct PushEntry {
    /// When the push ended.
    pub at: Millis,
    /// The customer's openid.
    pub openid: String,
    /// The `MsgType`, or the `Event` of an event.
    pub kind: String,
    /// The `MsgId`. `None` for an event.
    pub msg_id: Option<u64>,
    /// The `Content` of a text. Empty for other kinds.
    pub text: String,
    /// The number of requests made.
    pub attempts: usize,
    /// How the push ended.
    pub outcome: Outcome,
}

impl PushEntry {
    /// Whether the bridge answered the push and is responsible for it from then on.
    pub fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged | Outcome::Replied(_))
    }
}

/// An accepted call of `custom/send`.
#[derive(Clone, Debug)]
pub struct SendEntry {
    /// When the platform accepted the call.
    pub at: Millis,
    /// The `touser`.
    pub openid: String,
    /// The `msgtype`.
    pub kind: String,
    /// The `content` of a text. Empty for other kinds.
    pub text: String,
    /// The `kf_account`, as whom the customer sees it. Empty if there is none.
    pub kf_account: String,
}

/// A refused API call.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When the platform refused the call.
    pub at: Millis,
    /// The API's path.
    pub path: String,
    /// The `touser`, if the call had a readable one.
    pub openid: Option<String>,
    /// The return code.
    pub code: i64,
}

/// Counts of token calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Successful calls of `stable_token`.
    pub stable: u64,
    /// Successful calls of `stable_token` with `force_refresh`.
    pub forced: u64,
    /// Successful calls of `stable_token` that created a new token.
    pub fresh: u64,
    /// Successful calls of `token`.
    pub plain: u64,
}

/// The ledger. A clone copies pointers only. Each list keeps its latest entries, up to
/// `settings.ledger_limit`.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Pushes that have ended, in the order in which they ended.
    pub pushes: VecDeque<Arc<PushEntry>>,
    /// Accepted `custom/send` calls, oldest first.
    pub sends: VecDeque<Arc<SendEntry>>,
    /// Refused calls of every API, oldest first.
    pub refusals: VecDeque<Arc<Refusal>>,
    /// Counts of token calls.
    pub tokens: TokenCounts,
    /// Calls of `custom/typing` that succeeded.
    pub typing_calls: u64,
    /// Those of them after which the phone shows that the account types.
    pub typing_shown: u64,
    /// Media uploads that succeeded.
    pub uploads: u64,
    /// Media downloads that succeeded.
    pub downloads: u64,
    /// Accepted `custom/send` calls since the start, including those that were dropped from
    /// `sends`.
    pub(super) sends_total: u64,
}

impl Ledger {
    /// The texts sent to one customer by `custom/send`, oldest first.
    pub fn sent_texts(&self, openid: &str) -> Vec<&str> {
        let sends = self.sends.iter().filter(|send| send.openid == openid && send.kind == "text");
        sends.map(|send| send.text.as_str()).collect()
    }

    /// The number of calls refused with this code.
    pub fn refusal_count(&self, code: i64) -> usize {
        self.refusals.iter().filter(|refusal| refusal.code == code).count()
    }
}

/// Appends an entry and drops the oldest ones beyond `limit`.
pub(super) fn push_bounded<T>(list: &mut VecDeque<T>, entry: T, limit: usize) {
    while list.len() >= limit.max(1) {
        list.pop_front();
    }
    list.push_back(entry);
}
