//! Where the bridge calls WeChat: typed API calls, the access token, and the meaning of each return
//! code.
//!
//! Each call is attempted once, or twice when the access token was stale. The outbox decides when
//! to retry. Access tokens and the AppSecret appear in no error, log line or `Debug` output.

mod attach;
/// The API client.
pub mod client;
/// The table of return codes.
pub mod code;
mod courier;
mod customer_media;
/// The access token.
pub mod token;
mod upload;
mod wire;

#[cfg(test)]
mod testing;

pub use crate::outbox::health::Degraded;
pub use attach::{Attachments, Turns};
pub use client::{Client, Failure, NotAllowed, Outgoing, verdict};
pub use courier::WechatCourier;
pub use customer_media::{CustomerMedia, Patience};
pub use token::{
    Credentials, KeptToken, NoTokenStore, StoredToken, Token, TokenError, TokenHolder, TokenStore,
};
pub use wire::{TIMEOUT, http_client};
