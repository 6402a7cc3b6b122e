//! The one table of WeChat's return codes and what each one means for the message.
//!
//! Some codes mean something else on the token endpoint ([`token_class`]): a message is never
//! refused because no token could be fetched. `errmsg` is for people; only the number decides.

use std::net::IpAddr;

use crate::model::HoldReason;

/// How to react to a return code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Success.
    Ok,
    /// WeChat is busy: retry with backoff.
    Busy,
    /// A quota of the account is used up: retry with backoff.
    Quota,
    /// The access token is stale: fetch a fresh one and retry once.
    Token,
    /// WeChat does not accept messages for this customer now: hold the message until the customer
    /// acts.
    Hold,
    /// The account may not call this API: hold the message for a passive reply, or refuse it, as
    /// `reply` says.
    NotAllowed,
    /// A setting is wrong, here or in WeChat's console: retry with backoff and tell the operator.
    Configuration,
    /// This message can never be sent.
    Refuse,
}

impl Class {
    /// The name in logs, metrics and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Token => "token",
            Self::Hold => "hold",
            Self::NotAllowed => "not_allowed",
            Self::Configuration => "configuration",
            Self::Refuse => "refuse",
        }
    }
}

/// The calls of this minute are used up.
pub const MINUTE_QUOTA: i64 = 45011;

/// The media_id has expired or belongs to another account.
pub const NO_MEDIA_ID: i64 = 40007;
/// The media does not exist.
pub const NO_MEDIA: i64 = 46001;

/// One return code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// WeChat's `errcode`.
    pub number: i64,
    /// How to react to it.
    pub class: Class,
    /// Its meaning, for people.
    pub meaning: &'static str,
    /// What the operator should do, if the operator has to act.
    pub advice: Option<&'static str>,
}

const fn code(number: i64, class: Class, meaning: &'static str) -> Code {
    Code { number, class, meaning, advice: None }
}

const fn code_with_advice(number: i64, class: Class, meaning: &'static str, advice: &'static str) -> Code {
    Code { number, class, meaning, advice: Some(advice) }
}

const REFUSED_TOKEN: &str = "WeChat refuses an access token that it has just handed out; look for another program that \
    fetches tokens for this AppID, and check that wechat.app_id, wechat.app_secret and wechat.api_base belong together";
const WRONG_SECRET: &str = "check wechat.app_secret against WeChat's console";
const COMPONENT: &str =
    "this AppID is managed by a third-party platform; use an account that is not, or end its authorisation";
const CONFIRM: &str = "the account's administrator has to confirm this server's call in WeChat";

use Class::{Busy, Configuration, Hold, NotAllowed, Ok, Quota, Refuse, Token};

