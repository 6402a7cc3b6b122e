//! What WeChat tells of customers, and what of it IM shows already.

use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Millis, OpenId, Profile};

impl Tx<'_> {
    /// What WeChat told of the customer last; `None` if it has told nothing.
    pub fn profile(&self, openid: &OpenId) -> Result<Option<Profile>, StoreError> {
        let sql = "SELECT remark, tags, picture, read_at FROM profile WHERE openid = ?1";
        self.session.one(sql, params![openid.as_str()], |row| {
            Ok(Profile {
                remark: row.get(0)?,
                tags: serde_json::from_str(row.text(1)?)?,
                picture: row.get(2)?,
                read_at: Millis(row.get(3)?),
            })
        })
    }

    /// Stores what WeChat tells of the customer, unless the customer has left.
    pub fn put_profile(&self, openid: &OpenId, profile: &Profile) -> Result<(), StoreError> {
        if !self.customer(openid)?.is_some_and(|customer| customer.known) {
            return Ok(());
        }
        let sql = "INSERT INTO profile (openid, remark, tags, picture, read_at, shown)
                   VALUES (?1, ?2, ?3, ?4, ?5, '')
                   ON CONFLICT (openid) DO UPDATE SET remark = excluded.remark, tags = excluded.tags,
                       picture = excluded.picture, read_at = excluded.read_at";
        let Profile { remark, tags, picture, read_at } = profile;
        let tags = serde_json::to_string(tags)?;
        self.session.run(sql, params![openid.as_str(), remark, &tags, picture, read_at.0])?;
        Ok(())
    }

    /// What IM's account of the customer shows, in the form in which [`Tx::set_shown`] recorded it; `None` if there is no
    /// profile.
    pub fn shown(&self, openid: &OpenId) -> Result<Option<String>, StoreError> {
        self.session.find("SELECT shown FROM profile WHERE openid = ?1", params![openid.as_str()])
    }

    /// Records what IM's account of the customer shows from now on.
    pub fn set_shown(&self, openid: &OpenId, shown: &str) -> Result<(), StoreError> {
        let sql = "UPDATE profile SET shown = ?2 WHERE openid = ?1";
        self.session.run(sql, params![openid.as_str(), shown])?;
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
    async fn a_profile_is_kept_until_its_customer_leaves() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock, Metrics::default()).unwrap();
        let anna = OpenId::new("oAnna").unwrap();
        store
            .write(move |tx| {
                let read_at = tx.now();
                let profile = |remark: &str| Profile {
                    remark: remark.to_owned(),
                    tags: vec!["VIP".to_owned(), "多".to_owned()],
                    picture: String::new(),
                    read_at,
                };
                tx.put_profile(&anna, &profile("nobody yet"))?;
                assert_eq!((tx.profile(&anna)?, tx.shown(&anna)?), (None, None));
                tx.put_customer(&Customer::new(anna.clone()))?;
                tx.put_profile(&anna, &profile("Anna"))?;
                tx.set_shown(&anna, "Anna\n")?;
                tx.put_profile(&anna, &profile("Anna Li"))?;
                assert_eq!(tx.profile(&anna)?, Some(profile("Anna Li")));
                assert_eq!(tx.shown(&anna)?.as_deref(), Some("Anna\n"));
                tx.forget_customer(&anna)?;
                assert_eq!(tx.profile(&anna)?, None);
                tx.put_profile(&anna, &profile("too late"))?;
                assert_eq!(tx.profile(&anna)?, None);
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
