//! Authenticates callbacks from the query alone, before a byte of the body is read.
//!
//! The signature covers neither body nor command and is the same for every callback of one second
//! (reference: "Authentication"). So it proves the caller, never the message; the bridge detects
//! repeats.

use std::borrow::Cow;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::Clock;
use crate::live::Live;
use crate::model::ImUserId;

/// Authenticates callbacks.
#[derive(Debug)]
pub struct CallbackVerifier {
    sdk_app_id: u32,
    token: Option<SecretString>,
    previous_token: Option<SecretString>,
    max_skew_s: u64,
    pub(super) agents: Live<Vec<ImUserId>>,
    pub(super) rest_answers: bool,
    pub(super) clock: Clock,
}

/// The query of an authenticated callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuery {
    /// The event's name; the body has it too.
    pub command: Option<String>,
    /// The platform of the client that caused the event; `RESTAPI` for a call by a server.
    pub opt_platform: Option<String>,
}

/// Why a callback is refused. Contains no secret and no expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A parameter is repeated: it must never depend on chance which of the two is checked.
    #[error("{0} is repeated")]
    Repeated(&'static str),
    /// `SdkAppid` is missing or belongs to another app.
    #[error("SdkAppid is not this app's")]
    OtherApp,
    /// `Sign` or `RequestTime` is missing.
    #[error("Sign and RequestTime are required")]
    Unsigned,
    /// `Sign` does not match.
    #[error("Sign is wrong")]
    WrongSign,
    /// `RequestTime` is too far from IM's clock, either way.
    #[error("RequestTime is too far from the server's clock")]
    Stale,
}

impl Refusal {
    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeated(_) => "repeated",
            Self::OtherApp => "other_app",
            Self::Unsigned => "unsigned",
            Self::WrongSign => "wrong_sign",
            Self::Stale => "stale",
        }
    }

    /// Whether a setting that differs from the IM console, or a wrong clock, could be the reason.
    pub fn may_be_a_setting(self) -> bool {
        !matches!(self, Self::Repeated(_))
    }
}

impl CallbackVerifier {
    /// Creates a verifier for one app. Without a `token` (the console's authentication token) only
    /// the app's id is checked. `max_skew_s` is the largest distance between a signed callback's
    /// time and IM's clock, as far as `clock` knows it, in seconds either way. `agents` may change at any time.
    pub fn new(
        sdk_app_id: u32,
        token: Option<SecretString>,
        max_skew_s: u64,
        agents: impl Into<Live<Vec<ImUserId>>>,
        clock: Clock,
    ) -> Self {
        // Anyone can sign with an empty token.
        let token = token.filter(|token| !token.expose_secret().is_empty());
        let agents = agents.into();
        Self { sdk_app_id, token, previous_token: None, max_skew_s, agents, rest_answers: true, clock }
    }

    /// Sets whether what servers send in an agent's name by REST counts as the agent's; by default it does.
    #[must_use]
    pub fn with_rest_answers(mut self, rest_answers: bool) -> Self {
        self.rest_answers = rest_answers;
        self
    }

    /// Also accepts callbacks signed with `token`, while the console's token is being replaced.
    pub fn also_accepting(mut self, token: Option<SecretString>) -> Self {
        self.previous_token = token.filter(|token| !token.expose_secret().is_empty());
        self
    }

    /// Verifies the query string of a callback's URL.
    pub fn verify_query(&self, query: &str) -> Result<VerifiedQuery, Refusal> {
        let query = Query::read(query)?;
        if query.sdk_app_id.as_deref() != Some(self.sdk_app_id.to_string().as_str()) {
            return Err(Refusal::OtherApp);
        }
        if let Some(token) = &self.token {
            let (Some(sign), Some(time)) = (&query.sign, &query.request_time) else {
                return Err(Refusal::Unsigned);
            };
            self.check_sign(token, sign, time)?;
        }
        Ok(VerifiedQuery {
            command: query.command.map(Cow::into_owned),
            opt_platform: query.opt_platform.map(Cow::into_owned),
        })
    }

