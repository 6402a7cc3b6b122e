//! What the listeners record: connections, bodies, downloads and the certificate.
//!
//! Must never register a metric: `metrics.rs` alone does.

use super::Metrics;

impl Metrics {
    /// Sets how many connections a listener may have open.
    pub fn set_connection_limit(&self, listener: &'static str, limit: usize) {
        self.0.connections_limit.get_or_create(&[("listener", listener)]).set(saturated(limit));
    }

    /// Sets how many connections a listener has open, and how many of them one address has at most.
    pub fn set_connections(&self, listener: &'static str, open: usize, of_one_address: usize) {
        self.0.connections.get_or_create(&[("listener", listener)]).set(saturated(open));
        self.0
            .connections_of_one_address
            .get_or_create(&[("listener", listener)])
            .set(saturated(of_one_address));
    }

    /// Counts a connection that was closed to make room for another.
    pub fn record_closed_connection(&self, listener: &'static str) {
        self.0.closed_connections.get_or_create(&[("listener", listener)]).inc();
    }

    /// Counts a connection or a forwarded request that was refused because its address has its share.
    pub fn record_refused_connection(&self, listener: &'static str) {
        self.0.refused_connections.get_or_create(&[("listener", listener)]).inc();
    }

    /// Counts a refused download; `of` says what has too many: `link`, `address` or `server`.
    pub fn record_refused_download(&self, of: &'static str) {
        self.0.refused_downloads.get_or_create(&[("of", of)]).inc();
    }

    /// Sets the bytes that request bodies take.
    pub fn set_body_bytes(&self, bytes: usize) {
        self.0.body_bytes.set(saturated(bytes));
    }

    /// Sets when the TLS certificate ends, in Unix seconds.
    pub fn set_certificate_end(&self, unix_s: i64) {
        self.0.certificate_end.set(unix_s);
    }
}

fn saturated(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
