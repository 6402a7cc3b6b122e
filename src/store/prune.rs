//! Retention: drops what is too old, a few rows at a time, so that nobody waits for it.

use super::{StoreError, Tx};
use crate::model::{MessageId, Millis};

impl Tx<'_> {
    /// Looks at up to `limit` messages numbered above `after` and drops those settled before `before`.
    /// The next number to go on from, or `None` at the end.
    pub fn prune_messages(
        &self,
        after: MessageId,
        limit: u32,
        before: Millis,
    ) -> Result<Option<MessageId>, StoreError> {
        let walk = "SELECT max(id) FROM (SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT ?2)";
        let Some(last) = self.last_of(walk, after.0, limit)? else { return Ok(None) };
        let sql = "DELETE FROM message WHERE id > ?1 AND id <= ?2 AND state IN (2, 4, 5) AND settled_at < ?3";
        self.connection.prepare_cached(sql)?.execute((after.0, last, before.0))?;
        Ok(Some(MessageId(last)))
    }

    /// The same for steps, by their own numbers.
    pub fn prune_steps(&self, after: i64, limit: u32, before: Millis) -> Result<Option<i64>, StoreError> {
        let walk = "SELECT max(id) FROM (SELECT id FROM step WHERE id > ?1 ORDER BY id LIMIT ?2)";
        let Some(last) = self.last_of(walk, after, limit)? else { return Ok(None) };
        let sql = "DELETE FROM step WHERE id > ?1 AND id <= ?2 AND at < ?3";
        self.connection.prepare_cached(sql)?.execute((after, last, before.0))?;
        Ok(Some(last))
    }

    /// Up to `limit` answers that have been held since before `before`.
    pub fn held_since(&self, before: Millis, limit: u32) -> Result<Vec<MessageId>, StoreError> {
        let sql = "SELECT id FROM message WHERE state = 3 AND created_at < ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((before.0, limit), |row| row.get(0).map(MessageId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn last_of(&self, walk: &str, after: i64, limit: u32) -> Result<Option<i64>, StoreError> {
        Ok(self.connection.prepare_cached(walk)?.query_row((after, limit), |row| row.get(0))?)
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::model::{Direction, Kind, MessageId, Move, OpenId, Order, State};
    use crate::store::{NewMessage, Place, Settled, Store};

    const DAY_MS: i64 = 24 * 3600 * 1000;

    #[tokio::test]
    async fn only_what_is_settled_and_old_goes() {
        let clock = Clock::movable();
        let (store, closing) =
            Store::open(&Place::Memory, clock.clone(), crate::metrics::Metrics::default()).unwrap();
        let message = NewMessage {
            direction: Direction::ToIm,
            kind: Kind::Message,
            openid: OpenId::new("oA").unwrap(),
            agent: None,
            orders: vec![Order::ImportAccount],
            msg_seq: 1,
            msg_random: 1,
            source: "m".into(),
            erase: false,
        };
        let ids = store
            .write(move |tx| {
                let (settled, waiting) = (tx.add(&message)?, tx.add(&message)?);
                tx.settle(settled, Move::Refuse, &Settled::default())?;
                tx.mark_seen("old", None)?;
                Ok((settled, waiting))
            })
            .await
            .unwrap();
        clock.advance(31 * DAY_MS);
        let left = store
            .write(move |tx| {
                tx.mark_seen("new", None)?;
                let before = tx.now().plus(-30 * DAY_MS);
                let mut after = Some(MessageId(0));
                while let Some(from) = after {
                    after = tx.prune_messages(from, 1, before)?;
                }
                let mut cursor = Some(String::new());
                while let Some(from) = cursor {
                    cursor = tx.prune_seen(&from, 1, tx.now().plus(-3 * DAY_MS))?;
                }
                Ok((
                    tx.state(ids.0).is_ok(),
                    tx.state(ids.1)?,
                    tx.first_answer("old")?.is_some(),
                    tx.first_answer("new")?.is_some(),
                ))
            })
            .await
            .unwrap();
        assert_eq!(left, (false, State::Accepted, false, true));
        closing.close();
    }
}
