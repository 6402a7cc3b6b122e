//! Signed pushes that could not be read: kept as they came, bounded in number and size, for an operator or a later
//! version. They are never sent.

use super::operator::MessageSummary;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Direction, ImUserId, MessageKind, Millis, OpenId};

/// The state under which they are listed. It is no state of a message.
const UNREADABLE: &str = "unreadable";
/// At most this many are kept. The oldest go first.
const MAX_ROWS: usize = 1_000;
/// At most this many bytes of bodies are kept; the newest one is kept whatever its size.
const MAX_TOTAL_BYTES: i64 = 16 * 1024 * 1024;

/// A push that could not be read.
#[derive(Clone, Debug)]
pub struct UnreadableRow {
    /// SHA-256 of the body, as hexadecimal digits.
    pub hash: String,
    /// The sender, where one could be made out.
    pub openid: Option<OpenId>,
    /// The agent of that customer.
    pub agent: Option<ImUserId>,
    /// Why it could not be read; nothing of the body.
    pub why: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Tx<'_> {
    /// Keeps a push that could not be read. Returns whether these bytes are new.
    pub fn keep_unreadable(&self, push: &UnreadableRow) -> Result<bool, StoreError> {
        let sql = "UPDATE unreadable SET copies = copies + 1 WHERE hash = ?1";
        if self.session.run(sql, params![&push.hash])? > 0 {
            return Ok(false);
        }
        let sql = "INSERT INTO unreadable (hash, created_at, openid, agent, why, bytes, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.session.run(
            sql,
            params![
                &push.hash,
                self.now.0,
                push.openid.as_ref().map(OpenId::as_str),
                push.agent.as_ref().map(ImUserId::as_str),
                &push.why,
                i64::try_from(push.body.len()).unwrap_or(i64::MAX),
                push.body.as_slice(),
            ],
        )?;
        self.bound_unreadable()?;
        Ok(true)
    }

    /// Deletes the oldest beyond the limits of number and size.
    fn bound_unreadable(&self) -> Result<(), StoreError> {
        let sql = "SELECT id, bytes FROM unreadable ORDER BY id DESC";
        let rows: Vec<(i64, i64)> = self.session.all(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (mut count, mut total) = (0, 0_i64);
        for (last, bytes) in rows {
            count += 1;
            total = total.saturating_add(bytes);
            if count > 1 && (count > MAX_ROWS || total > MAX_TOTAL_BYTES) {
                self.session.run("DELETE FROM unreadable WHERE id <= ?1", params![last])?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// All of them, the oldest first. Their ids are negative, because they share none with messages.
    pub fn list_unreadable(&self) -> Result<Vec<MessageSummary>, StoreError> {
        let sql = "SELECT id, openid, agent, created_at, why, bytes, copies FROM unreadable ORDER BY id";
        self.session.all(sql, params![], |row| {
            let (why, bytes, copies): (String, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
            Ok(MessageSummary {
                id: -row.get::<i64>(0)?,
                kind: MessageKind::Message.name(),
                state: UNREADABLE,
                direction: Direction::ToIm.name(),
                openid: row.get::<Option<String>>(1)?.unwrap_or_default(),
                agent: row.get(2)?,
                created_at: row.get(3)?,
                attempts: 0,
                last_error: Some(format!("{why} ({bytes} bytes, received {copies} times)")),
                code: None,
            })
        })
    }

    /// Deletes those that came before `before`.
    pub fn prune_unreadable(&self, before: Millis) -> Result<(), StoreError> {
        self.session.run("DELETE FROM unreadable WHERE created_at < ?1", params![before.0])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::Store;

    fn row(number: usize, bytes: usize) -> UnreadableRow {
        UnreadableRow {
            hash: number.to_string(),
            openid: None,
            agent: None,
            why: "it has no MsgType".to_owned(),
            body: vec![b'x'; bytes],
        }
    }

    async fn kept(rows: Vec<UnreadableRow>) -> Vec<i64> {
        let (store, closing) =
            Store::open(&crate::store::testing::location(), Clock::system(), Metrics::default()).unwrap();
        let ids = store.write(move |tx| {
            for row in &rows {
                tx.keep_unreadable(row)?;
            }
            Ok(tx.list_unreadable()?.iter().map(|row| row.id).collect())
        });
        let ids = ids.await.unwrap();
        closing.close();
        ids
    }

    #[tokio::test]
    async fn junk_cannot_fill_the_disk_and_the_newest_stay() {
        let many = kept((0..MAX_ROWS + 5).map(|number| row(number, 10)).collect()).await;
        assert_eq!((many.len(), many[0], many[MAX_ROWS - 1]), (MAX_ROWS, -6, -1005));
        assert_eq!(kept((0..9).map(|number| row(number, 4 * 1024 * 1024)).collect()).await, [-6, -7, -8, -9]);
        assert_eq!(kept(vec![row(1, 10), row(2, 17 * 1024 * 1024)]).await, [-2], "the newest is always kept");
    }
}
