//! Messages: added in the order of acceptance, claimed lane by lane, settled by the moves of the
//! model.

use rusqlite::types::FromSqlError;
use rusqlite::{OptionalExtension as _, Row};

use super::column::state_code;
use super::position::POSITION;
use super::{AttachState, StoreError, Tx};
use crate::model::{
    Direction, ImUserId, Lane, MessageId, MessageKind, Millis, Move, OpenId, OutboundCall, State,
};

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
}

impl PendingCall {
    /// The name of the API call, as traces show it.
    pub fn api_name(&self) -> &'static str {
        match self.call {
            OutboundCall::ImportAccount => "account_import",
            OutboundCall::DeleteAccount => "account_delete",
            OutboundCall::TextToAgent(_)
            | OutboundCall::LocationToAgent { .. }
            | OutboundCall::MediaToAgent(_)
            | OutboundCall::CardToAgent { .. } => "sendmsg",
            OutboundCall::EarlierMessageToAgent { .. } => "importmsg",
            OutboundCall::TextToCustomer(_) | OutboundCall::MediaToCustomer(_) => "custom/send",
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
}

/// What to record about a message in addition to its move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The reason, for operators and notices; no secrets.
    pub why: Option<String>,
    /// No attempt before this time; only with [`Move::PutBack`] and [`Move::Release`].
    pub due_at: Millis,
    /// The call is done and the next call of the message follows; only with [`Move::PutBack`].
    pub call_done: bool,
}

/// A message as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MessageSummary {
    /// Its message id.
    pub id: i64,
    /// `waiting`, `held`, `delivered`, `refused` or `unknown`.
    pub state: &'static str,
    /// `to_im` or `to_wechat`.
    pub direction: &'static str,
    /// The customer.
    pub openid: String,
    /// The agent who receives it or wrote it.
    pub agent: Option<String>,
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// The number of attempts made.
    pub attempts: u32,
    /// The reason for its state.
    pub last_error: Option<String>,
}

/// A trace step: one event in the life of a customer's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The message; `None` if the step is about no single message.
    pub message: Option<MessageId>,
    /// When it happened.
    pub at: Millis,
    /// `accepted`, the name of a call, `settled` and so on.
    pub event: String,
    /// The outcome: a code or a reason; no message content, no secrets.
    pub detail: String,
    /// The duration in milliseconds, if it was measured.
    pub took_ms: Option<i64>,
}

/// The size of the backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that the outbox still has to send or settle.
    pub waiting: i64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Millis>,
    /// Messages that wait for their customer to write.
    pub held: i64,
}

/// A clock that steps back by less is being corrected, not set; milliseconds.
const CLOCK_STEP_MS: i64 = 1_000;
/// No message is postponed for longer, in milliseconds. A later due time was written before the
/// clock was set back.
const LONGEST_WAIT_MS: i64 = 2 * 3_600_000;

const PENDING_COLUMNS: &str =
    "id, kind, agent, orders, part, seq, random, created_at, attempts, attempt_at, state, due_at,
                    riding, unlooked";

pub(super) const SUMMARY_COLUMNS: &str =
    "id, state, direction, openid, agent, created_at, attempts, last_error";

