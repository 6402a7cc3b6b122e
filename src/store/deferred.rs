//! Deferred messages: those of customers that wait until their agents work again. They are in no lane, so that notices
//! and account calls pass them, and keep their positions, so that they leave in order once they are released.

use const_format::formatcp;

use super::column::{DEFERRED, HELD, QUEUED, parse_openid};
use super::value::params;
use super::{NewMessage, StoreError, Tx};
use crate::model::{ImUserId, MessageId, OpenId, State};

/// Which messages of a customer's conversation wait for something other than their lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Answers that wait for the customer.
    pub has_held: bool,
    /// The customer's messages that wait for the agents' hours.
    pub has_deferred: bool,
    /// The customer's messages that wait for an agent who is free.
    pub has_queued: bool,
}

impl Tx<'_> {
    /// Stores a message that waits until it is released. `why` is for operators.
    pub fn add_deferred(&self, message: &NewMessage, why: &str) -> Result<MessageId, StoreError> {
        let id = self.insert(message, State::Deferred)?;
        self.session.run("UPDATE message SET last_error = ?2 WHERE id = ?1", params![id.0, why])?;
        Ok(id)
    }

    /// Which messages of the customer are held, deferred or queued.
    pub fn parked(&self, openid: &OpenId) -> Result<Parked, StoreError> {
        let sql = formatcp!(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM message INDEXED BY message_held
                                      WHERE openid = ?1 AND {HELD}) THEN 1 ELSE 0 END
                  + CASE WHEN EXISTS (SELECT 1 FROM message INDEXED BY message_deferred
                                      WHERE openid = ?1 AND {DEFERRED}) THEN 2 ELSE 0 END
                  + CASE WHEN EXISTS (SELECT 1 FROM message INDEXED BY message_queued
                                      WHERE openid = ?1 AND {QUEUED}) THEN 4 ELSE 0 END AS found"
        );
        let found: i64 = self.session.value(sql, params![openid.as_str()])?;
        Ok(Parked { has_held: found & 1 > 0, has_deferred: found & 2 > 0, has_queued: found & 4 > 0 })
    }

    /// Puts all deferred messages of the customer into their lane, as [`Move::Release`](crate::model::Move::Release)
    /// does with one. Those that have no agent get `agent`. From now on they count as waiting. Returns how many there were.
    pub fn release_deferred(&self, openid: &OpenId, agent: &ImUserId) -> Result<usize, StoreError> {
        let sql = formatcp!(
            "UPDATE message SET state = ?2, last_error = NULL, waiting_since = ?3, agent = coalesce(agent, ?4)
             WHERE openid = ?1 AND {DEFERRED}"
        );
        let values = params![openid.as_str(), State::Accepted, self.now.0, agent.as_str()];
        let released = self.session.run(sql, values)?;
        if released > 0 {
            self.record_step(openid, None, "released", "the deferred messages leave now", None)?;
        }
        Ok(released)
    }

    /// Up to `limit` customers after `cursor` who have deferred messages, by openid.
    pub fn deferred_customers(&self, cursor: Option<&OpenId>, limit: u32) -> Result<Vec<OpenId>, StoreError> {
        let sql = formatcp!(
            "SELECT DISTINCT openid FROM message INDEXED BY message_deferred
             WHERE {DEFERRED} AND openid > ?1 ORDER BY openid LIMIT ?2"
        );
        let after = cursor.map_or("", OpenId::as_str);
        self.session.all(sql, params![after, limit], |row| parse_openid(row.get(0)?))
    }

    /// Whether other customers than this one have deferred messages.
    pub fn have_others_deferred(&self, but: &OpenId) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY message_deferred WHERE {DEFERRED} AND openid <> ?1)"
        );
        self.session.value(sql, params![but.as_str()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Direction, Lane, Millis, OutboundCall};
    use crate::store::{Head, Store, testing};

    #[tokio::test]
    async fn deferred_messages_are_passed_by_others_and_leave_in_order_once_released() {
        let clock = Clock::movable();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToIm, customer: openid.clone() };
        let message =
            testing::message(Direction::ToIm, &openid, OutboundCall::TextToAgent("hello".to_owned()));
        let (customer, of_night, of_lane) = (openid.clone(), message.clone(), lane.clone());
        let night = store.write(move |tx| {
            let first = tx.add_deferred(&of_night, "closed")?;
            let notice = tx.add(&of_night)?;
            let second = tx.add_deferred(&of_night, "closed")?;
            let Head::Ready(head) = tx.head(&of_lane)? else { panic!("the lane is blocked") };
            assert_eq!(head.id, notice);
            assert!(tx.parked(&customer)?.has_deferred);
            assert_eq!(tx.deferred_customers(None, 9)?, std::slice::from_ref(&customer));
            assert!(tx.deferred_customers(Some(&customer), 9)?.is_empty());
            assert!(!tx.have_others_deferred(&customer)?);
            assert!(tx.have_others_deferred(&OpenId::new("oBen").unwrap())?);
            let counts = tx.counts()?;
            assert_eq!((counts.waiting, counts.deferred), (1, 2));
            Ok([first, notice, second])
        });
        let ids = night.await.unwrap();
        clock.advance(3_600_000);
        let oldest = store.write(move |tx| {
            let now = tx.now();
            let agent = ImUserId::new("user1").unwrap();
            assert_eq!(tx.release_deferred(&openid, &agent)?, 2);
            let last = tx.add(&message)?;
            for id in ids.into_iter().chain([last]) {
                let Head::Ready(head) = tx.head(&lane)? else { panic!("the lane is blocked") };
                assert_eq!(head.id, id);
                let is_released = id == ids[0] || id == ids[2] || id == last;
                assert_eq!(head.waits_from() == now, is_released, "{id:?}");
                tx.set_aside(id)?;
                if id == ids[1] {
                    assert_eq!(tx.counts()?.oldest, Some(now), "the night is no age");
                }
            }
            assert_eq!(tx.parked(&openid)?, Parked::default());
            assert_eq!(tx.release_deferred(&openid, &agent)?, 0);
            Ok(tx.counts()?.oldest)
        });
        assert_eq!(oldest.await.unwrap(), None::<Millis>);
        closing.close();
    }
}
