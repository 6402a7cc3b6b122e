//! Conversations as the agents have them: what was said last, who gets what waits.

use super::turn::TURN;
use super::{StoreError, Tx};
use crate::model::{Direction, ImUserId, Kind, Millis, OpenId, Order, State};

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

impl Tx<'_> {
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
        let sql = format!(
            "SELECT id, json_array_length(orders) FROM message
             WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1) AND state = ?3 AND kind = ?4 AND part = 0
             ORDER BY {TURN}"
        );
        let mut waiting = self.connection.prepare_cached(&sql)?;
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
