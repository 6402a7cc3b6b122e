//! Customers: their IM account, the agent of their conversation, and their send windows.
//!
//! What every message changes is in the customer's present conversation. Each session begins a new one, so that those of
//! the customers who write now lie together: a busy store then writes few pages.

use super::column::{ALSO_TO_WECHAT, OPEN, UNSENT, parse_openid, parse_optional_agent};
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, Millis, OpenId, Visit};
use const_format::formatcp;

/// A customer as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The customer's openid.
    pub openid: OpenId,
    /// `false` once the customer was erased; only the number of the IM UserID is kept then.
    pub known: bool,
    /// The number at the end of the IM UserID; 0: the UserID is the openid itself.
    pub number: u32,
    /// Whether the IM account exists.
    pub imported: bool,
    /// The agent who has the conversation.
    pub agent: Option<ImUserId>,
    /// Since when the customer is known without interruption; 0: since before this was recorded.
    pub known_since: Millis,
    /// When the customer last wrote; 0 before the first message.
    pub active_at: Millis,
    /// The next `MsgSeq`. Consecutive messages need increasing numbers to keep their order within a
    /// second.
    pub next_seq: u32,
    /// When the window that the last message opened ends.
    pub message_until: Millis,
    /// The number of sends left in that window.
    pub message_left: u32,
    /// When the window that the last follow, menu click or scan opened ends.
    pub event_until: Millis,
    /// The number of sends left in that window.
    pub event_left: u32,
    /// The opening that the customer was told of outside the working hours; 0: none in this session. 1: the customer waits in
    /// line and was not told so.
    pub away_until: Millis,
    /// What the customer did since the last conversation, beside writing.
    pub visit: Visit,
    /// The row of the present conversation; 0: not stored yet.
    pub conversation: i64,
    /// The name of the group of agents that the customer belongs to.
    pub group: Option<String>,
    /// The agent who last answered. Written by [`Tx::record_served`] alone.
    pub served_by: Option<ImUserId>,
    /// When that was, up to [`SERVED_STEP_MS`] too early; 0: never.
    pub served_at: Millis,
}

impl Customer {
    /// A new customer.
    pub fn new(openid: OpenId) -> Self {
        Self {
            openid,
            known: true,
            number: 0,
            imported: false,
            agent: None,
            known_since: Millis(0),
            active_at: Millis(0),
            next_seq: 1,
            message_until: Millis(0),
            message_left: 0,
            event_until: Millis(0),
            event_left: 0,
            away_until: Millis(0),
            visit: Visit::default(),
            conversation: 0,
            group: None,
            served_by: None,
            served_at: Millis(0),
        }
    }
}

const COLUMNS: &str = "c.openid, c.known, c.number, c.imported, v.agent, v.active_at, v.next_seq,
    v.message_until, v.message_left, v.event_until, v.event_left, c.known_since, v.id, v.away_until, c.served_by,
    c.served_at, v.visit, c.desk_group";

/// The messages of the customer `?1`, also those that belong to no conversation.
pub(super) const OF_CUSTOMER: &str =
    "conversation IN (SELECT 0 UNION ALL SELECT id FROM conversation WHERE openid = ?1)
    AND openid = ?1";

/// A conversation that is not its customer's present one and has no message.
const UNUSED: &str = "NOT EXISTS (SELECT 1 FROM message AS m WHERE m.conversation = conversation.id)
    AND NOT EXISTS (SELECT 1 FROM customer AS c
                    WHERE c.openid = conversation.openid AND c.conversation = conversation.id)";

/// Milliseconds.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// The time of a further answer of the same agent is written after this long, so that most answers write no row more;
/// milliseconds.
const SERVED_STEP_MS: i64 = 60_000;

fn read(row: Row<'_>) -> Result<Customer, StoreError> {
    Ok(Customer {
        openid: parse_openid(row.get(0)?)?,
        known: row.get(1)?,
        number: row.get(2)?,
        imported: row.get(3)?,
        agent: parse_optional_agent(row.get(4)?)?,
        active_at: Millis(row.get(5)?),
        next_seq: row.get(6)?,
        message_until: Millis(row.get(7)?),
        message_left: row.get(8)?,
        event_until: Millis(row.get(9)?),
        event_left: row.get(10)?,
        known_since: Millis(row.get(11)?),
        conversation: row.get(12)?,
        away_until: Millis(row.get(13)?),
        served_by: parse_optional_agent(row.get(14)?)?,
        served_at: Millis(row.get(15)?),
        visit: parse_visit(row.get(16)?)?,
        group: row.get(17)?,
    })
}

