//! Bursts: lines that one call sends together. Each is a message of its own; the column `burst` says which of them a
//! recorded attempt sends.

use const_format::formatcp;

use super::column::{OPEN, SENDING};
use super::message::{PENDING_COLUMNS, read_pending_call};
use super::position::POSITION;
use super::session::Row;
use super::value::params;
use super::{PendingCall, StoreError, Tx};
use crate::model::{Lane, State};

impl Tx<'_> {
    /// Up to `limit` pending messages behind `first` in its lane, in order. Ends before one whose data cannot be read,
    /// with `None`.
    pub fn lane_behind(
        &self,
        first: &PendingCall,
        limit: usize,
    ) -> Result<Vec<Option<PendingCall>>, StoreError> {
        let sql = formatcp!(
            "SELECT {PENDING_COLUMNS} FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN}
             AND {POSITION} > (SELECT {POSITION} FROM message WHERE id = ?3) ORDER BY {POSITION} LIMIT ?4"
        );
        let Lane { direction, customer } = &first.lane;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![*direction, customer.as_str(), first.id.0, limit];
        let mut behind = self.session.all(sql, values, |row| read_or_none(row, &first.lane))?;
        if let Some(unreadable) = behind.iter().position(Option::is_none) {
            behind.truncate(unreadable + 1);
        }
        Ok(behind)
    }

    /// Records that one attempt begins now at all of `lines`, which this transaction has found pending. `lines`: in
    /// lane order.
    pub fn record_burst(&self, lines: &[&PendingCall]) -> Result<(), StoreError> {
        let sql = "UPDATE message SET state = ?2, attempts = attempts + 1, attempt_at = ?3, burst = ?4 WHERE id = ?1";
        let first = lines.first().map(|first| first.id.0);
        lines.iter().try_for_each(|line| {
            self.session.defer(sql, params![line.id.0, State::Sending, self.now.0, first])
        })
    }

    /// The other messages that the unsettled attempt at `pending` sent, in lane order. Leaves out those whose data cannot
    /// be read.
    pub fn rest_of_burst(&self, pending: &PendingCall) -> Result<Vec<PendingCall>, StoreError> {
        let Some(burst) = pending.burst.filter(|_| pending.unsettled) else { return Ok(Vec::new()) };
        let sql = formatcp!(
            "SELECT {PENDING_COLUMNS} FROM message WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND {SENDING}
             AND burst = ?3 AND id <> ?4 ORDER BY {POSITION}"
        );
        let Lane { direction, customer } = &pending.lane;
        let values = params![*direction, customer.as_str(), burst.0, pending.id.0];
        let rest = self.session.all(sql, values, |row| read_or_none(row, &pending.lane))?;
        Ok(rest.into_iter().flatten().collect())
    }
}

/// Reads a pending message of `lane`; `None`: its data cannot be read.
fn read_or_none(row: Row<'_>, lane: &Lane) -> Result<Option<PendingCall>, StoreError> {
    match read_pending_call(row, lane.clone()) {
        Err(error) if error.is_unreadable() => Ok(None),
        pending => pending.map(Some),
    }
}
