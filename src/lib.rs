//! A bridge between **WeChat Official Accounts** and **Tencent Cloud IM**.
//!
//! ```text
//! customer ▶ WeChat ▶ wechat/receive ▶ bridge/to_im ▶ store ▶ outbox ▶ im/send ▶ Tencent IM ▶ agent
//! customer ◀ WeChat ◀ wechat/send ◀ outbox ◀ store ◀ bridge/to_wechat ◀ im/receive ◀ Tencent IM ◀ agent
//! ```
//!
//! A call comes in at a platform's `receive`: verified on the raw bytes, opened, parsed into the [`model`].
//! The bridge turns it into a decision (what to answer, what is owed), one durable commit writes it down, and
//! only then is it answered. The outbox carries out what is owed through the other platform's `send`.
//!
//! Read the modules in the order they are declared here: each uses only those above it.

pub mod model;
pub mod clock;
pub mod config;
pub mod telemetry;
pub mod metrics;
pub mod store;
pub mod media;
pub mod bridge;
pub mod outbox;
pub mod wechat;
pub mod im;
pub mod lifecycle;
pub mod http;
pub mod sandbox;
pub mod app;
pub mod cli;
