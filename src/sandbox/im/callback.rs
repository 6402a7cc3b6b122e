//! The webhooks: their bodies, signature and delivery (reference, section 6), and forged ones.
//!
//! `Sign` has its own implementation here, which is checked against the official vector. The
//! bridge's code is not used.

mod query;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Shared;
use super::checks::ApiError;
use super::exchange::{self, Direction, Exchange};
use super::history::Message;
use super::settings::{BeforeSend, Settings};
use crate::sandbox::instance::Instance;
pub use query::Query;

/// The longest answer to a webhook, in bytes. A longer one counts as a failure.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The client's address in webhooks, from the range for documentation.
const CLIENT_IP: &str = "203.0.113.9";

/// The receiver's answer to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackResult {
    /// The HTTP status. `None` if no answer came.
    pub status: Option<u16>,
    /// The body of the answer.
    pub body: String,
    /// Why IM counts the webhook as failed.
    pub error: Option<CallbackError>,
    /// The time until the answer was read, including retries.
    pub took: Duration,
}

/// Why a webhook failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// The console has no webhook URL.
    #[error("no webhook URL is set")]
    NoUrl,
    /// No answer came within `callback_timeout`.
    #[error("no answer in time")]
    TimedOut,
    /// The connection could not be made, or it broke.
    #[error("the receiver could not be reached: {0}")]
    Unreachable(String),
    /// The answer has an HTTP status other than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The answer is not a JSON object, or is too long.
    #[error("the answer is not a JSON object")]
    NotJson,
}

/// The `Sign` of a webhook at `request_time` (Unix seconds as text): the lower-case hex SHA-256 of
/// token and time, concatenated.
pub fn sign(token: &str, request_time: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(token);
    digest.update(request_time);
    hex::encode(digest.finalize())
}

/// A webhook that can be sent any number of times with the same body.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    command: String,
    platform: String,
    body: Arc<str>,
}

/// The data of the webhooks before and after a send.
pub(super) struct SendEvent<'a> {
    /// The sender.
    pub from: &'a str,
    /// The receiver.
    pub to: &'a str,
    /// The `MsgSeq`.
    pub seq: u32,
    /// The `MsgRandom`.
    pub random: u32,
    /// The `MsgTime` in Unix seconds.
    pub time: i64,
    /// The `MsgKey`.
    pub key: String,
    /// The `MsgId`.
    pub id: String,
    /// The `OnlineOnlyFlag`.
    pub online_only: bool,
    /// The `MsgBody`, an array.
    pub elements: &'a Value,
    /// The `CloudCustomData`.
    pub cloud_custom_data: &'a str,
    /// Whether the sender wants to know when the message is read, as every kit does.
    pub needs_receipt: bool,
}

impl SendEvent<'_> {
    fn body(&self, command: &str, now_ms: i64) -> Value {
        json!({
            "CallbackCommand": command, "From_Account": self.from, "To_Account": self.to,
            "MsgSeq": self.seq, "MsgRandom": self.random, "MsgTime": self.time,
            "MsgKey": self.key, "MsgId": self.id, "OnlineOnlyFlag": i32::from(self.online_only),
            "MsgBody": self.elements, "CloudCustomData": self.cloud_custom_data, "EventTime": now_ms,
            "IsNeedReadReceipt": i32::from(self.needs_receipt),
        })
    }
}

impl Webhook {
    /// A webhook with this body.
    pub fn new(command: &str, platform: &str, body: &Value) -> Self {
        Self { command: command.to_owned(), platform: platform.to_owned(), body: body.to_string().into() }
    }

    /// The webhook `C2C.CallbackAfterSendMsg`.
    pub fn after_send(event: &SendEvent<'_>, unread: i64, now_ms: i64, platform: &str) -> Self {
        let command = "C2C.CallbackAfterSendMsg";
        let mut body = event.body(command, now_ms);
        body["SendMsgResult"] = json!(0);
        body["ErrorInfo"] = json!("send msg succeed");
        body["UnreadMsgNum"] = json!(unread);
        Self::new(command, platform, &body)
    }

    /// The webhook `C2C.CallbackAfterMsgWithDraw`.
    pub fn after_withdraw(message: &Message, unread: i64, platform: &str) -> Self {
        let command = "C2C.CallbackAfterMsgWithDraw";
        let body = json!({
            "CallbackCommand": command, "From_Account": message.from, "To_Account": message.to,
            "MsgKey": message.key, "UnreadMsgNum": unread,
        });
        Self::new(command, platform, &body)
    }

