//! The two listeners: the public one, where the platforms call us, and the operators' one.
//!
//! Owns connections, their limits and the translation of outcomes into HTTP answers; decides nothing about
//! messages. Nothing here may answer success for what the bridge has not committed.

mod body;
mod connection;
pub mod ops;
pub mod public;
mod quiet;
pub mod serve;
#[cfg(test)]
mod testing;
pub mod tls;
mod wire;
pub mod written;

use std::time::Duration;

/// What one caller may take of us. The default is what the contract promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; while all are taken, further ones wait in the kernel's queue.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's whole head, and for an idle connection to send one.
    pub head: Duration,
    /// A request line with all headers, in bytes.
    pub head_bytes: usize,
    /// For a request's whole body, from the end of its head.
    pub body: Duration,
    /// A body, in bytes.
    pub body_bytes: usize,
    /// For a caller to take any more bytes of an answer.
    pub stalled: Duration,
    /// For the commit behind a push; WeChat itself gives up after 5 s ("Passive replies").
    pub push: Duration,
    /// For the commit behind a callback; IM itself gives up after 2 s ("Webhooks").
    pub callback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
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
