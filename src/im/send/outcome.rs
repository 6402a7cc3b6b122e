//! What a failed call means for the message that it carried.

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
    /// The message was not sent because an account is missing: check the agent's, import the
    /// customer's and retry once, then refuse.
    MissingAccount {
        /// IM's error text; no secrets.
        why: String,
    },
}

/// The outcome of a failed `sendmsg`, which must not be repeated while its outcome is unknown.
pub fn send_outcome(failure: &Failure) -> Outcome {
    let why = reason_with_advice(failure);
    match failure {
        Failure::NoAnswer { .. } => Outcome::Verdict(Verdict::Unsettled { why }),
        Failure::Code { code, .. } if code::class(*code) == CodeClass::CreateAccount => {
            Outcome::MissingAccount { why }
        }
        _ => Outcome::Verdict(failure_verdict(failure, why)),
    }
}

/// The outcome of a failed `importmsg`, which may always be repeated. Like a send, it fails if an
/// account is missing.
pub fn import_outcome(failure: &Failure) -> Outcome {
    match send_outcome(failure) {
        Outcome::Verdict(_) => Outcome::Verdict(repeatable_verdict(failure)),
        missing @ Outcome::MissingAccount { .. } => missing,
    }
}

/// The verdict on a failed call that may always be repeated: accounts, imports of messages,
/// history.
pub fn repeatable_verdict(failure: &Failure) -> Verdict {
    failure_verdict(failure, reason_with_advice(failure))
}

impl Failure {
    /// The shortest time before the next call of the API, if it is longer than the usual backoff.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Code { code, .. } => code::class(*code).pause(),
            Self::NotSent { .. } | Self::LeaseOver(_) | Self::NoAnswer { .. } | Self::Rejected { .. } => None,
        }
    }
}

fn failure_verdict(failure: &Failure, why: String) -> Verdict {
    let class = match failure {
        Failure::NotSent { .. } => FailureClass::Unreachable,
        Failure::LeaseOver(_) => FailureClass::LeaseOver,
        Failure::NoAnswer { .. } => FailureClass::Busy,
        Failure::Rejected { .. } => return Verdict::Refuse { why },
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
fn reason_with_advice(failure: &Failure) -> String {
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

    fn code_failure(code: i64) -> Failure {
        Failure::Code { code, info: "words".to_owned() }
    }

    fn retry_class(verdict: &Verdict) -> Option<FailureClass> {
        match verdict {
            Verdict::Retry { class, .. } => Some(*class),
            _ => None,
        }
    }

    #[test]
    fn a_send_is_repeated_only_if_it_certainly_did_not_happen() {
        for (code, class) in [
            (60008, FailureClass::Busy),
            (60007, FailureClass::Quota),
            (60028, FailureClass::Quota),
            (70001, FailureClass::Credential),
            (70050, FailureClass::Credential),
            (70009, FailureClass::Configuration),
        ] {
            let Outcome::Verdict(verdict) = send_outcome(&code_failure(code)) else { panic!("{code}") };
            assert_eq!(retry_class(&verdict), Some(class), "{code}");
        }
        let Outcome::Verdict(verdict) = send_outcome(&Failure::NotSent { why: String::new() }) else {
            panic!()
        };
        assert_eq!(retry_class(&verdict), Some(FailureClass::Unreachable));
        let outcome = send_outcome(&Failure::NoAnswer { why: "HTTP 502".to_owned() });
        assert!(matches!(outcome, Outcome::Verdict(Verdict::Unsettled { .. })));
        assert!(matches!(send_outcome(&code_failure(90012)), Outcome::MissingAccount { .. }));
    }

    #[test]
    fn a_permanent_failure_is_refused_with_its_reason() {
        let Outcome::Verdict(Verdict::Refuse { why }) = send_outcome(&code_failure(80001)) else { panic!() };
        assert!(why.starts_with("IM error 80001: words ("), "{why}");
        let Outcome::Verdict(Verdict::Refuse { why }) = send_outcome(&code_failure(123_456)) else {
            panic!()
        };
        assert_eq!(why, "IM error 123456: words");
    }

    #[test]
    fn a_request_that_was_refused_is_not_repeated() {
        let refused = Failure::Rejected { status: 403 };
        for outcome in [send_outcome(&refused), import_outcome(&refused)] {
            let Outcome::Verdict(Verdict::Refuse { why }) = outcome else { panic!("{outcome:?}") };
            assert_eq!(why, "the request to IM was refused: HTTP 403");
        }
        assert!(matches!(repeatable_verdict(&refused), Verdict::Refuse { .. }));
    }

    #[test]
    fn account_calls_may_always_be_repeated() {
        assert_eq!(
            retry_class(&repeatable_verdict(&Failure::NoAnswer { why: String::new() })),
            Some(FailureClass::Busy)
        );
        assert_eq!(retry_class(&repeatable_verdict(&code_failure(70399))), Some(FailureClass::NextUserId));
        assert!(matches!(repeatable_verdict(&code_failure(70402)), Verdict::Refuse { .. }));
        let Outcome::Verdict(outcome) = import_outcome(&Failure::NoAnswer { why: String::new() }) else {
            panic!()
        };
        assert_eq!(retry_class(&outcome), Some(FailureClass::Busy));
        assert!(matches!(import_outcome(&code_failure(90012)), Outcome::MissingAccount { .. }));
    }

    #[test]
    fn long_pauses_are_returned() {
        assert_eq!(code_failure(70050).pause(), Some(Duration::from_mins(1)));
        assert!(code_failure(60028).pause().is_some_and(|pause| pause >= Duration::from_mins(10)));
        assert_eq!(code_failure(60007).pause(), None);
    }
}
