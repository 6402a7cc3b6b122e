//! Where the bridge calls WeChat: typed API calls, the access token, and the meaning of each return
//! code.
//!
//! Each call is attempted once, or twice when the access token was stale. The outbox decides when
//! to retry. Access tokens and the AppSecret appear in no error, log line or `Debug` output.

mod media_form;
mod media_source;
mod media_upload;
pub mod client;
pub mod code;
mod courier;
mod media_download;
pub mod token;
mod kf_account;
mod media_type;
mod outgoing;
mod transport;
/// Agents' typing signals.
pub mod typing;
/// What WeChat tells of customers.
pub mod user_info;

#[cfg(test)]
mod testing;

pub use client::{Client, Failure, NotAllowed, read_outcome};
pub use courier::WechatCourier;
pub use kf_account::RefusedAccounts;
pub use media_download::{MediaDownloader, Timeouts};
pub use media_source::MediaSource;
pub use media_upload::{MediaUploader, UploadLocks};
pub use token::{Credentials, DatabaseTokenStore, NoTokenStore, TokenError, TokenHolder};
pub use transport::http_client;
