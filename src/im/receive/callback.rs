//! Reads a callback: an agent's message, its recall or its edit, or the reason why there is nothing to do.
//!
//! The body must be a JSON object; everything else is lenient: missing members have defaults, and
//! numbers may have any spelling. Reference: "`C2C.CallbackAfterSendMsg`", "Loop control"; docs
//! 269/2716.

use serde_json::{Map, Value};

use super::{CallbackVerifier, VerifiedQuery};
use crate::im::{element, msg_key, number, text};
use crate::json::{self, integer};
use crate::model::{AgentEvent, Answer, AnswerEdit, AnswerId, ImUserId, PresenceChange, TypingSignal};

/// A message was sent.
const AFTER_SEND: &str = "C2C.CallbackAfterSendMsg";
/// A message was recalled.
const AFTER_RECALL: &str = "C2C.CallbackAfterMsgWithDraw";
/// A client was connected or disconnected.
const STATE_CHANGE: &str = "State.StateChange";
/// A message or the data beside it was edited.
const AFTER_EDIT: &str = "C2C.CallbackAfterModifyMsg";

/// The content of a callback.
#[derive(Clone, Debug, PartialEq)]
pub enum Callback {
    /// An agent's message to an account that may be a customer's.
    Answer(Answer),
    /// A message that must not be moved, even if a backfill finds it later.
    Skipped(SkipReason, Answer),
    /// A message was recalled.
    Recalled(AnswerId),
    /// A message was edited, or only the data beside it.
    Edited(AnswerEdit),
    /// An agent starts or stops typing to an account that may be a customer's.
    Typing(TypingSignal),
    /// An agent has come or gone.
    Presence(PresenceChange),
    /// There is no message to move.
    Ignored(SkipReason),
}

/// Why there is no message to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// It is an event that the bridge does not need.
    OtherCommand,
    /// Query and body name different events.
    CommandMismatch,
    /// A server sent the message, and the configuration says to leave those alone.
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
    /// The message has no elements, or no key.
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
        let command = match (text(body, "CallbackCommand"), query.command.as_deref()) {
            (Some(body), Some(query)) if body != query => {
                return Callback::Ignored(SkipReason::CommandMismatch);
            }
            (body, query) => body.or(query),
        };
        if command == Some(STATE_CHANGE) {
            return self.presence(query, body).map_or_else(Callback::Ignored, Callback::Presence);
        }
        match command.and_then(event_named) {
            Some(AgentEvent::Sent) => self.sent(query, body),
            Some(AgentEvent::Recalled) => answer_id(body).map_or_else(Callback::Ignored, Callback::Recalled),
            Some(AgentEvent::Edited) => self.edited(body).map_or_else(Callback::Ignored, Callback::Edited),
            None => Callback::Ignored(SkipReason::OtherCommand),
        }
    }

    fn sent(&self, query: &VerifiedQuery, body: &Value) -> Callback {
        let is_from_server =
            query.opt_platform.as_deref().is_some_and(|platform| platform.eq_ignore_ascii_case("RESTAPI"));
        // The event fires for failed deliveries too. An unreadable result does not count as
        // success.
        let has_failed =
            body.get("SendMsgResult").is_some_and(|result| !result.is_null() && integer(result) != Some(0));
        let typing = typing_status(body);
        if typing.is_some() || is_set(body, "OnlineOnlyFlag") {
            let signal = typing.filter(|_| !has_failed && (self.rest_answers || !is_from_server));
            return signal
                .and_then(|is_typing| self.typing(body, is_typing))
                .map_or(Callback::Ignored(SkipReason::OnlineOnly), Callback::Typing);
        }
        let skip_reason = match (is_from_server && !self.rest_answers, has_failed) {
            (true, _) => Some(SkipReason::RestApi),
            (false, true) => Some(SkipReason::NotDelivered),
            (false, false) => None,
        };
        let is_agent = account(body, "From_Account").is_ok_and(|from| self.agents.get().contains(&from));
        match (self.message(body), skip_reason) {
            (Ok(answer), None) if is_agent => Callback::Answer(answer),
            (Ok(answer), Some(reason)) if is_agent => Callback::Skipped(reason, answer),
            // A program would not read a note that its message went nowhere.
            (Ok(stray), None) if !is_from_server => Callback::Skipped(SkipReason::NotAnAgent, stray),
            (Ok(_), None) => Callback::Ignored(SkipReason::NotAnAgent),
            (_, Some(reason)) | (Err(reason), None) => Callback::Ignored(reason),
        }
    }

    fn edited(&self, body: &Value) -> Result<AnswerEdit, SkipReason> {
        let edited_at_ms = number(body, "EventTime").unwrap_or_else(|| self.clock.now().0);
        Ok(AnswerEdit { answer: self.message(body)?, edited_at_ms })
    }

    fn message(&self, body: &Value) -> Result<Answer, SkipReason> {
        let from = account(body, "From_Account")?;
        let to = account(body, "To_Account")?;
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

    /// An agent's coming or going. A phone whose connection ended may still be reached by push, so that says nothing;
    /// a browser cannot.
    fn presence(&self, query: &VerifiedQuery, body: &Value) -> Result<PresenceChange, SkipReason> {
        let info = body.get("Info").ok_or(SkipReason::OtherCommand)?;
        let agent = account(info, "To_Account")?;
        if !self.agents.get().contains(&agent) {
            return Err(SkipReason::NotAnAgent);
        }
        let is_web =
            query.opt_platform.as_deref().is_some_and(|platform| platform.eq_ignore_ascii_case("Web"));
        let is_present = match text(info, "Action") {
            Some("Login") => true,
            Some("Logout") => false,
            Some("Disconnect") if is_web => false,
            _ => return Err(SkipReason::OtherCommand),
        };
        let at_ms = number(body, "EventTime").unwrap_or_else(|| self.clock.now().0);
        Ok(PresenceChange { agent, is_present, at_ms })
    }

    fn typing(&self, body: &Value, is_typing: bool) -> Option<TypingSignal> {
        let (agent, to) = (account(body, "From_Account").ok()?, account(body, "To_Account").ok()?);
        self.agents.get().contains(&agent).then_some(TypingSignal { agent, to, is_typing })
    }

    /// The time in seconds: of the message, else of the event (in milliseconds), else of our clock.
    fn time_of(&self, body: &Value) -> i64 {
        number(body, "MsgTime")
            .or_else(|| number(body, "EventTime").map(|millis: i64| millis.div_euclid(1000)))
            .filter(|seconds| *seconds > 0)
            .unwrap_or_else(|| self.clock.now().seconds())
    }
}

impl VerifiedQuery {
    /// What happened in an agent's client, if the bridge needs to know of it.
    pub fn event(&self) -> Option<AgentEvent> {
        event_named(self.command.as_deref()?)
    }
}

/// The name of the callback, which is that of its switch in IM's console.
pub fn callback_name(event: AgentEvent) -> &'static str {
    match event {
        AgentEvent::Sent => AFTER_SEND,
        AgentEvent::Recalled => AFTER_RECALL,
        AgentEvent::Edited => AFTER_EDIT,
    }
}

fn event_named(command: &str) -> Option<AgentEvent> {
    AgentEvent::ALL.into_iter().find(|event| callback_name(*event) == command)
}

fn answer_id(body: &Value) -> Result<AnswerId, SkipReason> {
    let (from, to) = (account(body, "From_Account")?, account(body, "To_Account")?);
    let msg_key = text(body, "MsgKey").ok_or(SkipReason::Empty)?.to_owned();
    Ok(AnswerId { from, to, msg_key })
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
