//! Messages: added in the order of acceptance, claimed lane by lane, settled by the moves of the
//! model.

use const_format::formatcp;

use super::column::{ALSO_OPEN, OPEN, TRANSFER, parse_openid, parse_optional_agent};
use super::position::POSITION;
use super::session::Row;
use super::value::{Column, FromColumn, Mismatch, Param, params};
use super::{StoreError, Tx};
use crate::model::{
    Direction, ImUserId, Lane, MessageId, MessageKind, Millis, Move, OutboundCall, State, return_code,
};

/// Whether a message is attached to a passive reply, and what is known of that reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachState {
    /// It is not attached to a reply.
    Detached,
    /// The reply may have been sent.
    MaybeSent,
    /// The reply was certainly not sent.
    NotSent,
}

/// A message at the head of its lane, with the call that is next.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingCall {
    /// The message.
    pub id: MessageId,
    /// Its lane.
    pub lane: Lane,
    /// What kind of message it is.
    pub kind: MessageKind,
    /// The agent who receives it or wrote it.
    pub agent: Option<ImUserId>,
    /// The call.
    pub call: OutboundCall,
    /// The index of the call among the message's calls, from 0.
    pub call_index: u32,
    /// The number of calls that the message has.
    pub call_count: u32,
    /// Drawn at acceptance; every attempt uses the same value.
    pub msg_seq: u32,
    /// Drawn at acceptance; every attempt uses the same value.
    pub msg_random: u32,
    /// When the message was accepted.
    pub created_at: Millis,
    /// The number of attempts already made.
    pub attempts: u32,
    /// When the last attempt began; 0 before the first.
    pub attempt_at: Millis,
    /// The last attempt was recorded but not settled: its outcome is not known.
    pub unsettled: bool,
    /// Whether it is attached to a passive reply that is not yet confirmed.
    pub attached: AttachState,
    /// It was accepted before the backfill of its conversation: earlier answers may still be
    /// missing.
    pub before_backfill: bool,
    /// Rounds in which the platform neither answered the call nor had it in its history.
    pub rounds: u32,
    /// The number of operators' commands on the message so far.
    pub generation: u32,
    /// Since when it waits: its acceptance, or its last release.
    pub waiting_since: Millis,
    /// The first message of the burst that the last attempt sent, if that is not settled; `None`: it sent this message
    /// alone.
    pub burst: Option<MessageId>,
}

impl PendingCall {
    /// The time from which its age counts: its acceptance, or, for a message to an agent, its release if it was deferred
    /// until then.
    pub fn waits_from(&self) -> Millis {
        match self.lane.direction {
            Direction::ToIm => self.created_at.max(self.waiting_since),
            Direction::ToWechat => self.created_at,
        }
    }
}

impl From<AttachState> for Param<'_> {
    fn from(attached: AttachState) -> Self {
        Self::Int(match attached {
            AttachState::Detached => 0,
            AttachState::MaybeSent => 1,
            AttachState::NotSent => 2,
        })
    }
}

impl FromColumn for AttachState {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(0) => Ok(Self::Detached),
            Column::Int(1) => Ok(Self::MaybeSent),
            Column::Int(2) => Ok(Self::NotSent),
            _ => Err(Mismatch),
        }
    }
}

/// The head of a lane.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// The lane has no pending message.
    Empty,
    /// No attempt before this time.
    NotBefore(Millis),
    /// It may be attempted now.
    Ready(Box<PendingCall>),
    /// Its stored data cannot be read.
    Unreadable(MessageId),
}

/// What to record about a message in addition to its move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The reason, for operators and notices; no secrets.
    pub why: Option<String>,
    /// No attempt before this time; only with [`Move::Requeue`] and [`Move::Release`].
    pub due_at: Millis,
    /// The call is done and the next call of the message follows; only with [`Move::Requeue`].
    pub call_done: bool,
    /// How long the call took that delivered the message, milliseconds, if that is all that its trace step says.
    pub took_ms: Option<i64>,
}

/// A clock that steps back by less is being corrected, not set; milliseconds.
const CLOCK_STEP_MS: i64 = 1_000;
/// No message is postponed for longer, in milliseconds. A later due time was written before the
/// clock was set back.
const LONGEST_WAIT_MS: i64 = 2 * 3_600_000;

pub(super) const PENDING_COLUMNS: &str =
    "id, kind, agent, calls, calls_done, seq, random, created_at, attempts, attempt_at, state, due_at,
                    attached, before_backfill, rounds, generation, waiting_since, burst";
