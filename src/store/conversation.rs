//! Conversations as the agents have them: which views are to be read again, what was said last, who gets what waits.

use super::{StoreError, Tx};
use crate::model::{Direction, ImUserId, Kind, Millis, OpenId, Order, State};

/// An agent's view of a conversation that is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The customer.
    pub customer: OpenId,
    /// The number of the customer's IM UserID.
    pub number: u32,
    /// Since when the customer is known.
    pub known_since: Millis,
    /// The agent.
    pub agent: ImUserId,
    /// IM's time of the newest message that was found so far, Unix seconds; 0 before the first.
    pub newest_s: i64,
}

/// Something that a customer or an agent said.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Which way it went.
    pub direction: Direction,
    /// The agent who got it or wrote it.
    pub agent: Option<ImUserId>,
    /// What it was carried by.
    pub orders: Vec<Order>,
    /// When it was accepted.
    pub at: Millis,
}

/// Customers looked at in one round at most: those who wrote last.
const CUSTOMERS: u32 = 5_000;
/// The views of other agents than the conversation's own are read this much less often, milliseconds, where there
/// is not time for all.
const OTHERS_MS: i64 = 600_000;

impl Tx<'_> {
    /// Up to `limit` views by `agents` of the conversations active since `since`: those first that were read
    /// longest ago.
    pub fn to_look_at(
        &self,
        agents: &[ImUserId],
        since: Millis,
        limit: u32,
    ) -> Result<Vec<Look>, StoreError> {
        let sql = "SELECT c.openid, c.number, c.known_since, a.value, ifnull(l.newest_s, 0)
                   FROM (SELECT openid, number, agent, known_since FROM customer
                         WHERE (active_at >= ?1 OR known_since >= ?1) AND known = 1 AND imported = 1
                         ORDER BY active_at DESC LIMIT ?2) AS c
                   JOIN json_each(?3) AS a
                   LEFT JOIN looked AS l ON l.openid = c.openid AND l.agent = a.value
                   ORDER BY ifnull(l.at, 0) + CASE WHEN a.value = c.agent THEN 0 ELSE ?4 END LIMIT ?5";
        let mut statement = self.connection.prepare_cached(sql)?;
        let agents = serde_json::to_string(agents)?;
        let mut rows = statement.query((since.0, CUSTOMERS, agents, OTHERS_MS, limit))?;
        let mut looks = Vec::new();
        while let Some(row) = rows.next()? {
            looks.push(Look {
                customer: super::message::openid_of(row.get(0)?)?,
                number: row.get(1)?,
                known_since: Millis(row.get(2)?),
                agent: super::message::agent_of(row.get(3)?)?,
                newest_s: row.get(4)?,
            });
        }
        Ok(looks)
    }

    /// A view has been read up to `newest_s`. Nothing is kept of a customer that is not known.
    pub fn looked(&self, look: &Look, newest_s: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO looked (openid, agent, newest_s, at)
                   SELECT ?1, ?2, ?3, ?4 FROM customer WHERE openid = ?1 AND known = 1
                   ON CONFLICT (openid, agent) DO UPDATE SET newest_s = max(newest_s, excluded.newest_s), at = excluded.at";
        self.connection.prepare_cached(sql)?.execute((
            look.customer.as_str(),
            look.agent.as_str(),
            newest_s,
            self.now.0,
        ))?;
        Ok(())
    }

    /// The last up to `limit` messages of a conversation that `agent` has not had: in order, since the last time the
    /// agent was handed the conversation, without those that still wait to go to whoever has it.
    pub fn past(&self, openid: &OpenId, agent: &ImUserId, limit: u32) -> Result<Vec<Past>, StoreError> {
        let sql = "SELECT direction, agent, orders, created_at FROM
                   (SELECT id, direction, agent, orders, created_at FROM message
                    WHERE openid = ?1 AND kind = ?2 AND agent IS NOT ?3 AND state != ?4
                    AND NOT (direction = ?5 AND state = ?6 AND part = 0)
                    AND id > (SELECT ifnull(max(id), 0) FROM message WHERE openid = ?1 AND kind = ?7 AND agent = ?3)
                    ORDER BY id DESC LIMIT ?8) ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((
            openid.as_str(),
            Kind::Message,
            agent.as_str(),
            State::Refused,
            Direction::ToIm,
            State::Accepted,
            Kind::Transfer,
            limit,
        ))?;
        let mut past = Vec::new();
        while let Some(row) = rows.next()? {
            past.push(Past {
                direction: row.get(0)?,
                agent: super::message::agent(row.get(1)?)?,
                orders: serde_json::from_str(&row.get::<_, String>(2)?)?,
                at: Millis(row.get(3)?),
            });
        }
        Ok(past)
    }

    /// Gives `agent` everything of the customer's that has certainly not reached anybody, in order, under numbers from
    /// `next_seq` on: in a conversation that is new to it, it must come after what has been told there. The next number.
    pub fn redirect(&self, openid: &OpenId, agent: &ImUserId, next_seq: u32) -> Result<u32, StoreError> {
        let sql = "SELECT id, json_array_length(orders) FROM message
                   WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1) AND state = ?3 AND kind = ?4 AND part = 0
                   ORDER BY id";
        let mut waiting = self.connection.prepare_cached(sql)?;
        let waiting = waiting
            .query_map((Direction::ToIm, openid.as_str(), State::Accepted, Kind::Message), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?))
            })?;
        let waiting: Vec<(i64, u32)> = waiting.collect::<Result<_, _>>()?;
        let mut update =
            self.connection.prepare_cached("UPDATE message SET agent = ?2, seq = ?3 WHERE id = ?1")?;
        let mut seq = next_seq;
        for (id, orders) in waiting {
            update.execute((id, agent.as_str(), seq))?;
            seq = seq.wrapping_add(orders);
        }
        Ok(seq)
    }

    /// How many of the agents' answers to the customer are held.
    pub fn count_held(&self, openid: &OpenId) -> Result<u32, StoreError> {
        let sql = "SELECT count(*) FROM message INDEXED BY message_held WHERE openid = ?1 AND state = 3";
        Ok(self.connection.prepare_cached(sql)?.query_row([openid.as_str()], |row| row.get(0))?)
    }
}
