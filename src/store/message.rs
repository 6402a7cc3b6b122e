//! Messages: added in the order of acceptance, claimed lane by lane, settled by the model's table of moves.

use rusqlite::types::FromSqlError;
use rusqlite::{OptionalExtension as _, Row};

use super::column::code;
use super::turn::TURN;
use super::{Riding, StoreError, Tx};
use crate::model::{Direction, ImUserId, Kind, Lane, MessageId, Millis, Move, OpenId, Order, State};

/// A message about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// Which way.
    pub direction: Direction,
    /// What it is.
    pub kind: Kind,
    /// The customer.
    pub openid: OpenId,
    /// The agent who gets it or wrote it.
    pub agent: Option<ImUserId>,
    /// What is owed; at least one order.
    pub orders: Vec<Order>,
    /// `MsgSeq` of the first order; each further one has the next.
    pub msg_seq: u32,
    /// `MsgRandom` of the first order; each further one has the next.
    pub msg_random: u32,
    /// The seen-key it came with.
    pub source: String,
    /// The customer has left: the row goes as soon as it is settled.
    pub erase: bool,
}

/// An order whose turn it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Owed {
    /// The message.
    pub id: MessageId,
    /// Its lane.
    pub lane: Lane,
    /// What it is.
    pub kind: Kind,
    /// The agent who gets it or wrote it.
    pub agent: Option<ImUserId>,
    /// The order itself.
    pub order: Order,
    /// Its place among the message's orders, from 0.
    pub part: u32,
    /// How many orders the message has.
    pub parts: u32,
    /// Pinned at acceptance.
    pub msg_seq: u32,
    /// Pinned at acceptance.
    pub msg_random: u32,
    /// When the message was accepted.
    pub created_at: Millis,
    /// Attempts already made.
    pub attempts: u32,
    /// When the last of them began; 0 before the first.
    pub attempt_at: Millis,
    /// The last attempt was recorded and never settled: nobody knows what came of it.
    pub unsettled: bool,
    /// It rode on a passive reply that nobody has confirmed.
    pub riding: Riding,
    /// When it was accepted, earlier ones could have been missed that had not been looked for.
    pub unlooked: bool,
}

impl Owed {
    /// The call it asks for, as traces name it.
    pub fn call(&self) -> &'static str {
        match self.order {
            Order::ImportAccount => "account_import",
            Order::DeleteAccount => "account_delete",
            Order::TextToAgent(_)
            | Order::LocationToAgent { .. }
            | Order::MediaToAgent(_)
            | Order::CardToAgent { .. } => "sendmsg",
            Order::PastToAgent { .. } => "importmsg",
            Order::TextToCustomer(_) | Order::MediaToCustomer(_) => "custom/send",
        }
    }
}

/// What stands first in a lane.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// Nothing waits.
    Empty,
    /// It must not be tried before then.
    NotBefore(Millis),
    /// It may go.
    Ready(Box<Owed>),
}

/// What to write down about a message besides its move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The reason, for whoever asks later; no secrets.
    pub why: Option<String>,
    /// Not to be tried before; only with [`Move::PutBack`] and [`Move::Release`].
    pub due_at: Millis,
    /// The order is done and the next of the message follows; only with [`Move::PutBack`].
    pub part_done: bool,
}

/// A message as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// Its number.
    pub id: i64,
    /// `waiting`, `held`, `delivered`, `refused` or `unknown`.
    pub state: &'static str,
    /// `to_im` or `to_wechat`.
    pub direction: &'static str,
    /// The customer.
    pub openid: String,
    /// The agent who gets it or wrote it.
    pub agent: Option<String>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Attempts made.
    pub attempts: u32,
    /// Why it stands where it stands.
    pub last_error: Option<String>,
}

/// Something that happened to a customer's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The message, where it is about one.
    pub message: Option<MessageId>,
    /// When.
    pub at: Millis,
    /// `accepted`, a call's name, `settled` and the like.
    pub what: String,
    /// The outcome: a code, a reason; no content, no secrets.
    pub detail: String,
    /// How long it took, milliseconds.
    pub took_ms: Option<i64>,
}

/// How much is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages the outbox still has to act on.
    pub waiting: i64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Millis>,
    /// Messages that wait for their customer.
    pub held: i64,
}

/// A clock that steps back by less is being corrected, not set; milliseconds.
const CLOCK_STEP_MS: i64 = 1_000;
/// Nothing is put off for longer: what is due later than that was put off before the clock was set back.
const LONGEST_WAIT_MS: i64 = 2 * 3_600_000;

