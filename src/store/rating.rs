//! Ratings: asked for at the end of a conversation, and given by a tap.

use super::column::parse_agent;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, Millis, OpenId, Rating, RatingId};

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
