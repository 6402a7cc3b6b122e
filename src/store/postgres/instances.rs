//! The instances that serve the database, as an operator reads them.

use super::membership::Instance;
use crate::store::session::{Row, Session};
use crate::store::value::params;
use crate::store::{StoreError, Tx};

fn read(row: Row<'_>) -> Result<Instance, StoreError> {
    Ok(Instance {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        since_ms: row.get(3)?,
        silent_ms: row.get(4)?,
        is_leaving: row.get(5)?,
        settings: row.get(6)?,
        shards: row.get(7)?,
        is_present: row.get(8)?,
    })
}

impl Tx<'_> {
    /// The instances, those first that came first; `None` where one process serves the database alone.
    pub fn instances(&self) -> Result<Option<Vec<Instance>>, StoreError> {
        if matches!(self.session, Session::Sqlite(_)) {
            return Ok(None);
        }
        // Nobody holds the lock of an instance whose session is gone.
        let sql = "SELECT i.id, i.name, i.version, i.since,
                (extract(epoch FROM clock_timestamp() - b.at) * 1000)::bigint, b.leaving, b.settings,
                (SELECT count(*) FROM shard WHERE owner = i.id),
                NOT pg_try_advisory_xact_lock_shared(i.id)
            FROM instance AS i JOIN beat AS b ON b.instance = i.id ORDER BY i.since, i.id";
        self.session.all(sql, params![], read).map(Some)
    }
}
