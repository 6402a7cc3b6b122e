//! Backfills: which agents' views of conversations must be read from IM's history, and how far each
//! has been read.

use super::customer::HOUR_MS;
use super::session::Row;
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{ImUserId, Millis, OpenId};
use const_format::formatcp;

/// An agent's view of a conversation, to be read from IM's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// The customer.
    pub customer: OpenId,
    /// The number of the customer's IM UserID.
    pub number: u32,
    /// Since when the customer is known.
    pub known_since: Millis,
    /// The agent.
    pub agent: ImUserId,
    /// IM's time of the newest message read so far, Unix seconds; 0 before the first.
    pub backfilled_until_s: i64,
    /// This run of the bridge has not read the view yet.
    pub is_first: bool,
    /// The run in which it is read.
    pub run_id: i64,
}

/// The most customers in one round; those who wrote in the last hours are preferred.
const MAX_CUSTOMERS: u32 = 5_000;
/// Views of agents other than the one who has the conversation are read later by this much,
/// milliseconds, when there is no time for all views.
const OTHER_VIEWS_DELAY_MS: i64 = 600_000;

const BACKFILL_COLUMNS: &str =
    "c.openid, c.number, c.known_since, a.value, coalesce(l.backfilled_until_s, 0)";

impl Tx<'_> {
    /// Up to `limit` views by `agents` of the conversations active since `since`, those read
    /// longest ago first, then those of the newest conversations. `run_id` identifies this run of the bridge.
    pub fn due_backfills(
        &self,
        agents: &[ImUserId],
        run_id: i64,
        since: Millis,
        limit: u32,
    ) -> Result<Vec<Backfill>, StoreError> {
        let sql = formatcp!(
            "SELECT {BACKFILL_COLUMNS}, coalesce(l.run_id, 0) != ?6
             FROM (SELECT k.openid, k.number, v.agent, k.known_since, v.hour, v.id
                   FROM conversation AS v CROSS JOIN customer AS k
                   WHERE v.hour >= ?7 AND k.openid = v.openid AND k.conversation = v.id
                   AND (v.active_at >= ?1 OR k.known_since >= ?1) AND k.known = 1 AND k.imported = 1
                   ORDER BY v.hour DESC, v.id DESC LIMIT ?2) AS c
             CROSS JOIN json_each(?3) AS a
             LEFT JOIN backfill AS l ON l.openid = c.openid AND l.agent = a.value
             ORDER BY coalesce(l.read_at, 0) + CASE WHEN a.value = c.agent THEN 0 ELSE ?4 END,
                      c.hour DESC, c.id DESC, a.value LIMIT ?5"
        );
        let agents = serde_json::to_string(agents)?;
        let values =
            params![since.0, MAX_CUSTOMERS, &agents, OTHER_VIEWS_DELAY_MS, limit, run_id, since.0 / HOUR_MS];
        self.session.all(sql, values, |row| read_backfill(row, run_id))
    }

    /// The views by `agents` of one conversation that the run `run_id` has not read. Does not
    /// require a recorded IM account: an import may have succeeded without being recorded.
    pub fn missing_backfills(
        &self,
        openid: &OpenId,
        agents: &[ImUserId],
        run_id: i64,
    ) -> Result<Vec<Backfill>, StoreError> {
        let sql = formatcp!(
            "SELECT {BACKFILL_COLUMNS}, 1 FROM customer AS c CROSS JOIN json_each(?2) AS a
             LEFT JOIN backfill AS l ON l.openid = c.openid AND l.agent = a.value
             WHERE c.openid = ?1 AND c.known = 1 AND coalesce(l.run_id, 0) != ?3"
        );
        let agents = serde_json::to_string(agents)?;
        self.session.all(sql, params![openid.as_str(), &agents, run_id], |row| read_backfill(row, run_id))
    }

    /// Records that the run `run_id` has read a view up to `until_s`, Unix seconds. Stores nothing
    /// for a customer who is not known.
    pub fn set_backfilled_until(&self, backfill: &Backfill, until_s: i64) -> Result<(), StoreError> {
        let run_id = backfill.run_id;
        let sql = "INSERT INTO backfill (openid, agent, backfilled_until_s, read_at, run_id)
                   SELECT ?1, ?2, ?3, ?4, ?5 FROM customer WHERE openid = ?1 AND known = 1
                   ON CONFLICT (openid, agent) DO UPDATE
                   SET backfilled_until_s = CASE WHEN backfill.backfilled_until_s > excluded.backfilled_until_s
                           THEN backfill.backfilled_until_s ELSE excluded.backfilled_until_s END,
                       read_at = excluded.read_at, run_id = excluded.run_id";
        let (openid, agent) = (backfill.customer.as_str(), backfill.agent.as_str());
        self.session.run(sql, params![openid, agent, until_s, self.now.0, run_id])?;
        Ok(())
    }

    /// The run `run_id` gives up waiting for this view; a later round reads it like any other.
    pub fn abandon_backfill(&self, backfill: &Backfill, run_id: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO backfill (openid, agent, backfilled_until_s, read_at, run_id)
                   SELECT ?1, ?2, 0, 0, ?3 FROM customer WHERE openid = ?1 AND known = 1
                   ON CONFLICT (openid, agent) DO UPDATE SET run_id = excluded.run_id";
        let (openid, agent) = (backfill.customer.as_str(), backfill.agent.as_str());
        self.session.run(sql, params![openid, agent, run_id])?;
        Ok(())
    }
}

fn read_backfill(row: Row<'_>, run_id: i64) -> Result<Backfill, StoreError> {
    Ok(Backfill {
        customer: super::column::parse_openid(row.get(0)?)?,
        number: row.get(1)?,
        known_since: Millis(row.get(2)?),
        agent: super::column::parse_agent(row.get(3)?)?,
        backfilled_until_s: row.get(4)?,
        is_first: row.get(5)?,
        run_id,
    })
}