fn parse_visit(stored: Option<String>) -> Result<Visit, StoreError> {
    Ok(stored.map(|json| serde_json::from_str(&json)).transpose()?.unwrap_or_default())
}

impl Tx<'_> {
    /// The stored customer, known or erased; `None` if there is no row.
    pub fn customer(&self, openid: &OpenId) -> Result<Option<Customer>, StoreError> {
        let sql = formatcp!(
            "SELECT {COLUMNS} FROM customer AS c CROSS JOIN conversation AS v
             WHERE c.openid = ?1 AND v.id = c.conversation"
        );
        self.session.one(sql, params![openid.as_str()], read)
    }

    /// Begins a new conversation of the customer and stores the customer. Messages that are added from now on belong
    /// to it.
    pub fn begin_conversation(&self, customer: &mut Customer) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO conversation (id, openid, active_at, hour, next_seq, message_until, message_left,
                                             event_until, event_left)
                   VALUES (?1, ?2, 0, ?3, 0, 0, 0, 0, 0) RETURNING id";
        let drawn = self.session.draw_id("conversation")?;
        let values = params![drawn, customer.openid.as_str(), self.now.0 / HOUR_MS];
        customer.conversation = self.session.add_row(sql, values, drawn)?;
        self.put_customer(customer)
    }

    /// Inserts or updates a customer.
    pub fn put_customer(&self, customer: &Customer) -> Result<(), StoreError> {
        let openid = customer.openid.as_str();
        let mut conversation = customer.conversation;
        if conversation == 0 {
            let sql = "SELECT conversation FROM customer WHERE openid = ?1";
            match self.session.find(sql, params![openid])? {
                Some(present) => conversation = present,
                None => return self.begin_conversation(&mut customer.clone()),
            }
        }
        // Most of it hardly ever changes, and is then not written.
        let sql = "INSERT INTO customer (openid, known, number, imported, known_since, conversation, desk_group)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (openid) DO UPDATE SET known = excluded.known, number = excluded.number,
                       imported = excluded.imported, known_since = excluded.known_since,
                       conversation = excluded.conversation, desk_group = excluded.desk_group
                   WHERE customer.known <> excluded.known OR customer.number <> excluded.number
                      OR customer.imported <> excluded.imported OR customer.known_since <> excluded.known_since
                      OR customer.conversation <> excluded.conversation
                      OR customer.desk_group IS DISTINCT FROM excluded.desk_group";
        let Customer { known, number, imported, known_since, group, .. } = customer;
        let values =
            params![openid, *known, *number, *imported, known_since.0, conversation, group.as_deref()];
        self.session.defer(sql, values)?;
        let sql = "UPDATE conversation SET agent = ?2, active_at = ?3, next_seq = ?4, message_until = ?5,
                   message_left = ?6, event_until = ?7, event_left = ?8, away_until = ?9, visit = ?10
                   WHERE id = ?1";
        let visit =
            if customer.visit.is_empty() { None } else { Some(serde_json::to_string(&customer.visit)?) };
        self.session.defer(
            sql,
            params![
                conversation,
                customer.agent.as_ref().map(ImUserId::as_str),
                customer.active_at.0,
                customer.next_seq,
                customer.message_until.0,
                customer.message_left,
                customer.event_until.0,
                customer.event_left,
                customer.away_until.0,
                visit.as_deref(),
            ],
        )?;
        // A statement of its own: the value hardly ever changes, and writing it updates an index.
        let sql = "UPDATE conversation SET hour = ?2 WHERE id = ?1 AND hour < ?2";
        self.session.defer(sql, params![conversation, customer.active_at.0 / HOUR_MS])
    }

    /// Records that `agent` answers the customer now.
    pub fn record_served(&self, customer: &Customer, agent: &ImUserId) -> Result<(), StoreError> {
        let is_known = customer.served_by.as_ref() == Some(agent)
            && (0..SERVED_STEP_MS).contains(&self.now.since(customer.served_at));
        if is_known {
            return Ok(());
        }
        let sql = "UPDATE customer SET served_by = ?2, served_at = ?3 WHERE openid = ?1";
        self.session.defer(sql, params![customer.openid.as_str(), agent.as_str(), self.now.0])
    }

    /// Erases a customer. Settled and held messages and pending answers go at once; a message that
    /// still has to reach the agent goes when it is settled. The number of the IM UserID and the
    /// dedup records stay; replies that contain agents' answers are removed from them. What is
    /// deleted is also overwritten in the files, within seconds after the commit.
    ///
    /// Returns how many of the agents' answers will never reach the customer.
    pub fn forget_customer(&self, openid: &OpenId) -> Result<usize, StoreError> {
        let openid = openid.as_str();
        let run = |sql: &str| self.session.run(sql, params![openid]);
        let undelivered =
            run(formatcp!("DELETE FROM message WHERE {OF_CUSTOMER} AND {ALSO_TO_WECHAT} AND {UNSENT}"))?;
        run(formatcp!("DELETE FROM message WHERE {OF_CUSTOMER} AND NOT ({OPEN})"))?;
        run(formatcp!("UPDATE message SET erase = 1 WHERE {OF_CUSTOMER}"))?;
        self.request_erasure()?;
        run("DELETE FROM step WHERE openid = ?1")?;
        run("DELETE FROM media WHERE openid = ?1")?;
        run("UPDATE dedup SET reply = NULL, reply_customer = NULL WHERE reply_customer = ?1")?;
        run("DELETE FROM backfill WHERE openid = ?1")?;
        run("DELETE FROM unreadable WHERE openid = ?1")?;
        run("DELETE FROM profile WHERE openid = ?1")?;
        run("UPDATE rating SET openid = NULL WHERE openid = ?1")?;
        run("UPDATE customer SET known = 0, known_since = 0, push_not_before = 0, served_by = NULL, served_at = 0,
             desk_group = NULL WHERE openid = ?1")?;
        run("DELETE FROM question WHERE openid = ?1")?;
        run("UPDATE conversation SET agent = NULL, active_at = 0, hour = 0, message_until = 0, message_left = 0,
             event_until = 0, event_left = 0, away_until = 0, visit = NULL WHERE openid = ?1")?;
        self.delete_unused_conversations(openid)?;
        Ok(undelivered)
    }

    /// Records the number of a customer's IM UserID, and whether the account exists.
    pub fn set_account(&self, openid: &OpenId, number: u32, imported: bool) -> Result<(), StoreError> {
        let sql = "UPDATE customer SET number = ?2, imported = ?3 WHERE openid = ?1";
        self.session.run(sql, params![openid.as_str(), number, imported])?;
        // Of a customer who left, only the number of the next UserID is kept.
        let sql = "DELETE FROM customer WHERE openid = ?1 AND known = 0 AND imported = 0 AND number = 0";
        if self.session.run(sql, params![openid.as_str()])? > 0 {
            self.delete_unused_conversations(openid.as_str())?;
        }
        Ok(())
    }

    /// Deletes the customer's conversations that are over and have no message any more.
    pub(super) fn delete_unused_conversations(&self, openid: &str) -> Result<(), StoreError> {
        let sql = formatcp!("DELETE FROM conversation WHERE openid = ?1 AND {UNUSED}");
        self.session.run(sql, params![openid])?;
        Ok(())
    }

    /// Scans up to `limit` conversations with ids above `after` and deletes those that are over and have no message
    /// any more. Returns the id to continue from, or `None` at the end.
    pub fn prune_conversations(&self, after: i64, limit: u32) -> Result<Option<i64>, StoreError> {
        let page =
            "SELECT max(id) FROM (SELECT id FROM conversation WHERE id > ?1 ORDER BY id LIMIT ?2) AS page";
        let Some(last) = self.session.value::<Option<i64>>(page, params![after, limit])? else {
            return Ok(None);
        };
        let sql = formatcp!("DELETE FROM conversation WHERE id > ?1 AND id <= ?2 AND {UNUSED}");
        self.session.run(sql, params![after, last])?;
        Ok(Some(last))
    }

    /// The number of known customers of each agent who were active since `since`.
    pub fn conversations_by_agent(&self, since: Millis) -> Result<Vec<(String, i64)>, StoreError> {
        // That of a customer who was erased has no agent.
        let sql = "SELECT agent, count(*) FROM conversation
                   WHERE hour >= ?2 AND agent IS NOT NULL AND active_at >= ?1 GROUP BY agent ORDER BY agent";
        self.session.all(sql, params![since.0, since.0 / HOUR_MS], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

#[cfg(test)]
mod tests;