    fn check_sign(&self, token: &SecretString, sign: &str, time: &str) -> Result<(), Refusal> {
        let mut given = [0; 32];
        // Decoding to bytes accepts either hex case.
        hex::decode_to_slice(sign, &mut given).map_err(|_| Refusal::WrongSign)?;
        let is_signed_with = |token: &SecretString| {
            let expected = Sha256::new().chain_update(token.expose_secret()).chain_update(time).finalize();
            expected.as_slice().ct_eq(&given)
        };
        let previous = self.previous_token.as_ref().map_or(subtle::Choice::from(0), is_signed_with);
        if !bool::from(is_signed_with(token) | previous) {
            return Err(Refusal::WrongSign);
        }
        let decimal = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
        let time = time.parse::<i64>().ok().filter(|_| decimal).ok_or(Refusal::Stale)?;
        if self.clock.remote(crate::im::CLOCK).now().seconds().abs_diff(time) > self.max_skew_s {
            return Err(Refusal::Stale);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Query<'a> {
    sdk_app_id: Option<Cow<'a, str>>,
    command: Option<Cow<'a, str>>,
    opt_platform: Option<Cow<'a, str>>,
    sign: Option<Cow<'a, str>>,
    request_time: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn read(query: &'a str) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let (name, slot) = match name.as_ref() {
                "SdkAppid" => ("SdkAppid", &mut parsed.sdk_app_id),
                "CallbackCommand" => ("CallbackCommand", &mut parsed.command),
                "OptPlatform" => ("OptPlatform", &mut parsed.opt_platform),
                "Sign" => ("Sign", &mut parsed.sign),
                "RequestTime" => ("RequestTime", &mut parsed.request_time),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Repeated(name));
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A verifier whose clock stands at `now_s`.
    fn verifier(token: Option<&str>, max_skew_s: u64, now_s: i64) -> CallbackVerifier {
        let clock = Clock::movable();
        clock.advance(now_s * 1000 + 100 - clock.now().0);
        CallbackVerifier::new(1_400_000_000, token.map(SecretString::from), max_skew_s, Vec::new(), clock)
    }

    const OWN: &str = "SdkAppid=1400000000&CallbackCommand=C2C.CallbackAfterSendMsg&contenttype=json\
                       &ClientIP=203.0.113.9&OptPlatform=Web\
                       &Sign=f15c651d198687ca9a6ed20d470f428bf1eb3d0b5c816428b6556bfc7da18b07&RequestTime=1700000123";

    #[test]
    fn the_vendors_signature_is_right_in_either_case() {
        let sign = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
        let verifier = verifier(Some("xxxxyyyy"), 300, 1_669_872_112);
        for sign in [sign.to_owned(), sign.to_uppercase()] {
            let query = format!("SdkAppid=1400000000&Sign={sign}&RequestTime=1669872112");
            assert_eq!(
                verifier.verify_query(&query),
                Ok(VerifiedQuery { command: None, opt_platform: None })
            );
        }
    }

    #[test]
    fn a_signed_callback_is_accepted_with_its_command() {
        let verified = verifier(Some("kf-bridge-token"), 300, 1_700_000_123).verify_query(OWN).unwrap();
        assert_eq!(verified.command.as_deref(), Some("C2C.CallbackAfterSendMsg"));
        assert_eq!(verified.opt_platform.as_deref(), Some("Web"));
    }

    #[test]
    fn the_app_id_must_match_exactly() {
        let unsigned = verifier(None, 300, 0);
        assert!(unsigned.verify_query("SdkAppid=1400000000").is_ok());
        assert!(
            unsigned.verify_query("SdkAppid=%31400000000").is_ok(),
            "the value is compared after URL decoding"
        );
        for wrong in [
            "",
            "SdkAppid",
            "SdkAppid=1400000001",
            "SdkAppid=01400000000",
            "SdkAppid=%2B1400000000",
            "SdkAppid=1400000000%20",
            "sdkappid=1400000000",
            "SdkAppid=1.4e9",
        ] {
            assert_eq!(unsigned.verify_query(wrong), Err(Refusal::OtherApp), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_signature_is_refused() {
        let verifier = verifier(Some("kf-bridge-token"), 300, 1_700_000_123);
        let with = |from: &str, to: &str| verifier.verify_query(&OWN.replace(from, to)).unwrap_err();
        assert_eq!(with("Sign=f1", "Sign=f2"), Refusal::WrongSign);
        assert_eq!(with("Sign=f1", "Sign="), Refusal::WrongSign);
        assert_eq!(with("Sign=f1", "Sign=zz"), Refusal::WrongSign);
        assert_eq!(with("RequestTime=1700000123", "RequestTime=1700000124"), Refusal::WrongSign);
        assert_eq!(with("Sign=", "Sing="), Refusal::Unsigned);
        assert_eq!(with("&RequestTime=1700000123", ""), Refusal::Unsigned);
        assert_eq!(with("1400000000", "1400000001"), Refusal::OtherApp);
    }

    #[test]
    fn the_previous_token_is_accepted_too_and_no_third() {
        let now_s = 1_700_000_123;
        let after = verifier(Some("new-token"), 300, now_s).also_accepting(Some("kf-bridge-token".into()));
        assert!(after.verify_query(OWN).is_ok());
        let sign = hex::encode(Sha256::digest("new-token1700000123"));
        let with_new = OWN.replace("f15c651d198687ca9a6ed20d470f428bf1eb3d0b5c816428b6556bfc7da18b07", &sign);
        assert!(after.verify_query(&with_new).is_ok());
        for previous in [None, Some("third-token"), Some("")] {
            let other = verifier(Some("new-token"), 300, now_s).also_accepting(previous.map(Into::into));
            assert_eq!(other.verify_query(OWN), Err(Refusal::WrongSign), "{previous:?}");
        }
        // Without a present token nothing is signed, so there is nothing to replace.
        let unsigned = verifier(None, 300, now_s).also_accepting(Some("kf-bridge-token".into()));
        assert!(unsigned.verify_query("SdkAppid=1400000000").is_ok());
    }

    #[test]
    fn the_time_may_differ_by_max_skew_and_no_more() {
        for (now_s, expected) in [
            (1_700_000_123 - 301, Some(Refusal::Stale)),
            (1_700_000_123 - 299, None),
            (1_700_000_123 + 299, None),
            (1_700_000_123 + 302, Some(Refusal::Stale)),
        ] {
            assert_eq!(
                verifier(Some("kf-bridge-token"), 300, now_s).verify_query(OWN).err(),
                expected,
                "{now_s}"
            );
        }
    }

    #[test]
    fn a_signed_time_that_is_not_decimal_is_refused() {
        let verifier = verifier(Some("t"), u64::MAX, 0);
        for time in ["", "-1", "%2B1", "1e3", "99999999999999999999"] {
            let decoded = time.replace("%2B", "+");
            let sign = hex::encode(Sha256::digest(format!("t{decoded}")));
            let refusal =
                verifier.verify_query(&format!("SdkAppid=1400000000&Sign={sign}&RequestTime={time}"));
            assert_eq!(refusal, Err(Refusal::Stale), "{time}");
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_with_the_same_value() {
        let verifier = verifier(Some("kf-bridge-token"), 300, 1_700_000_123);
        for name in ["SdkAppid", "CallbackCommand", "OptPlatform", "Sign", "RequestTime"] {
            let again = OWN.split('&').find(|pair| pair.starts_with(name)).unwrap();
            assert_eq!(verifier.verify_query(&format!("{OWN}&{again}")), Err(Refusal::Repeated(name)));
        }
    }

    #[test]
    fn an_empty_token_counts_as_no_token() {
        assert!(verifier(Some(""), 300, 0).verify_query("SdkAppid=1400000000").is_ok());
    }

    #[test]
    fn no_refusal_and_no_debug_shows_the_token() {
        let verifier = verifier(Some("kf-bridge-token"), 300, 1_700_000_123);
        let refusal = verifier.verify_query(&OWN.replace("Sign=f1", "Sign=f2")).unwrap_err();
        for shown in [format!("{verifier:?}"), format!("{refusal:?}"), refusal.to_string()] {
            assert!(!shown.contains("kf-bridge-token") && !shown.contains("f15c65"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn no_query_without_a_valid_signature_is_accepted(query in ".{0,80}") {
            let signed = verifier(Some("kf-bridge-token"), u64::MAX, 0);
            prop_assert!(signed.verify_query(&query).is_err());
            let query = format!("SdkAppid=1400000000&{query}");
            prop_assert!(signed.verify_query(&query).is_err());
        }
    }
}
