//! The backlog: which lanes have pending messages, and how many messages wait.

use const_format::formatcp;
use rusqlite::OptionalExtension as _;

use super::column::{HELD, OPEN, parse_openid};
use super::{StoreError, Tx};
use crate::model::{Direction, Millis, OpenId};

/// The size of the backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that the outbox still has to send or settle.
    pub waiting: i64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Millis>,
    /// Messages that wait for their customer to write.
    pub held: i64,
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
            "SELECT openid FROM message
                   WHERE direction = ?1 AND openid > ?2 AND {OPEN} ORDER BY openid LIMIT 1"
        );
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found: Vec<OpenId> = Vec::new();
        while found.len() < limit {
            let after = found.last().or(cursor).map_or("", OpenId::as_str);
            let next: Option<String> =
                statement.query_row((direction, after), |row| row.get(0)).optional()?;
            match next {
                Some(openid) => found.push(parse_openid(openid)?),
                None => break,
            }
        }
        Ok(found)
    }

    /// Whether the customer has held answers.
    pub fn has_held(&self, openid: &OpenId) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY message_held WHERE openid = ?1 AND {HELD})"
        );
        Ok(self.connection.prepare_cached(sql)?.query_row([openid.as_str()], |row| row.get(0))?)
    }

    /// The numbers of pending and held messages.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let (waiting, oldest): (i64, Option<i64>) = self
            .connection
            .prepare_cached(formatcp!("SELECT count(*), min(created_at) FROM message WHERE {OPEN}"))?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let held = self
            .connection
            .prepare_cached(formatcp!("SELECT count(*) FROM message WHERE {HELD}"))?
            .query_row([], |row| row.get(0))?;
        Ok(Counts { waiting, oldest: oldest.map(Millis), held })
    }
}
