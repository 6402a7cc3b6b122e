//! Messages on their way in: added in the order of acceptance, some of them claimed at once.

use super::value::params;
use super::{AttachState, PendingCall, StoreError, Tx};
use crate::model::{Direction, ImUserId, Lane, MessageId, MessageKind, Millis, OpenId, OutboundCall, State};

/// A message to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// The direction in which it is sent.
    pub direction: Direction,
    /// What kind of message it is.
    pub kind: MessageKind,
    /// The customer.
    pub openid: OpenId,
    /// The agent who receives it or wrote it.
    pub agent: Option<ImUserId>,
    /// The calls to make; at least one.
    pub calls: Vec<OutboundCall>,
    /// `MsgSeq` of the first call; each further call has the next number.
    pub msg_seq: u32,
    /// `MsgRandom` of the first call; each further call has the next number.
    pub msg_random: u32,
    /// The dedup key of the push or callback that contained it.
    pub source: String,
    /// The customer has left: the row is deleted as soon as the message is settled.
    pub erase: bool,
}

impl Tx<'_> {
    /// Stores a message. Each message gets a larger id than all before it.
    pub fn add(&self, message: &NewMessage) -> Result<MessageId, StoreError> {
        self.insert(message, State::Accepted)
    }

    /// Stores a message and records that the attempt at its first call begins now. Returns that call.
    pub fn add_claimed(&self, message: NewMessage) -> Result<PendingCall, StoreError> {
        let id = self.insert(&message, State::Sending)?;
        let call_count = u32::try_from(message.calls.len()).unwrap_or(u32::MAX);
        let no_call = || StoreError::unreadable(format!("message {id} has no call"));
        Ok(PendingCall {
            id,
            lane: Lane { direction: message.direction, customer: message.openid },
            kind: message.kind,
            agent: message.agent,
            call: message.calls.into_iter().next().ok_or_else(no_call)?,
            call_index: 0,
            call_count,
            msg_seq: message.msg_seq,
            msg_random: message.msg_random,
            created_at: self.now,
            attempts: 0,
            attempt_at: Millis(0),
            unsettled: false,
            attached: AttachState::Detached,
            before_backfill: false,
            rounds: 0,
            generation: 0,
            waiting_since: self.now,
            burst: None,
        })
    }

    /// Stores an agent's note, which needs no attempt.
    pub fn add_note(&self, note: &NewMessage) -> Result<MessageId, StoreError> {
        self.insert(note, State::Delivered)
    }

    pub(super) fn insert(&self, message: &NewMessage, state: State) -> Result<MessageId, StoreError> {
        let sql = "INSERT INTO message (id, direction, kind, state, openid, agent, calls, calls_done, seq, random,
                                        source, created_at, due_at, attempts, attempt_at, settled_at, last_error,
                                        erase, hold_noticed, attached, attached_to, attached_calls, waiting_since,
                                        conversation)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11, 0, ?13, ?14, ?15, NULL, ?12,
                           0, 0, NULL, 0, ?11,
                           coalesce((SELECT conversation FROM customer WHERE openid = ?5), 0))
                   RETURNING id";
        let calls = serde_json::to_string(&message.calls)?;
        let attempts = i64::from(state == State::Sending);
        let drawn = self.session.draw_id("message")?;
        let values = params![
            drawn,
            message.direction,
            message.kind,
            state,
            message.openid.as_str(),
            message.agent.as_ref().map(ImUserId::as_str),
            &calls,
            message.msg_seq,
            message.msg_random,
            &message.source,
            self.now.0,
            message.erase,
            attempts,
            if attempts > 0 { self.now.0 } else { 0 },
            if state.is_open() { 0 } else { self.now.0 },
        ];
        Ok(MessageId(self.session.add_row(sql, values, drawn)?))
    }
}
