//! Reads a callback: an agent's message, or the reason why there is no message to move.
//!
//! The body must be a JSON object; everything else is lenient: missing members have defaults, and
//! numbers may have any spelling. Reference: "`C2C.CallbackAfterSendMsg`", "Loop control"; docs
//! 269/2716.

use serde_json::{Map, Value};

use super::{CallbackVerifier, VerifiedQuery};
use crate::im::{element, msg_key, number, text};
use crate::json::{self, integer};
use crate::model::{Answer, ImUserId, TypingSignal};

/// The one event that moves a message.
const AFTER_SEND: &str = "C2C.CallbackAfterSendMsg";

/// The content of a callback.
#[derive(Clone, Debug, PartialEq)]
pub enum Callback {
    /// An agent's message to an account that may be a customer's.
    Answer(Answer),
    /// An agent's message that must not be moved, even if a backfill finds it later.
    Skipped(SkipReason, Answer),
    /// An agent starts or stops typing to an account that may be a customer's.
    Typing(TypingSignal),
    /// There is no message to move.
    Ignored(SkipReason),
}

/// Why there is no message to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// It is an event other than a sent message.
    OtherCommand,
    /// Query and body name different events.
    CommandMismatch,
    /// A server sent the message: the bridge or another one.
    RestApi,
    /// IM did not deliver the message.
    NotDelivered,
    /// It lasts only for clients that are online (`OnlineOnlyFlag`): a typing signal or a kit's
    /// internals. IM keeps no such message in its history.
    OnlineOnly,
    /// Sender or receiver is not a valid UserID.
    BadAccount,
    /// The sender is not one of the agents.
    NotAnAgent,
    /// The message has no elements.
    Empty,
}

/// The body is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object")]
pub struct BadBody;

impl SkipReason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 8] = [
        Self::OtherCommand,
        Self::CommandMismatch,
        Self::RestApi,
        Self::NotDelivered,
        Self::OnlineOnly,
        Self::BadAccount,
        Self::NotAnAgent,
        Self::Empty,
    ];

    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherCommand => "other_command",
            Self::CommandMismatch => "command_mismatch",
            Self::RestApi => "rest_api",
            Self::NotDelivered => "not_delivered",
            Self::OnlineOnly => "online_only",
            Self::BadAccount => "bad_account",
            Self::NotAnAgent => "not_an_agent",
            Self::Empty => "empty",
        }
    }
}

impl CallbackVerifier {
    /// Reads the body of an authenticated callback. The bridge decides later whether the receiver
    /// is a known customer and whether the message is a repeat.
    pub fn parse(&self, query: &VerifiedQuery, body: &[u8]) -> Result<Callback, BadBody> {
        let object: Map<String, Value> = json::from_slice(body).map_err(|_| BadBody)?;
        Ok(self.read(query, &Value::Object(object)))
    }

    fn read(&self, query: &VerifiedQuery, body: &Value) -> Callback {
        match (text(body, "CallbackCommand"), query.command.as_deref()) {
            (Some(body), Some(query)) if body != query => {
                return Callback::Ignored(SkipReason::CommandMismatch);
            }
            (Some(AFTER_SEND), _) | (None, Some(AFTER_SEND)) => {}
            _ => return Callback::Ignored(SkipReason::OtherCommand),
        }
        let is_from_server =
            query.opt_platform.as_deref().is_some_and(|platform| platform.eq_ignore_ascii_case("RESTAPI"));
        // The event fires for failed deliveries too. An unreadable result does not count as
        // success.
        let has_failed =
            body.get("SendMsgResult").is_some_and(|result| !result.is_null() && integer(result) != Some(0));
        let typing = typing_status(body);
        if typing.is_some() || is_set(body, "OnlineOnlyFlag") {
            let signal = typing.filter(|_| !is_from_server && !has_failed);
            return signal
                .and_then(|is_typing| self.typing(body, is_typing))
                .map_or(Callback::Ignored(SkipReason::OnlineOnly), Callback::Typing);
        }
        let skip_reason = match (is_from_server, has_failed) {
            (true, _) => Some(SkipReason::RestApi),
            (false, true) => Some(SkipReason::NotDelivered),
            (false, false) => None,
        };
        match (self.answer(body), skip_reason) {
            (Ok(answer), None) => Callback::Answer(answer),
            (Ok(answer), Some(reason)) => Callback::Skipped(reason, answer),
            (Err(_), Some(reason)) | (Err(reason), None) => Callback::Ignored(reason),
        }
    }

    fn answer(&self, body: &Value) -> Result<Answer, SkipReason> {
        let from = account(body, "From_Account")?;
        let to = account(body, "To_Account")?;
        if !self.agents.contains(&from) {
            return Err(SkipReason::NotAnAgent);
        }
        let parts = body.get("MsgBody").map(element::parts).unwrap_or_default();
        if parts.is_empty() {
            return Err(SkipReason::Empty);
        }
        let msg_time = self.time_of(body);
        let msg_seq = number(body, "MsgSeq").unwrap_or_default();
        let msg_random = number(body, "MsgRandom").unwrap_or_default();
        let msg_key =
            text(body, "MsgKey").map_or_else(|| msg_key(msg_seq, msg_random, msg_time), str::to_owned);
        Ok(Answer { from, to, msg_key, msg_time, msg_seq, msg_random, quoted: element::quoted(body), parts })
    }

    fn typing(&self, body: &Value, is_typing: bool) -> Option<TypingSignal> {
        let (agent, to) = (account(body, "From_Account").ok()?, account(body, "To_Account").ok()?);
        self.agents.contains(&agent).then_some(TypingSignal { agent, to, is_typing })
    }

    /// The time in seconds: of the message, else of the event (in milliseconds), else of our clock.
    fn time_of(&self, body: &Value) -> i64 {
        number(body, "MsgTime")
            .or_else(|| number(body, "EventTime").map(|millis: i64| millis.div_euclid(1000)))
            .filter(|seconds| *seconds > 0)
            .unwrap_or_else(|| self.clock.now().seconds())
    }
}

/// Whether a flag is set, in any spelling.
fn is_set(body: &Value, name: &str) -> bool {
    match body.get(name) {
        Some(Value::Bool(set)) => *set,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(value) => integer(value).is_some_and(|number| number != 0),
        None => false,
    }
}

/// What a typing signal of Tencent's UI kits says: `Some(true)` while the agent types. `None` for any other message.
/// Flutter's kit leaves `userAction` at 14 when typing ends, so that `typingStatus` decides.
fn typing_status(body: &Value) -> Option<bool> {
    let [element] = body.get("MsgBody")?.as_array()?.as_slice() else { return None };
    let data = element.get("MsgContent")?.get("Data")?.as_str()?;
    let data: Value = json::from_slice(data.as_bytes()).ok()?;
    if data.get("businessID")?.as_str()? != "user_typing_status" {
        return None;
    }
    let status = data.get("typingStatus").and_then(integer);
    let action = || data.get("userAction").and_then(integer);
    Some(status.or_else(action).is_some_and(|status| status != 0))
}

fn account(body: &Value, name: &str) -> Result<ImUserId, SkipReason> {
    text(body, name).and_then(|id| ImUserId::new(id).ok()).ok_or(SkipReason::BadAccount)
}

#[cfg(test)]
mod tests;
