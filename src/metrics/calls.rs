//! What calls of the platforms record, and the files that come and go beside them.
//!
//! Must never register a metric: `metrics.rs` alone does.

use std::time::Duration;

use super::Metrics;

impl Metrics {
    /// Counts an API call to a platform and records its duration.
    pub fn record_call(
        &self,
        platform: &'static str,
        api: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        self.0.calls.get_or_create(&[("platform", platform), ("api", api), ("outcome", outcome)]).inc();
        self.0
            .call_duration
            .get_or_create(&[("platform", platform), ("api", api)])
            .observe(took.as_secs_f64());
    }

    /// Counts an attempt to download an agent's file.
    pub fn record_download(&self, outcome: &'static str) {
        self.0.downloads.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts an attempt to download a customer's medium. `outcome` is `fetched`, `retry`, `failed`
    /// or `unwanted`.
    pub fn customer_media(&self, outcome: &'static str) {
        self.0.record_customer_media.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts bytes of a customer's medium (`way` is `fetched`) or of any medium served (`served`).
    pub fn media_bytes(&self, way: &'static str, bytes: u64) {
        self.0.record_media_bytes.get_or_create(&[("way", way)]).inc_by(bytes);
    }
}