/// All known codes, sorted by number (reference: "Return codes", "Token-related errors", "Windows
/// and quotas").
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code(-1, Busy, "WeChat is busy"),
    code(0, Ok, "success"),
    code_with_advice(40001, Token, "the access token is invalid or not the latest", REFUSED_TOKEN),
    code(40002, Refuse, "invalid grant_type"),
    code(40003, Refuse, "the openid is malformed or belongs to another account"),
    code(40004, Refuse, "invalid media type"),
    code(40005, Refuse, "invalid file type"),
    code(40006, Refuse, "invalid file size"),
    code(40007, Refuse, "the media_id is expired or belongs to another account"),
    code(40008, Refuse, "invalid message type"),
    code(40009, Refuse, "invalid image size"),
    code(40010, Refuse, "invalid voice size"),
    code(40011, Refuse, "invalid video size"),
    code(40012, Refuse, "invalid thumbnail size"),
    code_with_advice(40013, Configuration, "invalid AppID", "check wechat.app_id against WeChat's console"),
    code_with_advice(40014, Token, "the access token is invalid", REFUSED_TOKEN),
    code(40033, Refuse, "escaped characters are not allowed"),
    code(40035, Refuse, "invalid parameter"),
    code(40037, Refuse, "invalid template_id"),
    code(40038, Refuse, "invalid request format"),
    code(40066, Refuse, "wrong API path"),
    code(40121, Refuse, "the media_id is of another type"),
    code_with_advice(40125, Configuration, "invalid AppSecret", WRONG_SECRET),
    code(40132, Refuse, "invalid WeChat id"),
    code(40137, Refuse, "the image format is not supported"),
    code(40163, Refuse, "the OAuth code has been used"),
    code_with_advice(40164, Configuration, "the bridge's address is not in the IP whitelist",
        "add the address the bridge calls from to the IP whitelist in WeChat's console; it takes effect within about 10 minutes"),
    code(40200, Refuse, "the account's type does not allow this"),
    code_with_advice(40243, Configuration, "the AppSecret is frozen", "unfreeze the AppSecret in WeChat's console"),
    code_with_advice(41001, Token, "the access token is missing", REFUSED_TOKEN),
    code_with_advice(41002, Configuration, "the AppID is missing", "set wechat.app_id"),
    code_with_advice(41004, Configuration, "the AppSecret is missing", "set wechat.app_secret"),
    code(41005, Refuse, "the media data is missing"),
    code(41006, Refuse, "the media_id is missing"),
    code(41009, Refuse, "the openid is missing"),
    code_with_advice(42001, Token, "the access token is expired", REFUSED_TOKEN),
    code(42007, Refuse, "the user changed the password"),
    code(43001, Refuse, "GET is required"),
    code(43002, Refuse, "POST is required"),
    code(43003, Refuse, "HTTPS is required"),
    code(43004, Refuse, "the customer does not follow the account"),
    code(43005, Refuse, "the customer is no friend of the account"),
    code(43019, Refuse, "the customer is on the account's blacklist"),
    code(43101, Refuse, "the customer refused subscription messages"),
    code(44001, Refuse, "the media data is empty"),
    code(44002, Refuse, "the request is empty"),
    code(44003, Refuse, "the article is empty"),
    code(44004, Refuse, "the text is empty"),
    code(45001, Refuse, "the media is too large"),
    code(45002, Refuse, "the text is too long"),
    code(45003, Refuse, "the title is too long"),
    code(45004, Refuse, "the description is too long"),
    code(45005, Refuse, "the link is too long"),
    code(45006, Refuse, "the picture's link is too long"),
    code(45007, Refuse, "the recording is too long"),
    code(45008, Refuse, "too many articles"),
    code_with_advice(45009, Quota, "the account's calls for today are used up",
        "reset the quota in WeChat's console, or wait for midnight, Beijing time"),
    code(45011, Quota, "the account's calls for this minute are used up"),
    code(45015, Hold, "the customer has not written within 48 hours, or has left"),
    code(45047, Hold, "the messages allowed since the customer last acted are used up"),
    code(45065, Refuse, "the clientmsgid exists"),
    code(45066, Refuse, "the clientmsgid was used too soon"),
    code(45067, Refuse, "the clientmsgid is too long"),
    code(45072, Refuse, "invalid typing command"),
    code(45080, Refuse, "no message within 30 seconds, so no typing"),
    code(45081, Refuse, "already typing"),
    code(45103, Refuse, "the API is retired"),
    code(45166, Refuse, "invalid content"),
    code(46001, Refuse, "the media does not exist"),
    code(46004, Refuse, "the customer does not exist"),
    code(47001, Refuse, "the request is malformed"),
    code(47003, Refuse, "invalid template parameter"),
    code_with_advice(48001, NotAllowed, "the account may not call this API",
        "only a verified account can push; have it verified, or set wechat.reply to \"auto\" or \"passive\""),
    code(48002, Refuse, "the customer switched off messages"),
    code_with_advice(48004, Hold, "the account is banned from this API", "read the notice at mp.weixin.qq.com and appeal"),
    code(48005, Refuse, "the material is in use"),
    code(48006, Refuse, "the month's quota resets are used up"),
    code(48008, Refuse, "the account may not send this type of message"),
    code(50001, Refuse, "the user did not authorise this"),
    code_with_advice(50002, Hold, "the account is restricted", "read the notice at mp.weixin.qq.com and have the restriction lifted"),
    code_with_advice(50004, Configuration, "the account may not fetch access tokens", "read the notice at mp.weixin.qq.com"),
    code(50005, Refuse, "the customer does not follow the account"),
    code_with_advice(50007, Configuration, "the account is frozen", "read the notice at mp.weixin.qq.com and have the account unfrozen"),
    code_with_advice(61003, Configuration, "the third-party platform is not authorised", COMPONENT),
    code_with_advice(61004, Configuration, "the third-party platform does not know this address", COMPONENT),
    code_with_advice(61007, Configuration, "the third-party platform may not call this API", COMPONENT),
    code_with_advice(61023, Configuration, "the third-party platform's refresh token is invalid", COMPONENT),
    code_with_advice(61024, Configuration, "the third-party platform has to fetch the token", COMPONENT),
    code(61450, Refuse, "WeChat's customer service failed inside"),
    code(61451, Refuse, "invalid parameter"),
    code(61452, Refuse, "no such kf_account"),
    code(61453, Refuse, "the kf_account exists"),
    code(61454, Refuse, "the kf_account is too long"),
    code(61455, Refuse, "the kf_account has characters that are not allowed"),
    code(61456, Refuse, "too many kf_accounts"),
    code(61457, Refuse, "invalid avatar type"),
    code(65400, Refuse, "the account's customer service feature is off"),
    code(65401, Refuse, "invalid kf_account"),
    code(65402, Refuse, "the kf_account is not bound"),
    code(65403, Refuse, "invalid kf nickname"),
    code(65404, Refuse, "invalid kf_account"),
    code(65405, Refuse, "too many kf_accounts"),
    code(65406, Refuse, "the kf_account exists"),
    code(65407, Refuse, "the invited agent already is one"),
    code(65408, Refuse, "an invitation is open"),
    code(65409, Refuse, "the invited WeChat id is invalid"),
    code(65410, Refuse, "the invited WeChat id is bound too often"),
    code(65411, Refuse, "an invitation of this kf_account is open"),
    code(65412, Refuse, "the kf_account is bound already"),
    code(65413, Refuse, "no such session"),
    code(65414, Refuse, "another agent serves the customer"),
    code(65416, Refuse, "invalid history query"),
    code(65417, Refuse, "the history query spans too much time"),
    code(70000, Refuse, "refused to protect minors"),
    code(76001, Refuse, "rid not found"),
    code(76002, Refuse, "invalid rid"),
    code(76003, Refuse, "no permission for this rid"),
    code(76004, Refuse, "the rid is too old"),
    code(76021, Refuse, "no such API path"),
    code(76022, Refuse, "no permission for this API path"),
    code_with_advice(89501, Configuration, "the call awaits an administrator's confirmation", CONFIRM),
    code_with_advice(89503, Configuration, "the call awaits an administrator's confirmation", CONFIRM),
    code_with_advice(89506, Configuration, "an administrator rejected this address for 24 hours", CONFIRM),
    code_with_advice(89507, Configuration, "an administrator rejected this address for an hour", CONFIRM),
    code(9_001_001, Refuse, "invalid POST parameter"),
];

