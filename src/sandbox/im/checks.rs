//! The checks that the REST gateway makes before a command runs, in the order of the reference
//! (1.7), and typed access to the fields of a body.

use std::collections::HashMap;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::Shared;
use super::settings::Settings;
use super::usersig;
use crate::model::Millis;

/// An error of the REST API (`ActionStatus` FAIL) or of an agent's client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {info}")]
pub struct ApiError {
    /// The `ErrorCode` (reference, section 1.6).
    pub code: i64,
    /// The `ErrorInfo`.
    pub info: String,
}

impl ApiError {
    pub(super) fn new(code: i64, info: impl Into<String>) -> Self {
        Self { code, info: info.into() }
    }
}

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A command of the REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    AccountImport,
    AccountDelete,
    AccountCheck,
    OnlineStatus,
    SendMsg,
    ImportMsg,
    GetRoamMsg,
    Withdraw,
    PortraitSet,
}

/// One API of the REST server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    /// The path after `/v4/`.
    pub path: &'static str,
    /// The command behind the path.
    pub command: Command,
    /// Whether the API has half the usual rate.
    half_rate: bool,
}

const APIS: [Api; 9] = {
    const fn api(path: &'static str, command: Command) -> Api {
        Api { path, command, half_rate: false }
    }
    const fn slow(path: &'static str, command: Command) -> Api {
        Api { path, command, half_rate: true }
    }
    [
        api("im_open_login_svc/account_import", Command::AccountImport),
        slow("im_open_login_svc/account_delete", Command::AccountDelete),
        slow("im_open_login_svc/account_check", Command::AccountCheck),
        api("openim/query_online_status", Command::OnlineStatus),
        api("openim/sendmsg", Command::SendMsg),
        api("openim/importmsg", Command::ImportMsg),
        api("openim/admin_getroammsg", Command::GetRoamMsg),
        api("openim/admin_msgwithdraw", Command::Withdraw),
        api("profile/portrait_set", Command::PortraitSet),
    ]
};

/// The API at `path` (`/v4/openim/sendmsg`).
pub(super) fn api(path: &str) -> Option<Api> {
    let name = path.strip_prefix("/v4/")?;
    APIS.into_iter().find(|api| api.path == name)
}

/// A received call, not checked yet.
pub(super) struct Call {
    /// The API at the path, if there is one.
    pub api: Option<Api>,
    /// Whether the method is POST.
    pub is_post: bool,
    /// The decoded query.
    pub query: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
}

impl Call {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A call that passed the checks.
#[derive(Debug)]
pub(super) struct AdmittedCall {
    /// The called API.
    pub api: Api,
    /// The UserID of the calling admin.
    pub admin: String,
    /// The parsed body.
    pub body: Object,
}

/// Makes checks 1 to 10 of section 1.7.
pub(super) fn admit(shared: &Shared, settings: &Settings, call: &Call) -> Result<AdmittedCall, ApiError> {
    let api = call.api.ok_or_else(|| ApiError::new(60009, "the requested resource does not exist"))?;
    if !call.is_post {
        return Err(ApiError::new(60002, "HTTP parse error: only POST is served"));
    }
    let admin = authenticate(settings, call, api, shared.clock.now().seconds())?;
    let has_random = call.parameter("random").is_some_and(is_u32);
    if call.parameter("contenttype") != Some("json") || !has_random {
        return Err(ApiError::new(60025, "contenttype must be json and random an unsigned 32-bit integer"));
    }
    let rate = if api.half_rate { settings.rate_per_second.div_ceil(2) } else { settings.rate_per_second };
    if !shared.world().buckets.take(api.path, rate, shared.clock.now()) {
        return Err(ApiError::new(60007, "the calls of this API exceed its rate"));
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(body)) => Ok(AdmittedCall { api, admin, body }),
        _ => Err(parse_error(api)),
    }
}

/// Makes checks 2 to 7 (application, UserSig, admin) and returns the admin's UserID.
fn authenticate(settings: &Settings, call: &Call, api: Api, now: i64) -> Result<String, ApiError> {
    let app = call.parameter("sdkappid").ok_or_else(|| ApiError::new(60012, "sdkappid is missing"))?;
    if app != settings.sdk_app_id.to_string() {
        return Err(ApiError::new(70020, "sdkappid not found"));
    }
    let sig = call
        .parameter("usersig")
        .and_then(usersig::decode)
        .ok_or_else(|| ApiError::new(70003, "usersig is malformed"))?;
    if sig.sdk_app_id != settings.sdk_app_id {
        return Err(ApiError::new(70014, "the sdkappid of the request is not that of the usersig"));
    }
    if call.parameter("identifier") != Some(sig.identifier.as_str()) {
        return Err(ApiError::new(70013, "the identifier of the request is not that of the usersig"));
    }
    if sig.is_expired(now) {
        return Err(ApiError::new(70001, "usersig expired"));
    }
    // Tencent's Go verifier refuses a userbuf that was not requested, and this server requests
    // none.
    if !sig.has_valid_signature(settings.secret_key.expose_secret()) || sig.userbuf.is_some() {
        return Err(ApiError::new(70009, "usersig was made with another key"));
    }
    if !settings.admins.contains(&sig.identifier) {
        let code = if api.path.starts_with("openim/") { 90009 } else { 60010 };
        return Err(ApiError::new(code, "the identifier is not an app admin"));
    }
    Ok(sig.identifier)
}