/// The first pending message of a lane.
pub(super) const FIRST_PENDING: &str = formatcp!(
    "SELECT {PENDING_COLUMNS} FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN}
     ORDER BY {POSITION} LIMIT 1"
);
/// The first pending transfer of a lane.
pub(super) const FIRST_TRANSFER: &str = formatcp!(
    "SELECT {PENDING_COLUMNS} FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {TRANSFER}
     ORDER BY {POSITION} LIMIT 1"
);
const RECORD_ATTEMPT: &str = formatcp!(
    "UPDATE message SET state = ?2, attempts = attempts + 1, attempt_at = ?3 WHERE id = ?1 AND {ALSO_OPEN}"
);

impl Tx<'_> {
    /// The head of `lane`: the first transfer if there is one, else the first message by position.
    pub fn head(&self, lane: &Lane) -> Result<Head, StoreError> {
        if lane.direction == Direction::ToIm
            && let found @ (Head::Ready(_) | Head::NotBefore(_) | Head::Unreadable(_)) =
                self.first_pending(lane, FIRST_TRANSFER)?
        {
            return Ok(found);
        }
        self.first_pending(lane, FIRST_PENDING)
    }

    /// The message of `lane` that `sql` finds, as a head.
    fn first_pending(&self, lane: &Lane, sql: &str) -> Result<Head, StoreError> {
        let values = params![lane.direction, lane.customer.as_str()];
        let head = self.session.one(sql, values, |row| {
            let id = MessageId(row.get(0)?);
            match self.read_head(row, lane) {
                Err(error) if error.is_unreadable() => Ok(Head::Unreadable(id)),
                head => head,
            }
        });
        Ok(head?.unwrap_or(Head::Empty))
    }

    /// Reads a row of [`PENDING_COLUMNS`] as the head of `lane`.
    fn read_head(&self, row: Row<'_>, lane: &Lane) -> Result<Head, StoreError> {
        let (due, attempt_at) = (Millis(row.get(11)?), Millis(row.get(9)?));
        // An attempt time in the future means that the clock was set back since. The message must
        // not wait until that time comes again.
        let clock_went_back =
            attempt_at.since(self.now) > CLOCK_STEP_MS || due.since(self.now) > LONGEST_WAIT_MS;
        if due > self.now && !clock_went_back {
            return Ok(Head::NotBefore(due));
        }
        Ok(Head::Ready(Box::new(read_pending_call(row, lane.clone())?)))
    }

    /// A message with its next call.
    pub fn pending_call(&self, id: MessageId) -> Result<PendingCall, StoreError> {
        let lane = self.lane_of(id)?;
        let sql = formatcp!("SELECT {PENDING_COLUMNS} FROM message WHERE id = ?1");
        let pending = self.session.one(sql, params![id.0], |row| read_pending_call(row, lane));
        pending?.ok_or(StoreError::NoMessage(id))
    }

    /// Records that an attempt begins now at a call that this transaction has found pending. A repeated attempt after an
    /// unsettled one is recorded like a first one.
    pub fn record_attempt(&self, pending: &PendingCall) -> Result<(), StoreError> {
        self.session.defer(RECORD_ATTEMPT, params![pending.id.0, State::Sending, self.now.0])
    }

    /// The same for any message. Fails if it is not pending.
    #[cfg(test)]
    pub fn record_attempt_at(&self, id: MessageId) -> Result<(), StoreError> {
        if self.session.run(RECORD_ATTEMPT, params![id.0, State::Sending, self.now.0])? == 0 {
            self.state(id)?.after(Move::Attempt)?;
        }
        Ok(())
    }

    /// The preparation of a call failed; the next preparation is due at `due_at`.
    pub fn reschedule_preparation(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1, attempt_at = ?2, due_at = ?3, last_error = ?4,
                   error_code = ?6 WHERE id = ?1 AND state = ?5";
        let values = params![id.0, self.now.0, due_at.0, why, State::Accepted, return_code(why)];
        self.session.run(sql, values)?;
        Ok(())
    }

    /// Makes a move and records the reason. A message that its agent recalled while it was being sent is recalled now
    /// instead of waiting for its next attempt. If the customer has left, a message that ends is deleted at once.
    pub fn settle(
        &self,
        id: MessageId,
        transition: Move,
        settlement: &Settlement,
    ) -> Result<State, StoreError> {
        let stored = self.before_settling(id)?;
        let (before, recall_requested, erase) = stored.ok_or(StoreError::NoMessage(id))?;
        let mut state = before.after(transition)?;
        if matches!(state, State::Accepted | State::Held) && recall_requested {
            state = state.after(Move::Recall)?;
        }
        let ended_at = if state.is_open() { 0 } else { self.now.0 };
        let (calls_done, attempts_factor) = if settlement.call_done { (1_i64, 0_i64) } else { (0, 1) };
        // A message that is held, or waits again, has not waited so far.
        let waits_anew = matches!(transition, Move::Hold | Move::Release | Move::Reopen);
        let sql = "UPDATE message SET state = ?2, last_error = ?3, due_at = ?4, settled_at = ?5,
                   attached = 0, attached_to = NULL, attached_calls = 0, burst = NULL, error_code = ?8,
                   calls_done = calls_done + ?6, attempts = attempts * ?7, rounds = rounds * ?7, took_ms = ?10,
                   waiting_since = coalesce(?9, waiting_since),
                   wait_noticed = CASE WHEN ?9 IS NULL THEN wait_noticed ELSE 0 END WHERE id = ?1";
        self.session.defer(
            sql,
            params![
                id.0,
                state,
                settlement.why.as_deref(),
                settlement.due_at.0,
                ended_at,
                calls_done,
                attempts_factor,
                settlement.why.as_deref().and_then(return_code),
                waits_anew.then_some(self.now.0),
                settlement.took_ms,
            ],
        )?;
        if erase && !state.is_open() {
            let sql = "DELETE FROM message WHERE id = ?1 RETURNING openid";
            if let Some(openid) = self.session.find::<String>(sql, params![id.0])? {
                self.delete_unused_conversations(&openid)?;
                self.request_erasure()?;
            }
        }
        Ok(state)
    }

    /// What decides about a move: the state, whether the agent has recalled the message, and whether its customer has left.
    pub(super) fn before_settling(&self, id: MessageId) -> Result<Option<(State, bool, bool)>, StoreError> {
        let sql = "SELECT state, recall_requested, erase FROM message WHERE id = ?1";
        self.session.one(sql, params![id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    /// Leaves an unsettled attempt as it is, until `due_at`.
    pub fn postpone(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET due_at = ?2, last_error = ?3, error_code = ?4 WHERE id = ?1";
        self.session.run(sql, params![id.0, due_at.0, why, return_code(why)])?;
        Ok(())
    }

    /// The platform could not tell the outcome of an unsettled attempt; it is asked again at
    /// `due_at`.
    pub fn reschedule_resolve(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1 WHERE id = ?1";
        self.session.run(sql, params![id.0])?;
        self.postpone(id, due_at, why)
    }

    /// The state of a message.
    pub fn state(&self, id: MessageId) -> Result<State, StoreError> {
        self.session
            .find("SELECT state FROM message WHERE id = ?1", params![id.0])?
            .ok_or(StoreError::NoMessage(id))
    }

    /// The lane of a message.
    pub fn lane_of(&self, id: MessageId) -> Result<Lane, StoreError> {
        let sql = "SELECT direction, openid FROM message WHERE id = ?1";
        let lane = self.session.one(sql, params![id.0], |row| {
            Ok(Lane { direction: row.get(0)?, customer: parse_openid(row.get(1)?)? })
        });
        lane?.ok_or(StoreError::NoMessage(id))
    }
}

/// Reads a row of [`PENDING_COLUMNS`]. A value that does not fit names its message in the error.
pub(super) fn read_pending_call(row: Row<'_>, lane: Lane) -> Result<PendingCall, StoreError> {
    let id = MessageId(row.get(0)?);
    read_columns(row, id, lane).map_err(|error| error.of_message(id))
}

fn read_columns(row: Row<'_>, id: MessageId, lane: Lane) -> Result<PendingCall, StoreError> {
    let calls: Vec<OutboundCall> = serde_json::from_str(row.text(3)?)?;
    let (call_index, call_count) = (row.get::<u32>(4)?, calls.len());
    let call = calls.into_iter().nth(call_index as usize).ok_or_else(|| {
        StoreError::unreadable(format!(
            "message {id} has {call_count} calls, but its next call has index {call_index}"
        ))
    })?;
    Ok(PendingCall {
        id,
        lane,
        kind: row.get(1)?,
        agent: parse_optional_agent(row.get(2)?)?,
        call,
        call_index,
        call_count: u32::try_from(call_count).unwrap_or(u32::MAX),
        msg_seq: row.get::<u32>(5)?.wrapping_add(call_index),
        msg_random: row.get::<u32>(6)?.wrapping_add(call_index),
        created_at: Millis(row.get(7)?),
        attempts: row.get(8)?,
        attempt_at: Millis(row.get(9)?),
        unsettled: row.get::<State>(10)? == State::Sending,
        attached: row.get(12)?,
        before_backfill: row.get(13)?,
        rounds: row.get(14)?,
        generation: row.get(15)?,
        waiting_since: Millis(row.get(16)?),
        burst: row.get::<Option<i64>>(17)?.map(MessageId),
    })
}

#[cfg(test)]
mod tests;
