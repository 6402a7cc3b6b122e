//! Settings of the simulated platform. They cover the points that the reference leaves open and the
//! values that a test needs to change.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::crypto::{Crypt, CryptoError};

/// The encryption mode of pushes (reference: section 1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Plain XML.
    #[default]
    Plain,
    /// Plain XML with an additional `Encrypt` element. Answers may be plain or encrypted.
    Compatible,
    /// Only the `Encrypt` element. Answers must be encrypted.
    Safe,
}

/// How a further action of the customer changes the allowances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowRule {
    /// The action replaces the previous allowance of its kind. The rest of that one is forfeited.
    #[default]
    Reset,
    /// The action adds an allowance to those that still run.
    Cumulative,
    /// The action renews the time only. No more than one allowance is sent within any window.
    Shared,
}

/// All settings. [`super::WechatSim::change`] changes them at run time.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each bool is an independent switch or a point that the reference leaves open"
)]
pub struct Settings {
    /// The address on which the APIs listen. Port 0 takes a free one. It is read at the start only.
    pub listen: SocketAddr,
    /// The Token from the console.
    pub token: String,
    /// The AppID.
    pub app_id: String,
    /// The AppSecret.
    pub app_secret: String,
    /// The account's own id, `gh_...`.
    pub account_id: String,
    /// The encryption mode of pushes.
    pub mode: Mode,
    /// The EncodingAESKey of 43 characters. It is required unless the mode is plain.
    pub encoding_aes_key: String,
    /// The bridge's URL, as set in the console.
    pub bridge_url: Option<String>,
    /// How long the platform waits for an answer to one request, in real time.
    pub attempt_timeout: Duration,
    /// The most requests for one push.
    pub attempts: u32,
    /// The pause between two requests of a push, in real time. The reference has none. A test sets
    /// one so that a push outlasts a restart of the bridge.
    pub retry_pause: Duration,
    /// Whether each request has its own timestamp, nonce and signature. The reference leaves it
    /// open.
    pub fresh_signature: bool,
    /// Whether an HTTP status other than 200 is retried. The reference leaves it open.
    pub retry_on_status: bool,
    /// The number of failed requests in a row after which the platform stops pushing for a minute
    /// (MarkFail).
    pub mark_fail_after: Option<u32>,
    /// Whether the account is unverified, so that `custom/*` answer 48001.
    pub personal: bool,
    /// How a further action of a customer changes the window.
    pub window_rule: WindowRule,
    /// The number of sends that a customer's message allows.
    pub quota_messages: u32,
    /// How long a message allows them, in seconds.
    pub quota_window_s: i64,
    /// The number of sends that an event allows.
    pub quota_event_messages: u32,
    /// How long an event allows them, in seconds.
    pub quota_event_window_s: i64,
    /// The lifetime of an access token in seconds.
    pub token_lifetime_s: i64,
    /// Whether a `\uXXXX` escape in a body is refused with 40033.
    pub strict_escapes: bool,
    /// Whether `media/get` of a video answers `{"video_url"}` instead of the bytes.
    pub video_as_url: bool,
    /// The longest `Content` of a passive reply in bytes.
    pub passive_limit: usize,
    /// The agents that `customservice.kf_account` may name.
    pub kf_accounts: Vec<String>,
    /// The most entries that each list of the ledger keeps.
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
            token_lifetime_s: 7200,
            strict_escapes: true,
            video_as_url: false,
            passive_limit: 2047,
            kf_accounts: Vec::new(),
            ledger_limit: 100_000,
        }
    }
}

impl Settings {
    /// The message encryption with this key. Fails if the key is malformed.
    pub(super) fn crypt(&self) -> Result<Crypt, CryptoError> {
        Crypt::new(&self.encoding_aes_key, &self.app_id)
    }

    /// Checks the EncodingAESKey, unless the mode is plain.
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
