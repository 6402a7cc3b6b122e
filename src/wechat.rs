//! WeChat Official Accounts: `receive` is where WeChat calls us, `send` is where we call WeChat.
//!
//! The two halves never import each other, and neither knows Tencent IM.

/// Where WeChat calls us: the address check and the pushes.
pub mod receive;
/// Where we call WeChat: the customer-service API, uploads, downloads and the access token.
pub mod send;
