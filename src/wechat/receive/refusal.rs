//! Why a request is refused, for the log and the metrics. The caller learns nothing of it.
//!
//! Must never hold a signature, a token or a key.

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A query parameter is missing or empty.
    #[error("the query has no {0}")]
    Missing(&'static str),
    /// A query parameter appears more than once.
    #[error("the query has more than one {0}")]
    Repeated(&'static str),
    /// `timestamp` differs from WeChat's clock by more than `max_skew_s`, or is not a number.
    #[error("the timestamp differs from the clock by more than max_skew_s")]
    Stale,
    /// No configured token matches the signature.
    #[error("no configured token matches its signature")]
    Token,
    /// The push is not encrypted, but the mode is safe.
    #[error("it is not encrypted, and mode is \"safe\"")]
    Plaintext,
    /// The push is only encrypted, but the mode is plain.
    #[error("it is encrypted, and mode is \"plain\"")]
    Encrypted,
    /// No configured key decrypts it.
    #[error("no configured EncodingAESKey decrypts it")]
    Key,
    /// It was encrypted for another AppID.
    #[error("it was encrypted for another AppID")]
    AppId,
    /// `ToUserName` is not the configured account.
    #[error("it is for an account other than account_id")]
    Account,
    /// `FromUserName` is an account of IM that acts for us: the admin or an agent.
    #[error("its sender is the IM admin or an agent")]
    ReservedSender,
}

impl Refusal {
    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing(_) => "missing_parameter",
            Self::Repeated(_) => "repeated_parameter",
            Self::Stale => "stale",
            Self::Token => "token",
            Self::Plaintext => "plaintext",
            Self::Encrypted => "encrypted",
            Self::Key => "key",
            Self::AppId => "app_id",
            Self::Account => "account",
            Self::ReservedSender => "reserved_sender",
        }
    }

    /// Whether a setting that differs from WeChat's console, or a wrong clock, could be the reason.
    pub fn may_be_a_setting(self) -> bool {
        !matches!(self, Self::Missing(_) | Self::Repeated(_) | Self::ReservedSender)
    }
}
