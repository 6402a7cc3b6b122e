//! Conversations that are over, for reports: how long the customer waited, and how much was written.
//!
//! A record names no customer, so that it stays when the customer is erased. No message is delayed by it: it is read
//! from the messages when an agent closes the conversation, when the customer leaves, and some time after the last message.

use const_format::formatcp;

use super::customer::HOUR_MS;
use super::session::Row;
use super::value::params;
use super::{Customer, StoreError, Tx};
use crate::model::{Ending, Millis};

/// What happened in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationFacts {
    /// The conversation.
    pub id: i64,
    /// The agent who has it or had it at the end.
    pub agent: String,
    /// When the customer first wrote in it.
    pub begun_at: Millis,
    /// How long the customer waited for the first answer, in milliseconds, counted from when the agents could have it;
    /// `None`: nobody has answered.
    pub first_answer_ms: Option<i64>,
    /// When somebody last wrote.
    pub last_at: Millis,
    /// The customer's messages.
    pub messages_in: u32,
    /// The agents' messages.
    pub messages_out: u32,
}

/// A conversation that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedConversation {
    /// The agent who had it at the end.
    pub agent: String,
    /// When the customer first wrote in it.
    pub begun_at: Millis,
    /// How long the customer waited for the first answer, in milliseconds; `None`: nobody answered.
    pub first_answer_ms: Option<i64>,
    /// How long it took until an agent closed it, or until the last message, in milliseconds; `None`: nobody answered.
    pub resolution_ms: Option<i64>,
    /// How it ended.
    pub ending: Ending,
    /// The customer's messages.
    pub messages_in: u32,
    /// The agents' messages.
    pub messages_out: u32,
}

/// The cursor of a scan through the ended conversations: when one began, and its id.
pub type EndedCursor = (Millis, i64);

/// Which conversations are looked for: those in which the customer last wrote in this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// From this time on.
    pub from: Millis,
    /// Before this time.
    pub before: Millis,
    /// Also those that have a record which is not final.
    pub again: bool,
}

/// Of the conversations `page`: the agent; when the customer first wrote, and from when on the agents could know it, which
/// is the opening of the desk if the message was deferred; the first answer after that; the last message; the messages of
/// the customer and of the agents. What was recalled before it left was not written.
const FACTS: &str = "page.id, page.agent,
     min(CASE WHEN m.direction = 0 THEN m.created_at END) AS begun_at,
     min(CASE WHEN m.direction = 0 AND m.waiting_since > m.created_at THEN m.waiting_since
              WHEN m.direction = 0 THEN m.created_at END) AS waited_from,
     (SELECT min(a.created_at) FROM message AS a
      WHERE a.conversation = page.id AND a.kind = 0 AND +a.direction = 1 AND a.state <> 6
      AND a.created_at >= (SELECT min(b.created_at) FROM message AS b
                           WHERE b.conversation = page.id AND b.kind = 0 AND +b.direction = 0)) AS answered_at,
     max(m.created_at) AS last_at,
     count(CASE WHEN m.direction = 0 THEN 1 END) AS messages_in,
     count(CASE WHEN m.direction = 1 THEN 1 END) AS messages_out";

/// The messages of the conversations `page`.
const OF_PAGE: &str = "LEFT JOIN message AS m ON m.conversation = page.id AND m.kind = 0 AND m.state <> 6
     GROUP BY page.id, page.agent ORDER BY page.id";

/// The id and, if the customer wrote in it, what happened.
fn read(row: Row<'_>) -> Result<(i64, Option<ConversationFacts>), StoreError> {
    let id = row.get(0)?;
    let Some(begun_at) = row.get::<Option<i64>>(2)? else { return Ok((id, None)) };
    let waited_from: i64 = row.get(3)?;
    let facts = ConversationFacts {
        id,
        agent: row.get(1)?,
        begun_at: Millis(begun_at),
        // An operator may have sent the customer's message once more after it was answered.
        first_answer_ms: row.get::<Option<i64>>(4)?.map(|at| (at - waited_from).max(0)),
        last_at: Millis(row.get(5)?),
        messages_in: row.get(6)?,
        messages_out: row.get(7)?,
    };
    Ok((id, Some(facts)))
}

