//! What the store records, and what its disk and that of the media hold.
//!
//! Must never register a metric: `metrics.rs` alone does.

use std::time::Duration;

use super::Metrics;

impl Metrics {
    /// Records the duration of a commit of the store.
    pub fn record_commit(&self, took: Duration) {
        self.0.commit.observe(took.as_secs_f64());
    }

    /// Counts what a writing transaction has asked of the database.
    pub fn record_transaction(&self, statements: u64, trips: u64) {
        self.0.store_statements.inc_by(statements);
        self.0.store_trips.inc_by(trips);
    }

    /// Counts a panic in the store's writer thread.
    pub fn record_store_panic(&self) {
        self.0.store_panics.inc();
    }

    /// Sets the size of the database's log, the size of all media, and the free space, in bytes.
    pub fn set_disk_use(&self, log: u64, media: u64, free: u64) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.store_log_bytes.set(gauge(log));
        self.0.media_stored_bytes.set(gauge(media));
        self.0.disk_free_bytes.set(gauge(free));
    }
}
