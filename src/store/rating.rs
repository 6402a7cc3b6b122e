//! Ratings: asked for at the end of a conversation, and given by a tap.

use super::column::parse_agent;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, Millis, OpenId, Rating, RatingId};

/// Where a list of ratings goes on: behind the one that was asked for at this time and has this number.
pub type RatingCursor = (Millis, i64);

/// What a customer answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenRating {
    /// Who served the customer.
    pub agent: String,
    /// When the customer was asked.
    pub asked_at: Millis,
    /// The answer; `None`: a newer version knows it.
    pub rating: Option<Rating>,
}

impl Tx<'_> {
    /// Records that the customer is asked to rate `agent`.
    pub fn ask_rating(&self, openid: &OpenId, agent: &ImUserId) -> Result<RatingId, StoreError> {
        let sql = "INSERT INTO rating (openid, agent, asked_at) VALUES (?1, ?2, ?3) RETURNING id";
        self.session.value(sql, params![openid.as_str(), agent.as_str(), self.now.0]).map(RatingId)
    }

    /// Whether the customer was asked at `since` or later.
    pub fn was_asked_for_rating(&self, openid: &OpenId, since: Millis) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM rating WHERE openid = ?1 AND asked_at >= ?2 LIMIT 1";
        Ok(self.session.find::<i64>(sql, params![openid.as_str(), since.0])?.is_some())
    }

    /// Whom the customer was asked to rate, and whether the customer has done so; `None`: nobody asked this customer.
    pub fn asked_rating(
        &self,
        openid: &OpenId,
        id: RatingId,
    ) -> Result<Option<(ImUserId, bool)>, StoreError> {
        let sql = "SELECT agent, value FROM rating WHERE id = ?1 AND openid = ?2";
        self.session.one(sql, params![id.0, openid.as_str()], |row| {
            Ok((parse_agent(row.get(0)?)?, row.get::<Option<i64>>(1)?.is_some()))
        })
    }

    /// Records what the customer answered.
    pub fn rate(&self, id: RatingId, rating: Rating) -> Result<(), StoreError> {
        let sql = "UPDATE rating SET value = ?2, rated_at = ?3 WHERE id = ?1";
        self.session.run(sql, params![id.0, rating.value(), self.now.0])?;
        Ok(())
    }

    /// Returns up to `limit` ratings that were given, from behind `after` on, by the time at which they were asked for, and
    /// where the next call goes on; `None`: there are no more.
    pub fn ratings(
        &self,
        after: RatingCursor,
        limit: u32,
    ) -> Result<(Vec<GivenRating>, Option<RatingCursor>), StoreError> {
        let sql = "SELECT id, agent, asked_at, value FROM rating
                   WHERE asked_at >= ?1 AND (asked_at, id) > (?1, ?2) AND value IS NOT NULL
                   ORDER BY asked_at, id LIMIT ?3";
        let found = self.session.all(sql, params![after.0.0, after.1, limit], |row| {
            let (agent, asked_at) = (row.get(1)?, Millis(row.get(2)?));
            Ok((row.get::<i64>(0)?, GivenRating { agent, asked_at, rating: Rating::of_value(row.get(3)?) }))
        })?;
        let is_last = found.len() < limit as usize;
        let next = found.last().map(|(id, given)| (given.asked_at, *id)).filter(|_| !is_last);
        Ok((found.into_iter().map(|(_, given)| given).collect(), next))
    }

    /// Deletes ratings that were asked for before `before`.
    pub fn prune_ratings(&self, before: Millis) -> Result<(), StoreError> {
        self.session.run("DELETE FROM rating WHERE asked_at < ?1", params![before.0])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::{Customer, Store, testing};

    #[tokio::test]
    async fn a_rating_belongs_to_its_customer_and_outlives_the_customer_without_a_name() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let openid = |name: &str| OpenId::new(name).unwrap();
        let (anna, ben, agent) = (openid("oAnna"), openid("oBen"), ImUserId::new("user1").unwrap());
        let customer = anna.clone();
        let id = store.write(move |tx| {
            tx.put_customer(&Customer::new(customer.clone()))?;
            let id = tx.ask_rating(&customer, &agent)?;
            assert_eq!(tx.asked_rating(&ben, id)?, None);
            assert_eq!(tx.asked_rating(&customer, id)?, Some((agent.clone(), false)));
            tx.rate(id, Rating::SoSo)?;
            assert_eq!(tx.asked_rating(&customer, id)?, Some((agent.clone(), true)));
            Ok(id)
        });
        let id = id.await.unwrap();
        clock.advance(3_600_000);
        store
            .write(move |tx| {
                assert!(tx.was_asked_for_rating(&anna, tx.now().plus(-3_700_000))?);
                assert!(!tx.was_asked_for_rating(&anna, tx.now().plus(-3_500_000))?);
                tx.forget_customer(&anna)?;
                assert_eq!(tx.asked_rating(&anna, id)?, None);
                let values = || {
                    let sql = "SELECT value FROM rating WHERE openid IS NULL";
                    tx.session.find::<i64>(sql, params![])
                };
                assert_eq!(values()?, Some(2));
                tx.prune_ratings(tx.now().plus(-3_700_000))?;
                assert_eq!(values()?, Some(2));
                tx.prune_ratings(tx.now())?;
                assert_eq!(values()?, None);
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