fn is_u32(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok()
}

fn parse_error(api: Api) -> ApiError {
    match api.path.split('/').next() {
        Some("openim") => ApiError::new(90001, "Fail to Parse json data of body, Please check it"),
        _ => ApiError::new(70402, "the body is not a JSON object"),
    }
}

/// One token bucket for each API. A full bucket holds the calls of one second.
#[derive(Debug, Default)]
pub(super) struct Buckets(HashMap<&'static str, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// The remaining tokens, in thousandths of a call.
    tokens: i64,
    refilled_at: Millis,
}

impl Buckets {
    fn take(&mut self, api: &'static str, rate: u32, now: Millis) -> bool {
        let full = i64::from(rate) * 1000;
        let bucket = self.0.entry(api).or_insert(Bucket { tokens: full, refilled_at: now });
        let refill = now.since(bucket.refilled_at).max(0).saturating_mul(i64::from(rate));
        bucket.tokens = bucket.tokens.saturating_add(refill).min(full);
        bucket.refilled_at = now;
        let granted = bucket.tokens >= 1000;
        if granted {
            bucket.tokens -= 1000;
        }
        granted
    }
}

/// The result of reading one field of a body.
pub(super) enum Field<T> {
    /// The field is missing.
    Absent,
    /// The field has another type, or is `null`.
    WrongType,
    /// The field has this value.
    Present(T),
}

impl<T> Field<T> {
    fn of<'a>(body: &'a Object, name: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Self {
        body.get(name).map_or(Self::Absent, |value| read(value).map_or(Self::WrongType, Self::Present))
    }

    /// Returns the value. Fails with `code` if the field is missing or of another type.
    pub fn required(self, code: i64, info: &str) -> Result<T, ApiError> {
        match self {
            Self::Present(value) => Ok(value),
            Self::Absent | Self::WrongType => Err(ApiError::new(code, info)),
        }
    }

    /// Returns the value, if there is one. Fails with `code` if the field is of another type.
    pub fn optional(self, code: i64, info: &str) -> Result<Option<T>, ApiError> {
        match self {
            Self::Present(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::WrongType => Err(ApiError::new(code, info)),
        }
    }
}

/// Reads a string.
pub(super) fn text<'a>(body: &'a Object, name: &str) -> Field<&'a str> {
    Field::of(body, name, Value::as_str)
}

/// Reads a JSON integer. `1.0` and `"1"` are of another type.
pub(super) fn integer(body: &Object, name: &str) -> Field<i64> {
    Field::of(body, name, Value::as_i64)
}

/// Reads an unsigned 32-bit integer.
pub(super) fn unsigned(body: &Object, name: &str) -> Field<u32> {
    Field::of(body, name, |value| value.as_u64().and_then(|number| u32::try_from(number).ok()))
}

/// Reads an array.
pub(super) fn array<'a>(body: &'a Object, name: &str) -> Field<&'a Vec<Value>> {
    Field::of(body, name, Value::as_array)
}

/// Reads an object.
pub(super) fn object<'a>(body: &'a Object, name: &str) -> Field<&'a Object> {
    Field::of(body, name, Value::as_object)
}

/// Reads an array of strings. Any other element makes it of another type.
pub(super) fn texts<'a>(body: &'a Object, name: &str) -> Field<Vec<&'a str>> {
    Field::of(body, name, |value| value.as_array()?.iter().map(Value::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_one_seconds_worth_and_refills_with_time() {
        let mut buckets = Buckets::default();
        let start = Millis(1_000);
        assert_eq!((0..250).filter(|_| buckets.take("a", 200, start)).count(), 200);
        assert!(buckets.take("b", 200, start), "another API has its own");
        assert_eq!((0..250).filter(|_| buckets.take("a", 200, start.plus(100))).count(), 20);
        assert!(!buckets.take("a", 200, start), "a clock set back does not refill the bucket");
    }

    #[test]
    fn random_is_decimal_digits_of_32_bits() {
        assert!(is_u32("0") && is_u32("4294967295"));
        for bad in ["", "-1", "+1", "4294967296", "1.0", "x"] {
            assert!(!is_u32(bad), "{bad}");
        }
    }
}
