//! What one attempt to carry out an order came to: the error of a send is already the next step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The platform took it.
    Delivered,
    /// It certainly did not happen and may succeed later.
    Retry {
        /// The reason's class, for backoff and metrics.
        class: Class,
        /// The least wait, where the platform asks for a longer one than the backoff's.
        pause: Option<Duration>,
        /// The platform's words or ours; no secrets.
        why: String,
    },
    /// The customer cannot be reached before they act again.
    Hold {
        /// What stands in the way.
        because: HeldBecause,
        /// The platform's words or ours; no secrets.
        why: String,
    },
    /// It can never succeed.
    Refuse {
        /// The platform's words or ours; no secrets.
        why: String,
    },
    /// The request was written and no readable answer came; the platform can be asked whether it happened.
    Unsettled {
        /// The platform's words or ours; no secrets.
        why: String,
    },
    /// The request was written and no readable answer came; nobody can be asked whether it happened.
    Unknown {
        /// How the answer failed to come; `None`: the bridge was interrupted.
        silence: Option<Silence>,
        /// The platform's words or ours; no secrets.
        why: String,
    },
}

/// How a request came to have no readable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The connection broke off.
    Cut,
    /// Nothing came in time.
    Timeout,
    /// The answer had another HTTP status than 200.
    Status(u16),
    /// The answer was not what it must be.
    Unreadable,
}

/// Why a customer cannot be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeldBecause {
    /// The customer's last action is too long ago (45015).
    WindowClosed,
    /// Everything that it bought has been used (45047).
    UsedUp,
    /// The account may not push (48001).
    NotAllowed,
    /// WeChat has banned or frozen the account (48004, 50002).
    Banned,
    /// Earlier answers are held, and the order is kept.
    Behind,
}

/// What came of an attempt that nobody settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It happened.
    Yes,
    /// It did not happen.
    No,
    /// It cannot be told now.
    NotNow {
        /// Why not.
        class: Class,
        /// Wait at least this long before asking again.
        pause: Option<Duration>,
        /// The platform's words or ours; no secrets.
        why: String,
    },
    /// It can never be told.
    Never,
}

/// Why a retryable attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The request was never written: refused connection, DNS, TLS.
    Unreachable,
    /// The platform is busy or broken inside.
    Busy,
    /// A rate or daily quota of ours is used up.
    Quota,
    /// The credential was stale.
    Credential,
    /// A setting is wrong, here or in a console; `/readyz` says which.
    Configuration,
    /// IM wants the customer under another UserID (70399).
    NextUserId,
    /// A file that an agent sent could not be fetched from where it lies.
    Source,
    /// WeChat no longer has a file that was uploaded before (40007, 46001).
    LostUpload,
}

impl Class {
    /// Every class, for metrics.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Busy,
        Self::Quota,
        Self::Credential,
        Self::Configuration,
        Self::NextUserId,
        Self::Source,
        Self::LostUpload,
    ];

    /// Whether what stands in the way has been put out of it, so that the next attempt need not wait.
    pub fn is_mended(self) -> bool {
        matches!(self, Self::NextUserId | Self::LostUpload)
    }

    /// Whether no call to the platform would fare better: the wait is kept in memory only, so that it ends when the
    /// platform is back.
    pub fn is_everybodys(self) -> bool {
        matches!(self, Self::Unreachable | Self::Configuration)
    }

    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Credential => "credential",
            Self::Configuration => "configuration",
            Self::NextUserId => "next_user_id",
            Self::Source => "source",
            Self::LostUpload => "lost_upload",
        }
    }
}