    /// The webhook `C2C.CallbackAfterModifyMsg` about an edit by the sender.
    pub fn after_modify(message: &Message, now_ms: i64, platform: &str) -> Self {
        let command = "C2C.CallbackAfterModifyMsg";
        let body = json!({
            "CallbackCommand": command, "Operator_Account": message.from, "From_Account": message.from,
            "To_Account": message.to, "MsgSeq": message.seq, "MsgRandom": message.random,
            "MsgTime": message.time, "MsgKey": message.key, "MsgBody": *message.current_elements(),
            "CloudCustomData": message.cloud_custom_data, "EventTime": now_ms,
        });
        Self::new(command, platform, &body)
    }

    /// The webhook `C2C.CallbackAfterMsgReport`. `time` is in Unix seconds.
    pub fn after_read(reader: &str, peer: &str, time: i64, unread: i64) -> Self {
        let command = "C2C.CallbackAfterMsgReport";
        let body = json!({
            "CallbackCommand": command, "Report_Account": reader, "Peer_Account": peer,
            "LastReadTime": time, "UnreadMsgNum": unread,
        });
        Self::new(command, "Web", &body)
    }

    /// A webhook with any body. The query takes the command from the body, or
    /// `C2C.CallbackAfterSendMsg` if the body has none.
    pub fn raw(body: &str) -> Self {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        Self {
            command: parsed["CallbackCommand"].as_str().unwrap_or("C2C.CallbackAfterSendMsg").to_owned(),
            platform: "Web".to_owned(),
            body: body.into(),
        }
    }
}

/// The decision of the webhook before sending.
pub(super) enum BeforeSendDecision {
    /// Deliver the message, with the parts that the webhook replaced.
    Deliver {
        /// A new `MsgBody`.
        elements: Option<Value>,
        /// New `CloudCustomData`.
        cloud_custom_data: Option<String>,
    },
    /// Do not deliver the message, but answer the sender with success.
    Drop,
}

/// Calls the webhook before sending, if it is switched on, and returns its decision.
pub(super) async fn before_send(
    shared: &Shared,
    settings: &Settings,
    event: &SendEvent<'_>,
    platform: &str,
) -> Result<BeforeSendDecision, ApiError> {
    let deliver = BeforeSendDecision::Deliver { elements: None, cloud_custom_data: None };
    if settings.webhooks.before_send == BeforeSend::Off || settings.callback_url.is_none() {
        return Ok(deliver);
    }
    let command = "C2C.CallbackBeforeSendMsg";
    let body = event.body(command, shared.clock.now().0);
    let result = post(shared, settings, &Webhook::new(command, platform, &body), |_| {}).await;
    let answer: Value = serde_json::from_str(&result.body).unwrap_or_default();
    match answer["ErrorCode"].as_i64() {
        Some(0) if result.error.is_none() => Ok(BeforeSendDecision::Deliver {
            elements: answer.get("MsgBody").filter(|body| body.is_array()).cloned(),
            cloud_custom_data: answer["CloudCustomData"].as_str().map(str::to_owned),
        }),
        Some(1) if result.error.is_none() => {
            Err(ApiError::new(20006, "refused by the webhook before sending"))
        }
        Some(2) if result.error.is_none() => Ok(BeforeSendDecision::Drop),
        Some(code @ 120_001..=130_000) if result.error.is_none() => {
            Err(ApiError::new(code, answer["ErrorInfo"].as_str().unwrap_or_default()))
        }
        _ if settings.webhooks.before_send == BeforeSend::RefuseOnFailure => {
            Err(ApiError::new(80003, "the webhook before sending failed"))
        }
        _ => Ok(deliver),
    }
}

/// Sends a webhook in the background. Drops it if too many are in progress, as IM may lose a
/// webhook.
pub(super) fn send_in_background(shared: &Arc<Shared>, webhook: Webhook) {
    if shared.settings().callback_url.is_none() {
        return;
    }
    let Ok(permit) = Arc::clone(&shared.webhook_permits).try_acquire_owned() else {
        tracing::warn!("the simulated IM drops a webhook because too many are in progress");
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        send(&shared, &webhook, |_| {}).await;
        drop(permit);
    });
}

