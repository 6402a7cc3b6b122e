//! The meaning of a failed call for its message.

use std::fmt::Write as _;
use std::time::Duration;

use super::Failure;
use super::code::{self, Class as CodeClass};
use crate::model::{FailureClass, Verdict};

/// The outcome of a failed send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The verdict on the message.
    Verdict(Verdict),
    /// The message was not sent because an account is missing: import it and retry once, then
    /// refuse.
    MissingAccount {
        /// IM's error text; no secrets.
        why: String,
    },
}

/// The outcome of a failed `sendmsg`, which must not be repeated while its outcome is unknown.
pub fn of_send(failure: &Failure) -> Outcome {
    let why = why(failure);
    match failure {
        Failure::NoAnswer { .. } => Outcome::Verdict(Verdict::Unsettled { why }),
        Failure::Code { code, .. } if code::class(*code) == CodeClass::CreateAccount => {
            Outcome::MissingAccount { why }
        }
        _ => Outcome::Verdict(certain(failure, why)),
    }
}

/// The outcome of a failed `importmsg`, which may always be repeated. Like a send, it fails if an
/// account is missing.
pub fn of_import(failure: &Failure) -> Outcome {
    match of_send(failure) {
        Outcome::Verdict(_) => Outcome::Verdict(of_account(failure)),
        missing @ Outcome::MissingAccount { .. } => missing,
    }
}

/// The verdict on a failed call that may always be repeated: accounts, imports of messages,
/// history.
pub fn of_account(failure: &Failure) -> Verdict {
    certain(failure, why(failure))
}

impl Failure {
    /// The shortest time before the next call of the API, if it is longer than the usual backoff.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Code { code, .. } => code::class(*code).pause(),
            Self::NotSent { .. } | Self::NoAnswer { .. } => None,
        }
    }
}

fn certain(failure: &Failure, why: String) -> Verdict {
    let class = match failure {
        Failure::NotSent { .. } => FailureClass::Unreachable,
        Failure::NoAnswer { .. } => FailureClass::Busy,
        Failure::Code { code, .. } => match code::class(*code) {
            CodeClass::Success => return Verdict::Delivered,
            CodeClass::Backoff => FailureClass::Busy,
            CodeClass::Quota | CodeClass::Allowance => FailureClass::Quota,
            CodeClass::RefreshSig | CodeClass::LockedOut => FailureClass::Credential,
            CodeClass::Configuration => FailureClass::Configuration,
            CodeClass::NextUserId => FailureClass::NextUserId,
            CodeClass::CreateAccount | CodeClass::Permanent => return Verdict::Refuse { why },
        },
    };
    Verdict::Retry { class, pause: failure.pause(), why }
}

/// The failure's text with the advice for the operator.
fn why(failure: &Failure) -> String {
    let mut why = failure.to_string();
    if let Failure::Code { code, .. } = failure
        && let Some(advice) = code::advice(*code)
    {
        let _ = write!(why, " ({advice})");
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(code: i64) -> Failure {
        Failure::Code { code, info: "words".to_owned() }
    }

    fn retry(verdict: &Verdict) -> Option<FailureClass> {
        match verdict {
            Verdict::Retry { class, .. } => Some(*class),
            _ => None,
        }
    }

    #[test]
    fn a_send_is_repeated_only_where_it_certainly_did_not_happen() {
        for (code, class) in [
            (60008, FailureClass::Busy),
            (60007, FailureClass::Quota),
            (60028, FailureClass::Quota),
            (70001, FailureClass::Credential),
            (70050, FailureClass::Credential),
            (70009, FailureClass::Configuration),
        ] {
            let Outcome::Verdict(verdict) = of_send(&coded(code)) else { panic!("{code}") };
            assert_eq!(retry(&verdict), Some(class), "{code}");
        }
        let Outcome::Verdict(verdict) = of_send(&Failure::NotSent { why: String::new() }) else { panic!() };
        assert_eq!(retry(&verdict), Some(FailureClass::Unreachable));
        let lost = of_send(&Failure::NoAnswer { why: "HTTP 502".to_owned() });
        assert!(matches!(lost, Outcome::Verdict(Verdict::Unsettled { .. })));
        assert!(matches!(of_send(&coded(90012)), Outcome::MissingAccount { .. }));
    }

    #[test]
    fn what_cannot_succeed_is_refused_with_the_reason() {
        let Outcome::Verdict(Verdict::Refuse { why }) = of_send(&coded(80001)) else { panic!() };
        assert!(why.starts_with("IM error 80001: words ("), "{why}");
        let Outcome::Verdict(Verdict::Refuse { why }) = of_send(&coded(123_456)) else { panic!() };
        assert_eq!(why, "IM error 123456: words");
    }

    #[test]
    fn account_calls_may_be_repeated_whatever_happened() {
        assert_eq!(retry(&of_account(&Failure::NoAnswer { why: String::new() })), Some(FailureClass::Busy));
        assert_eq!(retry(&of_account(&coded(70399))), Some(FailureClass::NextUserId));
        assert!(matches!(of_account(&coded(70402)), Verdict::Refuse { .. }));
        let Outcome::Verdict(lost) = of_import(&Failure::NoAnswer { why: String::new() }) else { panic!() };
        assert_eq!(retry(&lost), Some(FailureClass::Busy));
        assert!(matches!(of_import(&coded(90012)), Outcome::MissingAccount { .. }));
    }

    #[test]
    fn long_waits_are_named() {
        assert_eq!(coded(70050).pause(), Some(Duration::from_mins(1)));
        assert!(coded(60028).pause().is_some_and(|pause| pause >= Duration::from_mins(10)));
        assert_eq!(coded(60007).pause(), None);
    }
}
