//! WeChat Official Accounts: `receive` is where WeChat calls us, `send` is where we call WeChat.
//!
//! The two halves never import each other, and neither knows Tencent IM.

pub mod receive;
pub mod send;

/// The name of WeChat's clock, among those with which ours is compared.
pub const CLOCK: &str = "wechat";
