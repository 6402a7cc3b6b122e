//! Why a call is turned away, for the log and the metrics; the caller is told nothing.
//!
//! Must never hold a signature, a token or a key.

/// Why a call is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A parameter of the query is missing or empty.
    #[error("the query has no {0}")]
    Missing(&'static str),
    /// A parameter of the query comes more than once.
    #[error("the query has more than one {0}")]
    Repeated(&'static str),
    /// `timestamp` is further off than `max_skew_s`, or no number.
    #[error("the timestamp is further off than max_skew_s allows")]
    Stale,
    /// Neither token makes the signature.
    #[error("no configured token makes its signature")]
    Token,
    /// Not encrypted, in safe mode.
    #[error("it is not encrypted, and mode is \"safe\"")]
    Plaintext,
    /// Only encrypted, in plain mode.
    #[error("it is encrypted, and mode is \"plain\"")]
    Encrypted,
    /// Neither key opens it.
    #[error("no configured EncodingAESKey opens it")]
    Key,
    /// It was encrypted for another AppID.
    #[error("it was encrypted for another AppID")]
    AppId,
    /// `ToUserName` is not the configured account.
    #[error("it is for another account than account_id")]
    Account,
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
        }
    }
}
