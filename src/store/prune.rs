//! Retention: deletes old rows, a few at a time, so that other writes do not wait for it.

use const_format::formatcp;

use super::column::{ENDED, HELD};
use super::position::POSITION;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MessageId, Millis};

/// The cursor of a scan through the held answers: openid, position in the lane, message id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldCursor(String, i64, i64);

impl Tx<'_> {
    /// Scans up to `limit` messages with ids above `after` and deletes those settled before
    /// `before`. Returns the id to continue from, or `None` at the end.
    pub fn prune_messages(
        &self,
        after: MessageId,
        limit: u32,
        before: Millis,
    ) -> Result<Option<MessageId>, StoreError> {
        let page_sql =
            "SELECT max(id) FROM (SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT ?2) AS page";
        let Some(last) = self.last_in_page(page_sql, after.0, limit)? else { return Ok(None) };
        let sql = formatcp!("DELETE FROM message WHERE id > ?1 AND id <= ?2 AND {ENDED} AND settled_at < ?3");
        self.session.run(sql, params![after.0, last, before.0])?;
        Ok(Some(MessageId(last)))
    }

    /// The same for trace steps, by their own ids.
    pub fn prune_steps(&self, after: i64, limit: u32, before: Millis) -> Result<Option<i64>, StoreError> {
        let page_sql = "SELECT max(id) FROM (SELECT id FROM step WHERE id > ?1 ORDER BY id LIMIT ?2) AS page";
        let Some(last) = self.last_in_page(page_sql, after, limit)? else { return Ok(None) };
        let sql = "DELETE FROM step WHERE id > ?1 AND id <= ?2 AND at < ?3";
        self.session.run(sql, params![after, last, before.0])?;
        Ok(Some(last))
    }

    /// Scans up to `limit` held answers after `after`. Returns those accepted before `before`, and
    /// the cursor to continue from, or `None` at the end.
    pub fn expired_held(
        &self,
        after: &HeldCursor,
        limit: u32,
        before: Millis,
    ) -> Result<(Vec<MessageId>, Option<HeldCursor>), StoreError> {
        // Uses its own index, because there may be a million other messages.
        let sql = formatcp!(
            "SELECT openid, {POSITION}, id, created_at FROM message INDEXED BY message_held
             WHERE {HELD} AND (openid, {POSITION}, id) > (?1, ?2, ?3) ORDER BY openid, {POSITION}, id LIMIT ?4"
        );
        let HeldCursor(openid, position, id) = after;
        let (mut expired, mut last) = (Vec::new(), None);
        self.session.all(sql, params![openid, *position, *id, limit], |row| {
            let id = MessageId(row.get(2)?);
            if Millis(row.get(3)?) < before {
                expired.push(id);
            }
            last = Some(HeldCursor(row.get(0)?, row.get(1)?, id.0));
            Ok(())
        })?;
        Ok((expired, last))
    }

    fn last_in_page(&self, page_sql: &str, after: i64, limit: u32) -> Result<Option<i64>, StoreError> {
        self.session.value(page_sql, params![after, limit])
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::model::{Direction, MessageId, Move, OpenId, OutboundCall, State};
    use crate::store::{Settlement, Store, testing};

    const DAY_MS: i64 = 24 * 3600 * 1000;

    #[tokio::test]
    async fn only_old_settled_messages_are_pruned() {
        let clock = Clock::movable();
        let (store, closing) =
            Store::open(&testing::location(), clock.clone(), crate::metrics::Metrics::default()).unwrap();
        let message =
            testing::message(Direction::ToIm, &OpenId::new("oA").unwrap(), OutboundCall::ImportAccount);
        let ids = store
            .write(move |tx| {
                let (settled, waiting) = (tx.add(&message)?, tx.add(&message)?);
                tx.settle(settled, Move::Refuse, &Settlement::default())?;
                tx.record_dedup("old", None)?;
                Ok((settled, waiting))
            })
            .await
            .unwrap();
        clock.advance(31 * DAY_MS);
        let left = store
            .write(move |tx| {
                tx.record_dedup("new", None)?;
                let before = tx.now().plus(-30 * DAY_MS);
                let mut after = Some(MessageId(0));
                while let Some(from) = after {
                    after = tx.prune_messages(from, 1, before)?;
                }
                let mut cursor = Some(String::new());
                while let Some(from) = cursor {
                    cursor = tx.prune_dedup(&from, 1, tx.now().plus(-3 * DAY_MS))?;
                }
                Ok((
                    tx.state(ids.0).is_ok(),
                    tx.state(ids.1)?,
                    tx.first_reply("old")?.is_some(),
                    tx.first_reply("new")?.is_some(),
                ))
            })
            .await
            .unwrap();
        assert_eq!(left, (false, State::Accepted, false, true));
        closing.close();
    }
}
