//! The backlog: which lanes have pending messages, and how many messages wait.

use super::column::{DEFERRED, HELD, OPEN, parse_openid};
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Direction, Millis, OpenId};
use const_format::formatcp;

/// The customers who wait until an agent is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How many customers wait.
    pub length: u32,
    /// Since when the one waits who has waited for longest.
    pub since: Option<Millis>,
}

/// The size of the backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that the outbox still has to send or settle.
    pub waiting: i64,
    /// When the oldest of them was accepted, or released if it was deferred.
    pub oldest: Option<Millis>,
    /// Messages that wait for their customer to write.
    pub held: i64,
    /// Customers' messages that wait for the agents to work again.
    pub deferred: i64,
    /// The customers who wait for an agent who is free.
    pub line: Line,
}

impl Tx<'_> {
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
        let sql = formatcp!(
            "WITH RECURSIVE lane (openid, number) AS (
               SELECT (SELECT openid FROM message WHERE direction = ?1 AND openid > ?2 AND {OPEN}
                       ORDER BY openid LIMIT 1), 1
               UNION ALL
               SELECT (SELECT m.openid FROM message AS m WHERE m.direction = ?1 AND m.openid > lane.openid
                       AND m.{OPEN} ORDER BY m.openid LIMIT 1), lane.number + 1
               FROM lane WHERE lane.openid IS NOT NULL AND lane.number < ?3)
             SELECT openid FROM lane WHERE openid IS NOT NULL ORDER BY number"
        );
        let (after, limit) = (cursor.map_or("", OpenId::as_str), i64::try_from(limit).unwrap_or(i64::MAX));
        self.session.all(sql, params![direction, after, limit], |row| parse_openid(row.get(0)?))
    }

    /// The numbers of pending, held and deferred messages, and the line.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let sql = formatcp!(
            "SELECT count(*), min(CASE WHEN direction = 0 AND waiting_since > created_at THEN waiting_since
                                       ELSE created_at END) FROM message WHERE {OPEN}"
        );
        let (waiting, oldest) = self
            .session
            .one(sql, params![], |row| Ok((row.get(0)?, row.get::<Option<i64>>(1)?)))?
            .unwrap_or_default();
        let held = self.session.value(formatcp!("SELECT count(*) FROM message WHERE {HELD}"), params![])?;
        let deferred =
            self.session.value(formatcp!("SELECT count(*) FROM message WHERE {DEFERRED}"), params![])?;
        Ok(Counts { waiting, oldest: oldest.map(Millis), held, deferred, line: self.line()? })
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, MessageKind, Move, OpenId, OutboundCall};
    use crate::store::{NewMessage, Settlement, Store};

    #[tokio::test]
    async fn each_lane_with_pending_messages_is_listed_once_page_by_page() {
        let (store, closing) =
            Store::open(&crate::store::testing::location(), Clock::system(), Metrics::default()).unwrap();
        let openid = |number: usize| OpenId::new(format!("o{number}")).unwrap();
        let pages = store.write(move |tx| {
            for number in [3, 1, 5, 1, 2, 4, 3] {
                let id = tx.add(&NewMessage {
                    direction: if number == 4 { Direction::ToWechat } else { Direction::ToIm },
                    kind: MessageKind::Message,
                    openid: openid(number),
                    agent: None,
                    calls: vec![OutboundCall::ImportAccount],
                    msg_seq: 1,
                    msg_random: 1,
                    source: "a".to_owned(),
                    erase: false,
                })?;
                if number == 2 {
                    tx.settle(id, Move::Refuse, &Settlement::default())?;
                }
            }
            let mut pages = vec![tx.open_lanes(Direction::ToIm, None, 2)?];
            while let Some(last) = pages.last().and_then(|page| page.last()).cloned() {
                pages.push(tx.open_lanes(Direction::ToIm, Some(&last), 2)?);
            }
            Ok(pages)
        });
        assert_eq!(pages.await.unwrap(), [vec![openid(1), openid(3)], vec![openid(5)], vec![]]);
        closing.close();
    }
}
