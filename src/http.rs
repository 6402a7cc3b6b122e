//! The two listeners: the public one for the platforms, and the one for operators.
//!
//! Owns connections, their limits and the translation of outcomes into HTTP responses; decides
//! nothing about messages. Must never respond with success before the bridge has committed.

pub mod body;
mod connection;
pub mod connections;
pub mod ops;
pub mod public;
mod log_limit;
pub mod peer;
pub mod serve;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod url_checks;
mod stream;
pub mod receipt;

use std::time::Duration;

/// The seconds after which a refused caller may try again.
const RETRY_AFTER: &str = "1";

/// Limits on callers. The defaults are the values of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time limit for a TLS handshake.
    pub handshake: Duration,
    /// The time limit for a request's whole head, and for an idle connection to send one.
    pub head: Duration,
    /// The largest request line with all headers, in bytes.
    pub head_bytes: usize,
    /// The time limit for a request's whole body, from the end of its head.
    pub body: Duration,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The longest time in which a caller reads no byte of a response.
    pub stalled: Duration,
    /// The time limit for the commit of a push; WeChat itself gives up after 5 s ("Passive
    /// replies").
    pub push: Duration,
    /// The time limit for the commit of a callback; IM itself gives up after 2 s ("Webhooks").
    pub callback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes: 16_384,
            body: Duration::from_secs(10),
            body_bytes: 262_144,
            stalled: Duration::from_secs(10),
            push: Duration::from_secs(4),
            callback: Duration::from_millis(1800),
        }
    }
}