/// Sends a webhook, and once more after a timeout if `retry_on_timeout` is set.
pub(super) async fn send(shared: &Shared, webhook: &Webhook, tweak: impl Fn(&mut Query)) -> CallbackResult {
    let settings = shared.settings();
    let first = post(shared, &settings, webhook, &tweak).await;
    if !settings.retry_on_timeout || first.error != Some(CallbackError::TimedOut) {
        return first;
    }
    let mut second = post(shared, &settings, webhook, &tweak).await;
    second.took += first.took;
    second
}

async fn post(
    shared: &Shared,
    settings: &Settings,
    webhook: &Webhook,
    tweak: impl Fn(&mut Query),
) -> CallbackResult {
    let began = Instant::now();
    let at = shared.clock.now();
    let mut query = Query::default();
    query.add("SdkAppid", settings.sdk_app_id.to_string());
    query.add("CallbackCommand", webhook.command.as_str());
    query.add("contenttype", "json");
    query.add("ClientIP", CLIENT_IP);
    query.add("OptPlatform", webhook.platform.as_str());
    if let Some(token) = &settings.callback_token {
        let time = at.seconds().to_string();
        query.add("Sign", sign(token.expose_secret(), &time));
        query.add("RequestTime", time);
    }
    tweak(&mut query);
    let base = settings.callback_url.as_deref();
    let url = base.and_then(|base| url::Url::parse_with_params(base, &query.0).ok());
    let event = shared.has_watchers().then(|| Exchange {
        at,
        began,
        took: Duration::ZERO,
        direction: Direction::Sent,
        method: "POST".to_owned(),
        path: url.as_ref().map(|url| url.path().to_owned()).unwrap_or_default(),
        query: exchange::masked_query(&query.0),
        status: None,
        request: webhook.body.to_string(),
        response: String::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        error: None,
        instance: None,
    });
    if let Some(event) = &event {
        // Sending fails only if there is no subscriber.
        let _ = shared.started_calls.send(Arc::new(event.clone()));
    }
    let (status, mut headers, body, error) = match url {
        Some(url) => exchange(shared, settings, url, Arc::clone(&webhook.body)).await,
        None => (None, HeaderMap::new(), String::new(), Some(CallbackError::NoUrl)),
    };
    let (took, instance) = (began.elapsed(), Instance::take(&mut headers));
    if let Some(event) = event {
        shared.publish(|| Exchange {
            took,
            status,
            response: body.clone(),
            response_headers: exchange::headers(&headers),
            error: error.as_ref().map(CallbackError::to_string),
            instance,
            ..event
        });
    }
    CallbackResult { status, body, error, took }
}

/// Makes one POST. The reference documents no Content-Type, so none is sent.
async fn exchange(
    shared: &Shared,
    settings: &Settings,
    url: url::Url,
    body: Arc<str>,
) -> (Option<u16>, HeaderMap, String, Option<CallbackError>) {
    let failed = |error: &reqwest::Error| {
        if error.is_timeout() {
            CallbackError::TimedOut
        } else if error.is_connect() {
            CallbackError::Unreachable("no connection".to_owned())
        } else {
            CallbackError::Unreachable("the connection broke".to_owned())
        }
    };
    let sent = shared.http.post(url).timeout(settings.callback_timeout).body(body.to_string()).send().await;
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return (None, HeaderMap::new(), String::new(), Some(failed(&error))),
    };
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut answer = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if answer.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                answer.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return (Some(status), headers, String::new(), Some(CallbackError::NotJson)),
            Ok(None) => break,
            Err(error) => return (Some(status), headers, String::new(), Some(failed(&error))),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let error = if status != 200 {
        Some(CallbackError::Status(status))
    } else if serde_json::from_slice::<super::checks::Object>(&answer).is_err() {
        Some(CallbackError::NotJson)
    } else {
        None
    };
    (Some(status), headers, text, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_matches_the_official_vector_and_our_own() {
        for (token, time, expected) in [
            ("xxxxyyyy", "1669872112", "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061"),
            (
                "kf-bridge-token",
                "1700000123",
                "f15c651d198687ca9a6ed20d470f428bf1eb3d0b5c816428b6556bfc7da18b07",
            ),
        ] {
            assert_eq!(sign(token, time), expected);
        }
    }

    #[test]
    fn usersig_and_sign_are_masked() {
        let query = [("sdkappid", "1"), ("usersig", "eJsecret"), ("Sign", "abcdef")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(exchange::masked_query(&query), "sdkappid=1&usersig=***&Sign=***");
    }
}