const OWED: &str =
    "id, kind, agent, orders, part, seq, random, created_at, attempts, attempt_at, state, due_at,
                    riding, unlooked";

pub(super) const LISTED: &str = "id, state, direction, openid, agent, created_at, attempts, last_error";

impl Tx<'_> {
    /// Stores a message; its number grows with every call.
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
            serde_json::to_string(&message.orders)?,
            message.msg_seq,
            message.msg_random,
            &message.source,
            self.now.0,
            message.erase,
        ))?;
        Ok(MessageId(self.connection.last_insert_rowid()))
    }

    /// What stands first in `lane`: a transfer, else the one whose turn it is.
    pub fn head(&self, lane: &Lane) -> Result<Head, StoreError> {
        if lane.direction == Direction::ToIm
            && let found @ (Head::Ready(_) | Head::NotBefore(_)) = self.first(lane, " AND kind = 3")?
        {
            return Ok(found);
        }
        self.first(lane, "")
    }

    /// The first open message of `lane` that fits `condition`.
    fn first(&self, lane: &Lane, condition: &str) -> Result<Head, StoreError> {
        let sql = format!(
            "SELECT {OWED} FROM message WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1){condition}
             ORDER BY {TURN} LIMIT 1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query((lane.direction, lane.customer.as_str()))?;
        let Some(row) = rows.next()? else { return Ok(Head::Empty) };
        let (due, attempt_at) = (Millis(row.get(11)?), Millis(row.get(9)?));
        // What was tried in the future was tried before the clock was set back; it must not wait until then again.
        let clock_went_back =
            attempt_at.since(self.now) > CLOCK_STEP_MS || due.since(self.now) > LONGEST_WAIT_MS;
        if due > self.now && !clock_went_back {
            return Ok(Head::NotBefore(due));
        }
        Ok(Head::Ready(Box::new(owed(row, lane.clone())?)))
    }

    /// A message with the order that is its next.
    pub fn owed(&self, id: MessageId) -> Result<Owed, StoreError> {
        let lane = self.lane_of(id)?;
        let sql = format!("SELECT {OWED} FROM message WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id.0])?;
        let row = rows.next()?.ok_or(StoreError::NoMessage(id))?;
        owed(row, lane)
    }

    /// Records that an attempt begins now.
    pub fn record_attempt(&self, id: MessageId) -> Result<(), StoreError> {
        let state = self.state(id)?;
        // A repeated attempt after an unsettled one is recorded like a first.
        let state = if state == State::Sending { State::Sending } else { state.after(Move::Attempt)? };
        let sql = "UPDATE message SET state = ?2, attempts = attempts + 1, attempt_at = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id.0, state, self.now.0))?;
        Ok(())
    }

    /// What the attempt needs could not be had: another preparation is due at `due_at`.
    pub fn not_ready(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1, attempt_at = ?2, due_at = ?3, last_error = ?4
                   WHERE id = ?1 AND state = ?5";
        let row = (id.0, self.now.0, due_at.0, why, State::Accepted);
        self.connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Makes a move and writes down why. Where the customer has left, an ended message goes at once.
    pub fn settle(&self, id: MessageId, what: Move, settled: &Settled) -> Result<State, StoreError> {
        let state = self.state(id)?.after(what)?;
        let ended_at = if state.is_open() { 0 } else { self.now.0 };
        let (part, attempts_kept) = if settled.part_done { (1, 0) } else { (0, 1) };
        let sql = "UPDATE message SET state = ?2, last_error = ?3, due_at = ?4, settled_at = ?5,
                   riding = 0, rides_on = NULL, ride_parts = 0,
                   part = part + ?6, attempts = attempts * ?7 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((
            id.0,
            state,
            &settled.why,
            settled.due_at.0,
            ended_at,
            part,
            attempts_kept,
        ))?;
        if !state.is_open() {
            self.connection
                .prepare_cached("DELETE FROM message WHERE id = ?1 AND erase = 1")?
                .execute([id.0])?;
        }
        Ok(state)
    }

    /// Leaves an unsettled attempt as it is, not to be looked at before `due_at`.
    pub fn postpone(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET due_at = ?2, last_error = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id.0, due_at.0, why))?;
        Ok(())
    }

    /// The platform could not say what came of an unsettled attempt: it is asked again at `due_at`.
    pub fn ask_again(&self, id: MessageId, due_at: Millis, why: &str) -> Result<(), StoreError> {
        let sql = "UPDATE message SET attempts = attempts + 1 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute([id.0])?;
        self.postpone(id, due_at, why)
    }

    /// Where a message stands.
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
        Ok(Lane { direction, customer: openid_of(openid)? })
    }

    /// Up to `limit` customers after `cursor` whose lane in `direction` has something waiting.
    ///
    /// Steps from lane to lane along the index, so that a lane of a million costs no more than one of one.
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
                Some(openid) => found.push(openid_of(openid)?),
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

    /// How much is waiting and held.
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

    /// Up to `limit` of the customers' and agents' messages numbered above `after`, in order.
    pub fn list(&self, after: MessageId, states: &[State], limit: usize) -> Result<Vec<Listed>, StoreError> {
        let states: Vec<String> = states.iter().map(|state| code(*state).to_string()).collect();
        let sql = format!(
            "SELECT {LISTED} FROM message WHERE id > ?1 AND kind = 0 AND state IN ({}) ORDER BY id LIMIT ?2",
            states.join(", ")
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((after.0, i64::try_from(limit).unwrap_or(i64::MAX)), listed)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes down a step. Nothing is kept of a customer that is not known.
    pub fn step(
        &self,
        openid: &OpenId,
        message: Option<MessageId>,
        what: &str,
        detail: &str,
        took_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO step (openid, message, at, what, detail, took_ms)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM customer WHERE openid = ?1 AND known = 1";
        self.connection.prepare_cached(sql)?.execute((
            openid.as_str(),
            message.map(|id| id.0),
            self.now.0,
            what,
            detail,
            took_ms,
        ))?;
        Ok(())
    }
}

fn owed(row: &Row<'_>, lane: Lane) -> Result<Owed, StoreError> {
    let id = MessageId(row.get(0)?);
    let orders: Vec<Order> =
        serde_json::from_str(row.get_ref(3)?.as_str().map_err(|error| unreadable(&error))?)?;
    let (part, parts) = (row.get::<_, u32>(4)?, orders.len());
    let order = orders.into_iter().nth(part as usize).ok_or_else(|| {
        StoreError::Unreadable(format!("message {id} has {parts} orders and stands at number {part}"))
    })?;
    Ok(Owed {
        id,
        lane,
        kind: row.get(1)?,
        agent: agent(row.get(2)?)?,
        order,
        part,
        parts: u32::try_from(parts).unwrap_or(u32::MAX),
        msg_seq: row.get::<_, u32>(5)?.wrapping_add(part),
        msg_random: row.get::<_, u32>(6)?.wrapping_add(part),
        created_at: Millis(row.get(7)?),
        attempts: row.get(8)?,
        attempt_at: Millis(row.get(9)?),
        unsettled: row.get::<_, State>(10)? == State::Sending,
        riding: row.get(12)?,
        unlooked: row.get(13)?,
    })
}

pub(super) fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
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

pub(super) fn agent(stored: Option<String>) -> Result<Option<ImUserId>, StoreError> {
    stored.map(agent_of).transpose()
}

pub(super) fn agent_of(stored: String) -> Result<ImUserId, StoreError> {
    ImUserId::new(stored).map_err(|error| StoreError::Unreadable(error.to_string()))
}

pub(super) fn openid_of(stored: String) -> Result<OpenId, StoreError> {
    OpenId::new(stored).map_err(|error| StoreError::Unreadable(error.to_string()))
}

fn unreadable(error: &FromSqlError) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Place, Store};

    #[tokio::test]
    async fn what_is_due_further_off_than_anything_is_put_off_was_put_off_by_another_clock() {
        let (store, closing) =
            Store::open(&Place::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        let message = NewMessage {
            direction: lane.direction,
            kind: Kind::Account,
            openid: lane.customer.clone(),
            agent: None,
            orders: vec![Order::ImportAccount],
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
                let Head::Ready(owed) = tx.head(&lane)? else { panic!("it is not ready at first") };
                tx.postpone(owed.id, tx.now().plus(wait_ms), "busy")?;
                let ready = matches!(tx.head(&lane)?, Head::Ready(_));
                tx.postpone(owed.id, Millis(0), "busy")?;
                Ok(ready)
            });
            assert_eq!(ready.await.unwrap(), is_ready, "due in {wait_ms} ms");
        }
        closing.close();
    }
}