/// The table's entry for `number`.
pub fn lookup(number: i64) -> Option<&'static Code> {
    CODES.binary_search_by_key(&number, |code| code.number).ok().map(|at| &CODES[at])
}

/// The class of `number` when an API returns it. An unknown code refuses the message: blind retries
/// would use up the quota forever.
pub fn class(number: i64) -> Class {
    lookup(number).map_or(Refuse, |code| code.class)
}

/// The class of `number` when the token endpoint returns it. Every code is retried; the operator is
/// told unless the fault passes by itself.
pub fn token_class(number: i64) -> Class {
    match class(number) {
        passing @ (Ok | Busy | Quota) => passing,
        _ => Configuration,
    }
}

/// What the operator should do when an API returns `number`; `None` if the operator need not act.
pub fn advice(number: i64) -> Option<&'static str> {
    lookup(number).and_then(|code| code.advice)
}

/// What the operator should do when the token endpoint returns `number`.
pub fn token_advice(number: i64) -> &'static str {
    match class(number) {
        Token => WRONG_SECRET,
        Busy | Quota => {
            advice(number).unwrap_or("WeChat hands out no access token at the moment; this passes by itself")
        }
        _ => advice(number).unwrap_or("look the code up in WeChat's documentation of stable_token"),
    }
}

