//! What an instance records of itself and of the others on its database.
//!
//! Must never register a metric: `metrics.rs` alone does.

use std::time::Duration;

use super::Metrics;

impl Metrics {
    /// Sets how many instances are alive, and how many shards this one owns.
    pub fn set_fleet(&self, alive: usize, owned: usize) {
        self.0.instances.set(i64::try_from(alive).unwrap_or(i64::MAX));
        self.0.shards_owned.set(i64::try_from(owned).unwrap_or(i64::MAX));
    }

    /// Counts an instance that this one has buried, `silent` after it was last heard of.
    pub fn record_burial(&self, silent: Duration) {
        self.0.buried.inc();
        self.0.takeover.observe(silent.as_secs_f64());
    }

    /// Counts that another server has taken the place of the database's.
    pub fn record_failover(&self) {
        self.0.failovers.inc();
    }

    /// Counts a write that the database refused because this instance had been taken for dead.
    pub fn record_fenced(&self) {
        self.0.fenced.inc();
    }
}
