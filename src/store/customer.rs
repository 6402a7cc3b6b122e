//! Customers: their IM account, the agent of their conversation, and their send windows.

use super::column::{OPEN, TO_WECHAT, UNSENT, parse_openid, parse_optional_agent};
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, Millis, OpenId};
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
        }
    }
}

const COLUMNS: &str = "openid, known, number, imported, agent, active_at, next_seq,
                       message_until, message_left, event_until, event_left, known_since";

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
    })
}

impl Tx<'_> {
    /// The stored customer, known or erased; `None` if there is no row.
    pub fn customer(&self, openid: &OpenId) -> Result<Option<Customer>, StoreError> {
        let sql = formatcp!("SELECT {COLUMNS} FROM customer WHERE openid = ?1");
        self.session.one(sql, params![openid.as_str()], read)
    }

    /// Inserts or updates a customer.
    pub fn put_customer(&self, customer: &Customer) -> Result<(), StoreError> {
        let sql = formatcp!(
            "INSERT INTO customer ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (openid) DO UPDATE SET known = ?2, number = ?3, imported = ?4, agent = ?5, active_at = ?6,
             next_seq = ?7, message_until = ?8, message_left = ?9, event_until = ?10, event_left = ?11"
        );
        self.session.run(
            sql,
            params![
                customer.openid.as_str(),
                customer.known,
                customer.number,
                customer.imported,
                customer.agent.as_ref().map(ImUserId::as_str),
                customer.active_at.0,
                customer.next_seq,
                customer.message_until.0,
                customer.message_left,
                customer.event_until.0,
                customer.event_left,
                customer.known_since.0,
            ],
        )?;
        // A statement of its own: the value hardly ever changes, and writing it updates an index.
        let sql = "UPDATE customer SET known_since = ?2 WHERE openid = ?1 AND known_since <> ?2";
        self.session.run(sql, params![customer.openid.as_str(), customer.known_since.0])?;
        Ok(())
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
            run(formatcp!("DELETE FROM message WHERE openid = ?1 AND {TO_WECHAT} AND {UNSENT}"))?;
        run(formatcp!("DELETE FROM message WHERE openid = ?1 AND NOT ({OPEN})"))?;
        run("UPDATE message SET erase = 1 WHERE openid = ?1")?;
        self.request_erasure()?;
        run("DELETE FROM step WHERE openid = ?1")?;
        run("DELETE FROM media WHERE openid = ?1")?;
        run("UPDATE dedup SET reply = NULL, reply_customer = NULL WHERE reply_customer = ?1")?;
        run("DELETE FROM backfill WHERE openid = ?1")?;
        run("DELETE FROM unreadable WHERE openid = ?1")?;
        run("UPDATE customer SET known = 0, agent = NULL, known_since = 0, active_at = 0,
             message_until = 0, message_left = 0, event_until = 0, event_left = 0, push_not_before = 0 WHERE openid = ?1")?;
        Ok(undelivered)
    }

    /// Records the number of a customer's IM UserID, and whether the account exists.
    pub fn set_account(&self, openid: &OpenId, number: u32, imported: bool) -> Result<(), StoreError> {
        let sql = "UPDATE customer SET number = ?2, imported = ?3 WHERE openid = ?1";
        self.session.run(sql, params![openid.as_str(), number, imported])?;
        // Of a customer who left, only the number of the next UserID is kept.
        let sql = "DELETE FROM customer WHERE openid = ?1 AND known = 0 AND imported = 0 AND number = 0";
        self.session.run(sql, params![openid.as_str()])?;
        Ok(())
    }

    /// The number of known customers of each agent who were active since `since`.
    pub fn conversations_by_agent(&self, since: Millis) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT agent, count(*) FROM customer
                   WHERE known = 1 AND agent IS NOT NULL AND active_at >= ?1 GROUP BY agent";
        self.session.all(sql, params![since.0], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::model::{Millis, OpenId};
    use crate::store::{Customer, Store, StoreLocation};

    #[tokio::test]
    async fn a_customer_is_read_as_it_was_stored() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let mut customer = Customer::new(OpenId::new("oA").unwrap());
        customer.agent = Some(crate::model::ImUserId::new("user1").unwrap());
        customer.number = 3;
        customer.known_since = Millis(1_600_000_000_000);
        customer.next_seq = u32::MAX;
        customer.message_until = Millis(1_700_000_000_000);
        customer.message_left = 5;
        let stored = customer.clone();
        store.write(move |tx| tx.put_customer(&stored)).await.unwrap();
        let openid = customer.openid.clone();
        assert_eq!(store.read(move |tx| tx.customer(&openid)).await.unwrap(), Some(customer));
        closing.close();
    }
}
