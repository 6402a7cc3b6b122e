//! Dedup records: which pushes and callbacks were accepted, and the reply that each received.

use super::value::params;
use super::{StoreError, Tx};
use crate::model::{DedupKey, Millis, OpenId};

/// The reply to the first copy of a push or callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstReply {
    /// The text of the reply; `None`: `success`.
    pub reply: Option<String>,
    /// When it was accepted; this is the `CreateTime` of the reply.
    pub accepted_at: Millis,
}

impl Tx<'_> {
    /// The reply to the first copy of a push, with the key under which it was recorded.
    pub fn first_copy<'k>(&self, key: &'k DedupKey) -> Result<Option<(&'k str, FirstReply)>, StoreError> {
        if let Some(first) = self.first_reply(key.as_str())? {
            return Ok(Some((key.as_str(), first)));
        }
        // An earlier version may have accepted the first copy. Its records are gone three days after the update.
        let Some(key) = key.earlier_form() else { return Ok(None) };
        Ok(self.first_reply(key)?.map(|first| (key, first)))
    }

    /// The first reply, if `key` was accepted before.
    pub fn first_reply(&self, key: &str) -> Result<Option<FirstReply>, StoreError> {
        self.session.one("SELECT reply, at FROM dedup WHERE key = ?1", params![key], |row| {
            Ok(FirstReply { reply: row.get(0)?, accepted_at: Millis(row.get(1)?) })
        })
    }

    /// Records that `key` was accepted, with the text of its reply; `None`: `success`.
    pub fn record_dedup(&self, key: &str, reply: Option<&str>) -> Result<(), StoreError> {
        let sql = "INSERT INTO dedup (key, at, reply) VALUES (?1, ?2, ?3)";
        self.session.defer(sql, params![key, self.now.0, reply])
    }

    /// Records that the reply to `key` contains agents' answers to this customer, which must be
    /// deleted with the customer's data.
    pub fn set_reply_customer(&self, key: &str, openid: &OpenId) -> Result<(), StoreError> {
        let sql = "UPDATE dedup SET reply_customer = ?2 WHERE key = ?1";
        self.session.run(sql, params![key, openid.as_str()])?;
        Ok(())
    }

    /// Scans up to `limit` records after `cursor` in key order and deletes those made before
    /// `before`. Returns the next cursor, or `None` at the end.
    pub fn prune_dedup(
        &self,
        cursor: &str,
        limit: i64,
        before: Millis,
    ) -> Result<Option<String>, StoreError> {
        let page_sql =
            "SELECT max(key) FROM (SELECT key FROM dedup WHERE key > ?1 ORDER BY key LIMIT ?2) AS page";
        let last: Option<String> = self.session.value(page_sql, params![cursor, limit])?;
        let Some(last) = last else { return Ok(None) };
        let sql = "DELETE FROM dedup WHERE key > ?1 AND key <= ?2 AND at < ?3";
        self.session.run(sql, params![cursor, &last, before.0])?;
        Ok(Some(last))
    }
}
