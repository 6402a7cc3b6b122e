//! The outcome of one attempt to make an outbound call. The outcome alone decides the next step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The platform accepted the message.
    Delivered,
    /// The call definitely failed and may succeed later.
    Retry {
        /// The class of the failure, for the backoff and the metrics.
        class: FailureClass,
        /// The minimum wait, if the platform asks for a longer one than the backoff's.
        pause: Option<Duration>,
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The customer cannot be reached until they act again.
    Hold {
        /// Why the customer cannot be reached.
        hold_reason: HoldReason,
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The call can never succeed.
    Refuse {
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The request was written, but no readable response came. The platform can say whether the
    /// call succeeded.
    Unsettled {
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The request was written, but no readable response came. There is no way to ask whether the
    /// call succeeded.
    Unknown {
        /// Why there is no response; `None` if the bridge was interrupted.
        no_answer: Option<NoAnswer>,
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
}

/// Why a request got no readable response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The connection was lost.
    ConnectionLost,
    /// The timeout passed.
    Timeout,
    /// The response had this HTTP status instead of 200.
    Status(u16),
    /// The response could not be parsed.
    Unreadable,
}

/// Why a message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HoldReason {
    /// The customer last acted too long ago (45015).
    WindowClosed,
    /// The sends that the last action allowed are used up (45047).
    QuotaUsedUp,
    /// The account lacks the permission for `custom/send` (48001).
    NotAllowed,
    /// WeChat has banned or frozen the account (48004, 50002).
    Banned,
    /// Earlier answers are held, and this one must not overtake them.
    EarlierHeld,
}

/// The answer to whether an unsettled attempt succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The attempt succeeded.
    Delivered,
    /// The attempt did not succeed.
    NotDelivered,
    /// The platform cannot say now.
    AskLater {
        /// The class of the failure.
        class: FailureClass,
        /// Wait at least this long before asking again.
        pause: Option<Duration>,
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The platform refuses to say. It is asked again, but only a few times.
    Refused {
        /// The platform's error text or ours; contains no secrets.
        why: String,
    },
    /// The platform will never be able to say.
    Undecidable,
}

/// The return code that a failure's text names: `IM error 60008: ...`, `45015 out of response ...`
/// or `HTTP 403`. The first one counts.
pub fn return_code(why: &str) -> Option<i64> {
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let length = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        let end = text.len() - digits.len() + length;
        text[..end].parse().ok()
    };
    let named = ["IM error ", "HTTP "].into_iter();
    let named = named.filter_map(|name| why.find(name).map(|at| (at, &why[at + name.len()..])));
    // WeChat's code stands at the beginning, or after our own words and a colon.
    let own = why.match_indices(": ").map(|(at, colon)| (at, &why[at + colon.len()..]));
    let own = std::iter::once((0, why))
        .chain(own)
        .filter(|(_, rest)| rest.split(' ').next().is_some_and(|word| word.parse::<i64>().is_ok()));
    named.chain(own).min_by_key(|(at, _)| *at).and_then(|(_, rest)| number(rest))
}

/// The class of a failure that can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// The request was never written: connection refused, DNS or TLS failed.
    Unreachable,
    /// The platform is busy or has an internal error.
    Busy,
    /// A rate limit or a daily quota of ours is used up.
    Quota,
    /// The credential is no longer valid.
    Credential,
    /// A setting is wrong, here or in a console. `/readyz` says which one.
    Configuration,
    /// IM requires another UserID for the customer (70399).
    NextUserId,
    /// IM does not know the agent, whose account the bridge must not create.
    MissingAgent,
    /// An agent's file could not be downloaded from its URL.
    SourceUnavailable,
    /// WeChat no longer has a file that was uploaded earlier (40007, 46001).
    LostUpload,
    /// The customer's IM account, without which nothing can be sent, cannot be made.
    NoAccount,
    /// Another instance may send in this one's place, so that the request was not written.
    LeaseOver,
}

impl FailureClass {
    /// All classes, for metrics.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Busy,
        Self::Quota,
        Self::Credential,
        Self::Configuration,
        Self::NextUserId,
        Self::MissingAgent,
        Self::SourceUnavailable,
        Self::LostUpload,
        Self::NoAccount,
        Self::LeaseOver,
    ];

    /// Whether the cause has already been removed, so that the next attempt need not wait.
    pub fn retry_now(self) -> bool {
        matches!(self, Self::NextUserId | Self::LostUpload)
    }

    /// Whether the failure affects every call to the platform. The wait is then kept in memory
    /// only, so that it ends as soon as the platform is back.
    pub fn is_platform_wide(self) -> bool {
        matches!(self, Self::Unreachable | Self::Configuration)
    }

    /// The name in metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Credential => "credential",
            Self::Configuration => "configuration",
            Self::NextUserId => "next_user_id",
            Self::MissingAgent => "missing_agent",
            Self::SourceUnavailable => "source",
            Self::LostUpload => "lost_upload",
            Self::NoAccount => "no_account",
            Self::LeaseOver => "lease_over",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_failure_is_read_from_its_text() {
        for (why, code) in [
            ("IM error 60008: the server is busy", Some(60008)),
            ("it is not yet known whether it arrived: IM error 60007: 3 too often", Some(60007)),
            ("45015 out of response count limit rid: 1", Some(45015)),
            ("-1 system error", Some(-1)),
            ("no access token: 40164 invalid ip 1.2.3.4", Some(40164)),
            ("no readable answer from IM: HTTP 502", Some(502)),
            ("WeChat gave no readable answer: the request timed out", None),
            ("discarded by the operator", None),
            ("", None),
        ] {
            assert_eq!(return_code(why), code, "{why}");
        }
    }
}
