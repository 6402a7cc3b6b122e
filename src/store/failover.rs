//! What may have been lost when a standby took the database server's place: the last commits, and with them whether a
//! message has been sent. On SQLite there is no such thing.

use super::value::params;
use super::{StoreError, Tx};
use crate::model::{MessageId, State};

/// The commits of this long before a failover may have been lost, milliseconds.
pub(super) const FAILOVER_MS: i64 = 60_000;
/// The `kv` key with the time of the last failover, Unix milliseconds.
pub(super) const FAILOVER_KEY: &str = "failover_at";
/// How far the clocks of IM and the database's server may differ, milliseconds.
const SKEW_MS: i64 = 5_000;

impl Tx<'_> {
    /// Whether an agent's message that IM accepted at `sent_at_s`, Unix seconds, and of which the database knows nothing,
    /// may have been sent to the customer already: its rows may be among the commits that a failover has lost.
    pub fn may_be_lost(&self, sent_at_s: i64) -> Result<bool, StoreError> {
        let failover = self.kv(FAILOVER_KEY)?.and_then(|at| at.parse::<i64>().ok());
        Ok(failover.is_some_and(|at| {
            (at - FAILOVER_MS - SKEW_MS..=at + SKEW_MS).contains(&sent_at_s.saturating_mul(1000))
        }))
    }

    /// Treats a message as one whose attempt was recorded and not settled. One to WeChat ends `unknown`.
    pub fn doubt(&self, id: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET state = ?2, attempts = attempts + 1, generation = generation + 1, attempt_at = ?3
                   WHERE id = ?1 AND state = ?4";
        self.session.run(sql, params![id.0, State::Sending, self.now.0, State::Accepted])?;
        Ok(())
    }
}
