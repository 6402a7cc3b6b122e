//! Where the bridge calls WeChat: typed API calls, the access token, and what each return code means.
//!
//! One attempt a call: nothing here waits to try again, apart from the one repeat with a fresh token. When to try
//! again is the outbox's business. Access tokens and the AppSecret are in no error, log line or `Debug`.

mod attach;
pub mod client;
pub mod code;
mod courier;
mod customer_media;
pub mod token;
mod upload;
mod wire;

#[cfg(test)]
mod testing;

pub use crate::outbox::health::Unwell;
pub use attach::{Attachments, Turns};
pub use client::{Client, Failure, NotAllowed, Outgoing, verdict};
pub use courier::WechatCourier;
pub use customer_media::{CustomerMedia, Patience};
pub use token::{
    Credentials, KeptToken, NoTokenStore, StoredToken, Token, TokenError, TokenHolder, TokenStore,
};
pub use wire::{TIMEOUT, http_client};