impl Tx<'_> {
    /// Stores a message. Each message gets a larger id than all before it.
    pub fn add(&self, message: &NewMessage) -> Result<MessageId, StoreError> {
        let sql = "INSERT INTO message (direction, kind, state, openid, agent, orders, part, seq, random, source,
                                        created_at, due_at, attempts, attempt_at, settled_at, last_error, erase,
                                        noted, riding, rides_on, ride_parts)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, 0, 0, 0, 0, NULL, ?11,
                           0, 0, NULL, 0)";
        self.connection.prepare_cached(sql)?.execute((
            message.direction,
            message.kind,
            State::Accepted,
            message.openid.as_str(),
            message.agent.as_ref().map(ImUserId::as_str),
            serde_json::to_string(&message.calls)?,
            message.msg_seq,
            message.msg_random,
            &message.source,
            self.now.0,
            message.erase,
        ))?;
        Ok(MessageId(self.connection.last_insert_rowid()))
    }

    /// The head of `lane`: the first transfer if there is one, else the first message by position.
    pub fn head(&self, lane: &Lane) -> Result<Head, StoreError> {
        if lane.direction == Direction::ToIm
            && let found @ (Head::Ready(_) | Head::NotBefore(_)) =
                self.first_pending(lane, " AND kind = 3")?
        {
            return Ok(found);
        }
        self.first_pending(lane, "")
    }

    /// The first pending message of `lane` that matches `condition`.
    fn first_pending(&self, lane: &Lane, condition: &str) -> Result<Head, StoreError> {
        let sql = format!(
            "SELECT {PENDING_COLUMNS} FROM message WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1){condition}
             ORDER BY {POSITION} LIMIT 1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query((lane.direction, lane.customer.as_str()))?;
        let Some(row) = rows.next()? else { return Ok(Head::Empty) };
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
        let sql = format!("SELECT {PENDING_COLUMNS} FROM message WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id.0])?;
        let row = rows.next()?.ok_or(StoreError::NoMessage(id))?;
        read_pending_call(row, lane)
    }

    /// Records that an attempt begins now.
    pub fn record_attempt(&self, id: MessageId) -> Result<(), StoreError> {
        let state = self.state(id)?;
        // A repeated attempt after an unsettled one is recorded like a first one.
        let state = if state == State::Sending { State::Sending } else { state.after(Move::Attempt)? };
        let sql = "UPDATE message SET state = ?2, attempts = attempts + 1, attempt_at = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id.0, state, self.now.0))?;
        Ok(())
    }

    /// The preparation of a call failed; the next preparation is due at `due_at`.
    pub fn reschedule_preparation(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1, attempt_at = ?2, due_at = ?3, last_error = ?4
                   WHERE id = ?1 AND state = ?5";
        let row = (id.0, self.now.0, due_at.0, why, State::Accepted);
        self.connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Makes a move and records the reason. If the customer has left, a message that ends is
    /// deleted at once.
    pub fn settle(
        &self,
        id: MessageId,
        transition: Move,
        settlement: &Settlement,
    ) -> Result<State, StoreError> {
        let state = self.state(id)?.after(transition)?;
        let ended_at = if state.is_open() { 0 } else { self.now.0 };
        let (calls_done, attempts_factor) = if settlement.call_done { (1, 0) } else { (0, 1) };
        let sql = "UPDATE message SET state = ?2, last_error = ?3, due_at = ?4, settled_at = ?5,
                   riding = 0, rides_on = NULL, ride_parts = 0,
                   part = part + ?6, attempts = attempts * ?7 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((
            id.0,
            state,
            &settlement.why,
            settlement.due_at.0,
            ended_at,
            calls_done,
            attempts_factor,
        ))?;
        if !state.is_open() {
            self.connection
                .prepare_cached("DELETE FROM message WHERE id = ?1 AND erase = 1")?
                .execute([id.0])?;
        }
        Ok(state)
    }

    /// Leaves an unsettled attempt as it is, until `due_at`.
    pub fn postpone(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET due_at = ?2, last_error = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id.0, due_at.0, why))?;
        Ok(())
    }

    /// The platform could not tell the outcome of an unsettled attempt; it is asked again at
    /// `due_at`.
    pub fn reschedule_resolve(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute([id.0])?;
        self.postpone(id, due_at, why)
    }

    /// The state of a message.
    pub fn state(&self, id: MessageId) -> Result<State, StoreError> {
        self.connection
            .prepare_cached("SELECT state FROM message WHERE id = ?1")?
            .query_row([id.0], |row| row.get(0))
            .optional()?
            .ok_or(StoreError::NoMessage(id))
    }

    /// The lane of a message.
    pub fn lane_of(&self, id: MessageId) -> Result<Lane, StoreError> {
        let found: Option<(Direction, String)> = self
            .connection
            .prepare_cached("SELECT direction, openid FROM message WHERE id = ?1")?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (direction, openid) = found.ok_or(StoreError::NoMessage(id))?;
        Ok(Lane { direction, customer: parse_openid(openid)? })
    }

    /// Up to `limit` customers after `cursor` whose lane in `direction` has pending messages, by
    /// openid.
    ///
    /// Steps from lane to lane along the index, so that a lane with a million messages costs no
    /// more than a lane with one.
    pub fn open_lanes(
        &self,
        direction: Direction,
        cursor: Option<&OpenId>,
        limit: usize,
    ) -> Result<Vec<OpenId>, StoreError> {
        let sql = "SELECT openid FROM message
                   WHERE direction = ?1 AND openid > ?2 AND state IN (0, 1) ORDER BY openid LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found: Vec<OpenId> = Vec::new();
        while found.len() < limit {
            let after = found.last().or(cursor).map_or("", OpenId::as_str);
            let next: Option<String> =
                statement.query_row((direction, after), |row| row.get(0)).optional()?;
            match next {
                Some(openid) => found.push(parse_openid(openid)?),
                None => break,
            }
        }
        Ok(found)
    }

    /// Whether the customer has held answers.
    pub fn has_held(&self, openid: &OpenId) -> Result<bool, StoreError> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY message_held WHERE openid = ?1 AND state = 3)";
        Ok(self.connection.prepare_cached(sql)?.query_row([openid.as_str()], |row| row.get(0))?)
    }

    /// The numbers of pending and held messages.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let (waiting, oldest): (i64, Option<i64>) = self
            .connection
            .prepare_cached("SELECT count(*), min(created_at) FROM message WHERE state IN (0, 1)")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let held = self
            .connection
            .prepare_cached("SELECT count(*) FROM message WHERE state = 3")?
            .query_row([], |row| row.get(0))?;
        Ok(Counts { waiting, oldest: oldest.map(Millis), held })
    }

    /// Up to `limit` of the customers' and agents' messages with ids above `after`, in order of id.
    pub fn list(
        &self,
        after: MessageId,
        states: &[State],
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let states: Vec<String> = states.iter().map(|state| state_code(*state).to_string()).collect();
        let sql = format!(
            "SELECT {SUMMARY_COLUMNS} FROM message WHERE id > ?1 AND kind = 0 AND state IN ({}) ORDER BY id LIMIT ?2",
            states.join(", ")
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((after.0, i64::try_from(limit).unwrap_or(i64::MAX)), read_summary)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records a trace step. Stores nothing for a customer who is not known.
    pub fn record_step(
        &self,
        openid: &OpenId,
        message: Option<MessageId>,
        event: &str,
        detail: &str,
        took_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO step (openid, message, at, what, detail, took_ms)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM customer WHERE openid = ?1 AND known = 1";
        self.connection.prepare_cached(sql)?.execute((
            openid.as_str(),
            message.map(|id| id.0),
            self.now.0,
            event,
            detail,
            took_ms,
        ))?;
        Ok(())
    }
}

fn read_pending_call(row: &Row<'_>, lane: Lane) -> Result<PendingCall, StoreError> {
    let id = MessageId(row.get(0)?);
    let calls: Vec<OutboundCall> =
        serde_json::from_str(row.get_ref(3)?.as_str().map_err(|error| unreadable(&error))?)?;
    let (call_index, call_count) = (row.get::<_, u32>(4)?, calls.len());
    let call = calls.into_iter().nth(call_index as usize).ok_or_else(|| {
        StoreError::Unreadable(format!(
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
        msg_seq: row.get::<_, u32>(5)?.wrapping_add(call_index),
        msg_random: row.get::<_, u32>(6)?.wrapping_add(call_index),
        created_at: Millis(row.get(7)?),
        attempts: row.get(8)?,
        attempt_at: Millis(row.get(9)?),
        unsettled: row.get::<_, State>(10)? == State::Sending,
        attached: row.get(12)?,
        before_backfill: row.get(13)?,
    })
}

pub(super) fn read_summary(row: &Row<'_>) -> rusqlite::Result<MessageSummary> {
    Ok(MessageSummary {
        id: row.get(0)?,
        state: row.get::<_, State>(1)?.name(),
        direction: row.get::<_, Direction>(2)?.name(),
        openid: row.get(3)?,
        agent: row.get(4)?,
        created_at: row.get(5)?,
        attempts: row.get(6)?,
        last_error: row.get(7)?,
    })
}

pub(super) fn parse_optional_agent(stored: Option<String>) -> Result<Option<ImUserId>, StoreError> {
    stored.map(parse_agent).transpose()
}

pub(super) fn parse_agent(stored: String) -> Result<ImUserId, StoreError> {
    ImUserId::new(stored).map_err(|error| StoreError::Unreadable(error.to_string()))
}

pub(super) fn parse_openid(stored: String) -> Result<OpenId, StoreError> {
    OpenId::new(stored).map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn unreadable(error: &FromSqlError) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Store, StoreLocation};

    #[tokio::test]
    async fn a_due_time_beyond_the_longest_wait_is_ignored() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        let message = NewMessage {
            direction: lane.direction,
            kind: MessageKind::Account,
            openid: lane.customer.clone(),
            agent: None,
            calls: vec![OutboundCall::ImportAccount],
            msg_seq: 1,
            msg_random: 1,
            source: "a push".to_owned(),
            erase: false,
        };
        for (wait_ms, is_ready) in [(0, true), (3_600_000, false), (24 * 3_600_000, true)] {
            let (lane, message) = (lane.clone(), message.clone());
            let ready = store.write(move |tx| {
                if wait_ms == 0 {
                    tx.add(&message)?;
                }
                let Head::Ready(pending) = tx.head(&lane)? else { panic!("it is not ready at first") };
                tx.postpone(pending.id, tx.now().plus(wait_ms), "busy")?;
                let ready = matches!(tx.head(&lane)?, Head::Ready(_));
                tx.postpone(pending.id, Millis(0), "busy")?;
                Ok(ready)
            });
            assert_eq!(ready.await.unwrap(), is_ready, "due in {wait_ms} ms");
        }
        closing.close();
    }
}
