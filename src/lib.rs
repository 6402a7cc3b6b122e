//! A bridge between **WeChat Official Accounts** and **Tencent Cloud IM**.
//!
//! ```text
//! customer ▶ WeChat ▶ wechat/receive ▶ bridge/to_im ▶ store ▶ outbox ▶ im/send ▶ Tencent IM ▶ agent
//! customer ◀ WeChat ◀ wechat/send ◀ outbox ◀ store ◀ bridge/to_wechat ◀ im/receive ◀ Tencent IM ◀ agent
//! ```
//!
//! A request arrives at a platform's `receive`, which verifies the raw bytes, decrypts them and
//! parses them into the [`model`]. The [`bridge`] decides how to answer and which outbound calls to
//! make, and writes that decision in one durable commit. Only then does it answer the request. The
//! [`outbox`] makes the outbound calls through the other platform's `send`.
//!
//! Five words that a newcomer may not know:
//!
//! - **lane**: the queue of one customer's messages in one direction. A lane is sent in order, and
//!   a stuck lane does not delay the others.
//! - **courier**: the part of a platform's `send` that makes an outbound call for the outbox.
//! - **verdict**: the outcome of one attempt (delivered, retry, hold, refuse, unsettled, unknown),
//!   which decides the next step.
//! - **held**: the state of a message that cannot be sent before its customer writes again.
//! - **settle**: to record the outcome of an attempt, which moves the message to its next state.
//!
//! Read the modules in the order they are declared here: each uses only those above it.

pub mod model;
pub mod clock;
pub mod config;
pub mod telemetry;
pub mod metrics;
pub mod store;
pub mod media;
pub mod upstream;
pub mod bridge;
pub mod outbox;
pub mod wechat;
pub mod im;
pub mod lifecycle;
pub mod http;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod app;
pub mod cli;
