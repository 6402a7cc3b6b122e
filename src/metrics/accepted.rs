//! What the acceptance of pushes and agents' messages records.
//!
//! Must never register a metric: `metrics.rs` alone does.

use std::time::Duration;

use super::Metrics;

impl Metrics {
    /// Counts a push that was accepted, or recognised as a repeat, after `took`.
    pub fn record_push(&self, repeat: bool, took: Duration) {
        self.accepted("push", repeat, took);
    }

    /// Counts an agent's message that was accepted after `took`.
    pub fn record_answer(&self, took: Duration) {
        self.accepted("callback", false, took);
    }

    fn accepted(&self, source: &'static str, repeat: bool, took: Duration) {
        let counters = if repeat { &self.0.repeated } else { &self.0.record_accepted };
        counters.get_or_create(&[("source", source)]).inc();
        self.0.accept.get_or_create(&[("source", source)]).observe(took.as_secs_f64());
    }
}
