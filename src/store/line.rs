//! The line: customers for whom no agent is free. Their messages are queued, in no lane, and have no agent. The customer
//! of the oldest one is served first.

use const_format::formatcp;

use super::column::{DEFERRED, MESSAGE, QUEUED, parse_openid};
use super::value::params;
use super::{Line, NewMessage, StoreError, Tx};
use crate::model::{ImUserId, MessageId, Millis, OpenId, State};

/// The customers of one group who are in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The name of the group; `None`: those who belong to none.
    pub group: Option<String>,
    /// How many they are.
    pub length: u32,
    /// The one of them who has waited for longest.
    pub head: OpenId,
    /// Since when that one waits.
    pub since: Millis,
}

impl Tx<'_> {
    /// Stores a message that waits until an agent is free. `why` is for operators.
    pub fn add_queued(&self, message: &NewMessage, why: &str) -> Result<MessageId, StoreError> {
        let id = self.insert(message, State::Queued)?;
        self.session.run("UPDATE message SET last_error = ?2 WHERE id = ?1", params![id.0, why])?;
        Ok(id)
    }

    /// How many customers are in the line, and since when.
    pub fn line(&self) -> Result<Line, StoreError> {
        let sql = formatcp!(
            "SELECT count(DISTINCT openid), min(waiting_since) FROM message INDEXED BY message_queued WHERE {QUEUED}"
        );
        let line = self.session.one(sql, params![], |row| {
            Ok(Line { length: row.get(0)?, since: row.get::<Option<i64>>(1)?.map(Millis) })
        })?;
        Ok(line.unwrap_or_default())
    }

    /// The customer who is served next, and since when that one waits.
    pub fn line_head(&self) -> Result<Option<(OpenId, Millis)>, StoreError> {
        let sql = formatcp!(
            "SELECT openid, waiting_since FROM message INDEXED BY message_line
             WHERE {QUEUED} AND {MESSAGE} ORDER BY id LIMIT 1"
        );
        self.session.one(sql, params![], |row| Ok((parse_openid(row.get(0)?)?, Millis(row.get(1)?))))
    }

    /// The customers in the line by their groups, beginning with the group of the one who has waited for longest.
    /// `ahead_of`: only those who are ahead of this customer; of one who is not in the line, all others are.
    pub fn line_by_group(&self, ahead_of: Option<&OpenId>) -> Result<Vec<Waiting>, StoreError> {
        let own =
            formatcp!("SELECT min(id) FROM message INDEXED BY message_queued WHERE openid = ?1 AND {QUEUED}");
        let before = match ahead_of {
            Some(openid) => self.session.value::<Option<i64>>(own, params![openid.as_str()])?,
            None => None,
        };
        let sql = formatcp!(
            "SELECT waiting.desk_group, waiting.length, m.openid, m.waiting_since FROM
                   (SELECT c.desk_group, count(DISTINCT message.openid) AS length, min(message.id) AS first_id
                    FROM message INDEXED BY message_line LEFT JOIN customer AS c ON c.openid = message.openid
                    WHERE {QUEUED} AND {MESSAGE} AND message.id < ?1 GROUP BY c.desk_group) AS waiting
             CROSS JOIN message AS m WHERE m.id = waiting.first_id ORDER BY waiting.first_id"
        );
        self.session.all(sql, params![before.unwrap_or(i64::MAX)], |row| {
            Ok(Waiting {
                group: row.get(0)?,
                length: row.get(1)?,
                head: parse_openid(row.get(2)?)?,
                since: Millis(row.get(3)?),
            })
        })
    }

    /// Puts all deferred messages of the customer into the line, as [`Move::Queue`](crate::model::Move::Queue) does with
    /// one. From now on the customer waits there.
    pub fn queue_deferred(&self, openid: &OpenId, why: &str) -> Result<(), StoreError> {
        let sql = formatcp!(
            "UPDATE message SET state = ?2, last_error = ?4, waiting_since = ?3, agent = NULL
             WHERE openid = ?1 AND {DEFERRED}"
        );
        let queued = self.session.run(sql, params![openid.as_str(), State::Queued, self.now.0, why])?;
        if queued > 0 {
            self.record_step(openid, None, "queued", why, None)?;
        }
        Ok(())
    }

    /// Gives all queued messages of the customer to `agent` and puts them into their lane, as
    /// [`Move::Release`](crate::model::Move::Release) does with one. From now on they count as waiting. Returns how many
    /// there were.
    pub fn release_queued(&self, openid: &OpenId, agent: &ImUserId) -> Result<usize, StoreError> {
        let sql = formatcp!(
            "UPDATE message SET state = ?2, last_error = NULL, waiting_since = ?3, agent = ?4
             WHERE openid = ?1 AND {QUEUED}"
        );
        let values = params![openid.as_str(), State::Accepted, self.now.0, agent.as_str()];
        let released = self.session.run(sql, values)?;
        if released > 0 {
            let detail = format!("{agent} gets the queued messages");
            self.record_step(openid, None, "released", &detail, None)?;
        }
        Ok(released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Lane, OutboundCall};
    use crate::store::{Customer, Head, Store, testing};

    #[tokio::test]
    async fn the_oldest_in_the_line_is_its_head_and_all_that_is_released_leaves_in_order() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let of = |openid: &OpenId| {
            testing::message(Direction::ToIm, openid, OutboundCall::TextToAgent("hello".to_owned()))
        };
        let (zoe, anna) = (OpenId::new("oZoe").unwrap(), OpenId::new("oAnna").unwrap());
        let (first, night, second) = (of(&zoe), of(&anna), of(&zoe));
        let (of_night, of_zoe) = (anna.clone(), zoe.clone());
        let ids = store.write(move |tx| {
            assert_eq!((tx.line()?, tx.line_head()?), (Line::default(), None));
            let deferred = tx.add_deferred(&night, "closed")?;
            let ids = [tx.add_queued(&first, "full")?, tx.add_queued(&second, "full")?];
            assert_eq!(tx.line_head()?.unwrap().0, of_zoe);
            assert!(tx.parked(&of_zoe)?.has_queued && !tx.parked(&of_night)?.has_queued);
            Ok((deferred, ids, tx.now()))
        });
        let (deferred, ids, began) = ids.await.unwrap();
        clock.advance(60_000);
        let rest = store.write(move |tx| {
            tx.queue_deferred(&anna, "nobody is there")?;
            assert_eq!(tx.line()?, Line { length: 2, since: Some(began) });
            assert_eq!(tx.line_head()?, Some((anna.clone(), tx.now())), "it was written first");
            assert_eq!(tx.state(deferred)?, State::Queued);
            let agent = ImUserId::new("user1").unwrap();
            assert_eq!(tx.release_queued(&zoe, &agent)?, 2);
            assert_eq!(tx.release_queued(&zoe, &agent)?, 0);
            let lane = Lane { direction: Direction::ToIm, customer: zoe.clone() };
            for id in ids {
                let Head::Ready(head) = tx.head(&lane)? else { panic!("the lane is blocked") };
                assert_eq!((head.id, head.agent.as_ref(), head.waits_from()), (id, Some(&agent), tx.now()));
                tx.set_aside(id)?;
            }
            tx.line()
        });
        assert_eq!(rest.await.unwrap().length, 1);
        closing.close();
    }

    #[tokio::test]
    async fn the_line_is_known_by_groups_and_by_who_is_ahead() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let openid = |name: &str| OpenId::new(name).unwrap();
        let all = ["oAnna", "oBen", "oCleo", "oDora"].map(openid);
        let [anna, ben, cleo, dora] = all.clone();
        let work = move |tx: &Tx<'_>| {
            assert_eq!(tx.line_by_group(None)?, []);
            for (customer, group) in all.iter().zip([Some("sales"), None, Some("sales"), None]) {
                let group = group.map(str::to_owned);
                tx.put_customer(&Customer { group, ..Customer::new(customer.clone()) })?;
            }
            for customer in [&anna, &ben, &cleo, &anna] {
                let call = OutboundCall::TextToAgent("hello".to_owned());
                tx.add_queued(&testing::message(Direction::ToIm, customer, call), "full")?;
            }
            let waiting = |group: Option<&str>, length, head: &OpenId| Waiting {
                group: group.map(str::to_owned),
                length,
                head: head.clone(),
                since: tx.now(),
            };
            let of_sales = waiting(Some("sales"), 2, &anna);
            let whole = [of_sales.clone(), waiting(None, 1, &ben)];
            assert_eq!(tx.line_by_group(None)?, whole);
            assert_eq!(tx.line_by_group(Some(&dora))?, whole, "who is not in the line is behind all");
            assert_eq!(tx.line_by_group(Some(&anna))?, []);
            assert_eq!(tx.line_by_group(Some(&ben))?, [waiting(Some("sales"), 1, &anna)]);
            let ahead_of_cleo = [waiting(Some("sales"), 1, &anna), waiting(None, 1, &ben)];
            assert_eq!(tx.line_by_group(Some(&cleo))?, ahead_of_cleo);
            Ok(())
        };
        store.write(work).await.unwrap();
        closing.close();
    }
}
