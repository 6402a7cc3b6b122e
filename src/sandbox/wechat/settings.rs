//! What can be set on the simulated platform, where the reference leaves a choice or a test needs another value.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::WindowRule;
use super::crypto::{Crypt, CryptoError};

/// How pushes travel (reference: section 1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Plain XML.
    #[default]
    Plain,
    /// Plain XML with an `Encrypt` element besides; answers may be either.
    Compatible,
    /// Only `Encrypt`; answers must be encrypted.
    Safe,
}

/// Everything that can be set. Also at run time, by [`super::WechatSim::change`].
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question that the reference leaves open, or a switch"
)]
pub struct Settings {
    /// Where the APIs listen; port 0 takes a free one. Read at the start only.
    pub listen: SocketAddr,
    /// The Token of the console.
    pub token: String,
    /// The AppID.
    pub app_id: String,
    /// The AppSecret.
    pub app_secret: String,
    /// The account's own id, `gh_...`.
    pub account_id: String,
    /// How pushes travel.
    pub mode: Mode,
    /// The EncodingAESKey, 43 characters; needed unless the mode is plain.
    pub encoding_aes_key: String,
    /// The bridge's URL as set in the console.
    pub bridge_url: Option<String>,
    /// An attempt is cut after this long, real time.
    pub attempt_timeout: Duration,
    /// Requests a push gets at most.
    pub attempts: u32,
    /// Real time between two attempts; none by the reference, more to ride out a restart.
    pub retry_pause: Duration,
    /// Each attempt has its own timestamp, nonce and signature (the reference leaves it open).
    pub fresh_signature: bool,
    /// An HTTP status other than 200 is tried again (the reference leaves it open).
    pub retry_on_status: bool,
    /// Stop pushing for a minute after this many failed requests in a row (MarkFail).
    pub mark_fail_after: Option<u32>,
    /// An account that was never verified: `custom/*` answer 48001.
    pub personal: bool,
    /// What a further action of a customer does to the window.
    pub window_rule: WindowRule,
    /// Sends that a customer's message buys.
    pub quota_messages: u32,
    /// For how many seconds it buys them.
    pub quota_window_s: i64,
    /// Sends that an event buys.
    pub quota_event_messages: u32,
    /// For how many seconds it buys them.
    pub quota_event_window_s: i64,
    /// The life of an access token in seconds.
    pub token_life_s: i64,
    /// `\uXXXX` in a body is refused with 40033.
    pub strict_escapes: bool,
    /// `media/get` of a video answers `{"video_url"}` instead of the bytes.
    pub video_as_url: bool,
    /// The longest `Content` of a passive reply in bytes.
    pub passive_limit: usize,
    /// Agents that `customservice.kf_account` may name.
    pub kf_accounts: Vec<String>,
    /// The ledger keeps this many entries of each sort.
    pub ledger_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: "BridgeToken2024".to_owned(),
            app_id: "wx1234567890abcdef".to_owned(),
            app_secret: "0123456789abcdef0123456789abcdef".to_owned(),
            account_id: "gh_bridge000001".to_owned(),
            mode: Mode::Plain,
            encoding_aes_key: "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg".to_owned(),
            bridge_url: None,
            attempt_timeout: Duration::from_secs(5),
            attempts: 3,
            retry_pause: Duration::ZERO,
            fresh_signature: true,
            retry_on_status: true,
            mark_fail_after: None,
            personal: false,
            window_rule: WindowRule::Reset,
            quota_messages: 5,
            quota_window_s: 48 * 3600,
            quota_event_messages: 3,
            quota_event_window_s: 60,
            token_life_s: 7200,
            strict_escapes: true,
            video_as_url: false,
            passive_limit: 2047,
            kf_accounts: Vec::new(),
            ledger_limit: 100_000,
        }
    }
}

impl Settings {
    pub(super) fn crypt(&self) -> Result<Crypt, CryptoError> {
        Crypt::new(&self.encoding_aes_key, &self.app_id)
    }

    pub(super) fn check(&self) -> Result<(), CryptoError> {
        if self.mode == Mode::Plain { Ok(()) } else { self.crypt().map(drop) }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("app_id", &self.app_id)
            .field("account_id", &self.account_id)
            .field("mode", &self.mode)
            .field("bridge_url", &self.bridge_url)
            .field("personal", &self.personal)
            .field("window_rule", &self.window_rule)
            .finish_non_exhaustive()
    }
}