impl Tx<'_> {
    /// Scans up to `limit` conversations with ids above `after` in which the customer last wrote in that time, and that
    /// have an agent. Returns what happened in those that have no final record, and the id to continue from, or `None` at
    /// the end.
    pub fn silent_conversations(
        &self,
        silence: Silence,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<ConversationFacts>, Option<i64>), StoreError> {
        let sql = formatcp!(
            "SELECT {FACTS} FROM (
                 SELECT v.id, v.agent FROM conversation AS v INDEXED BY conversation_hour
                 WHERE v.hour >= ?1 AND v.hour <= ?2 AND v.active_at >= ?3 AND v.active_at < ?4
                 AND v.agent IS NOT NULL AND v.id > ?5
                 AND NOT EXISTS (SELECT 1 FROM ended_conversation AS e WHERE e.id = v.id AND e.is_final >= ?6)
                 ORDER BY v.id LIMIT ?7) AS page
             {OF_PAGE}"
        );
        let Silence { from, before, again } = silence;
        let values = params![from.0 / HOUR_MS, before.0 / HOUR_MS, from.0, before.0, after, again, limit];
        let found = self.session.all(sql, values, read)?;
        let is_last = found.len() < limit as usize;
        let next = found.last().map(|(id, _)| *id).filter(|_| !is_last);
        Ok((found.into_iter().filter_map(|(_, facts)| facts).collect(), next))
    }

    /// Records that the customer's present conversation is over now, unless the customer has not written in it.
    pub fn end_conversation(&self, customer: &Customer, ending: Ending) -> Result<(), StoreError> {
        let sql = formatcp!(
            "SELECT {FACTS} FROM (SELECT v.id, v.agent FROM conversation AS v
                                   WHERE v.id = ?1 AND v.agent IS NOT NULL) AS page {OF_PAGE}"
        );
        let found = self.session.one(sql, params![customer.conversation], read)?;
        match found.and_then(|(_, facts)| facts) {
            Some(facts) => self.record_ended(&facts, ending, true),
            None => Ok(()),
        }
    }

    /// Records that a conversation is over. `is_final`: it is not looked at again.
    pub fn record_ended(
        &self,
        facts: &ConversationFacts,
        ending: Ending,
        is_final: bool,
    ) -> Result<(), StoreError> {
        let ended_at = if ending == Ending::Agent { self.now } else { facts.last_at };
        let is_resolved = ending == Ending::Agent || facts.first_answer_ms.is_some();
        let resolution_ms = is_resolved.then(|| ended_at.since(facts.begun_at).max(0));
        // What was known stays known: old messages may have been deleted since.
        let sql = "INSERT INTO ended_conversation (id, agent, begun_at, first_answer_ms, resolution_ms, ending,
                       messages_in, messages_out, is_final, is_counted)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)
                   ON CONFLICT (id) DO UPDATE SET
                       first_answer_ms = coalesce(ended_conversation.first_answer_ms, excluded.first_answer_ms),
                       resolution_ms = coalesce(excluded.resolution_ms, ended_conversation.resolution_ms),
                       messages_in = CASE WHEN excluded.messages_in > ended_conversation.messages_in
                           THEN excluded.messages_in ELSE ended_conversation.messages_in END,
                       messages_out = CASE WHEN excluded.messages_out > ended_conversation.messages_out
                           THEN excluded.messages_out ELSE ended_conversation.messages_out END,
                       ending = excluded.ending, is_final = excluded.is_final";
        let values = params![
            facts.id,
            facts.agent.as_str(),
            facts.begun_at.0,
            facts.first_answer_ms,
            resolution_ms,
            ending,
            facts.messages_in,
            facts.messages_out,
            is_final,
        ];
        self.session.run(sql, values)?;
        Ok(())
    }

    /// Up to `limit` ended conversations that began after `after`, in that order, with the
    /// cursor to continue from, or `None` at the end.
    pub fn ended_conversations(
        &self,
        after: EndedCursor,
        limit: u32,
    ) -> Result<(Vec<EndedConversation>, Option<EndedCursor>), StoreError> {
        let sql = formatcp!(
            "SELECT id, {ENDED_COLUMNS} FROM ended_conversation
             WHERE begun_at >= ?1 AND (begun_at, id) > (?1, ?2) ORDER BY begun_at, id LIMIT ?3"
        );
        let read = |row: Row<'_>| Ok((row.get::<i64>(0)?, read_ended(row)?));
        let found = self.session.all(sql, params![after.0.0, after.1, limit], read)?;
        let is_last = found.len() < limit as usize;
        let next = found.last().map(|(id, ended)| (ended.begun_at, *id)).filter(|_| !is_last);
        Ok((found.into_iter().map(|(_, ended)| ended).collect(), next))
    }

    /// Returns up to `limit` ended conversations that the metrics do not have, and marks them as counted.
    pub fn count_ended(&self, limit: u32) -> Result<Vec<EndedConversation>, StoreError> {
        let sql = formatcp!(
            "UPDATE ended_conversation SET is_counted = 1
             WHERE id IN (SELECT id FROM ended_conversation INDEXED BY ended_conversation_uncounted
                          WHERE is_counted = 0 ORDER BY id LIMIT ?1)
             RETURNING id, {ENDED_COLUMNS}"
        );
        self.session.all(sql, params![limit], read_ended)
    }

    /// Deletes the records of conversations that began before `before`.
    pub fn prune_ended(&self, before: Millis) -> Result<(), StoreError> {
        self.session.run("DELETE FROM ended_conversation WHERE begun_at < ?1", params![before.0])?;
        Ok(())
    }
}

const ENDED_COLUMNS: &str =
    "agent, begun_at, first_answer_ms, resolution_ms, ending, messages_in, messages_out";

fn read_ended(row: Row<'_>) -> Result<EndedConversation, StoreError> {
    Ok(EndedConversation {
        agent: row.get(1)?,
        begun_at: Millis(row.get(2)?),
        first_answer_ms: row.get(3)?,
        resolution_ms: row.get(4)?,
        ending: row.get(5)?,
        messages_in: row.get(6)?,
        messages_out: row.get(7)?,
    })
}

#[cfg(test)]
mod tests;