/// Returns `advice`; for code 40164, with the IP address that WeChat saw.
pub fn with_address(advice: &str, number: i64, errmsg: &str) -> String {
    match reported_address(errmsg).filter(|_| number == 40164) {
        Some(address) => format!("{advice} (WeChat saw {address})"),
        None => advice.to_owned(),
    }
}

/// The IP address in `invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist`.
pub fn reported_address(errmsg: &str) -> Option<IpAddr> {
    let (_, after) = errmsg.split_once("invalid ip ")?;
    after.split([' ', ',']).next()?.parse().ok()
}

/// The reason for holding a message, for a code of [`Class::Hold`].
pub fn hold_reason(code: i64) -> HoldReason {
    match code {
        45015 => HoldReason::WindowClosed,
        45047 => HoldReason::QuotaUsedUp,
        48001 => HoldReason::NotAllowed,
        _ => HoldReason::Banned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_no_code_twice() {
        assert!(CODES.is_sorted_by(|one, next| one.number < next.number));
    }

    #[test]
    fn every_configuration_fault_says_what_to_do() {
        for code in CODES.iter().filter(|code| matches!(code.class, Configuration | Token | NotAllowed)) {
            assert!(code.advice.is_some(), "{}", code.number);
        }
        assert_ne!(token_advice(40001), advice(40001).unwrap());
        assert!(token_advice(40125).contains("wechat.app_secret"));
    }

    #[test]
    fn codes_mean_what_the_state_table_says() {
        for (class_of, numbers) in [
            (Busy, &[-1][..]),
            (Quota, &[45009, 45011]),
            (Token, &[40001, 40014, 42001, 41001]),
            (Hold, &[45015, 45047, 48004, 50002]),
            (NotAllowed, &[48001]),
            (
                Configuration,
                &[40164, 40125, 40013, 41002, 41004, 40243, 50004, 50007, 89501, 89503, 89506, 89507, 61024],
            ),
            (Refuse, &[40003, 43004, 43019, 48002, 70000, 45002, 45162, 4, 123_456, i64::MIN]),
        ] {
            for number in numbers {
                assert_eq!(class(*number), class_of, "{number}");
            }
        }
    }

    #[test]
    fn the_token_endpoint_refuses_no_message() {
        for number in CODES.iter().map(|code| code.number).chain([777]) {
            assert!(matches!(token_class(number), Ok | Busy | Quota | Configuration), "{number}");
        }
        assert_eq!(token_class(40001), Configuration);
        assert_eq!(token_class(45011), Quota);
    }

    #[test]
    fn the_address_that_wechat_saw_is_in_the_advice() {
        let errmsg =
            "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 65a0b1c2-0a1b2c3d-4e5f6071";
        assert_eq!(reported_address(errmsg), Some("1.2.3.4".parse().unwrap()));
        assert_eq!(
            reported_address("invalid ip 2408:1::2, not in whitelist"),
            Some("2408:1::2".parse().unwrap())
        );
        for other in ["", "invalid ip", "invalid ip somewhere", "invalid credential"] {
            assert_eq!(reported_address(other), None, "{other}");
        }
        assert!(with_address(advice(40164).unwrap(), 40164, errmsg).ends_with("(WeChat saw 1.2.3.4)"));
    }
}
