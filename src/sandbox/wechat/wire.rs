//! Events about every HTTP call that the simulated platform makes or receives. Secrets are masked
//! here.

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;

use crate::model::Millis;
use crate::sandbox::instance::Instance;

const MASK: &str = "***";
/// The longest body that an event contains, in bytes. A longer body is replaced by its size.
const BODY_LIMIT: usize = 16 * 1024;
const SECRET_PARAMETERS: [&str; 5] = ["access_token", "secret", "appsecret", "signature", "msg_signature"];
const SECRET_MEMBERS: [&str; 3] = ["access_token", "secret", "appsecret"];

/// The direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The platform pushed to the bridge.
    Push,
    /// The bridge called one of the platform's APIs.
    Api,
}

/// One HTTP call.
#[derive(Clone, Debug)]
pub struct WireEvent {
    /// When the call began, by the platform's clock.
    pub at: Millis,
    /// When the call began, in real time.
    pub began: Instant,
    /// The duration of the call in real time.
    pub took: Duration,
    /// The direction of the call.
    pub direction: Direction,
    /// The HTTP method.
    pub method: String,
    /// The path of the URL.
    pub path: String,
    /// The query, with secrets masked.
    pub query: String,
    /// The HTTP status. `None` if no answer came or was sent.
    pub status: Option<u16>,
    /// The request body. An encrypted push is shown as it was before encryption.
    pub request: String,
    /// The response body, decrypted if it was encrypted. The error if no answer came.
    pub response: String,
    /// The encrypted request body, if it was encrypted.
    pub encrypted_request: Option<String>,
    /// The encrypted response body, if it was encrypted.
    pub encrypted_response: Option<String>,
    /// The request's headers that the platform sets or receives.
    pub request_headers: Vec<(String, String)>,
    /// The response's headers.
    pub response_headers: Vec<(String, String)>,
    /// Why the platform counts the call as failed.
    pub error: Option<String>,
    /// The openid of the customer that the call is about.
    pub openid: Option<String>,
    /// The `MsgId` of the pushed message.
    pub msg_id: Option<u64>,
    /// Which of several bridges took or made the call. `None` if there is one, or none answered.
    pub instance: Option<Instance>,
}

/// Headers as text. None of the headers that these platforms use is a secret.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// The query with the value of every secret masked.
pub(super) fn masked_query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        out.append_pair(name, if SECRET_PARAMETERS.contains(&name) { MASK } else { value });
    }
    // The serializer escapes the asterisks of the mask. They need no escape and read better
    // without.
    out.finish().replace("%2A", "*")
}

/// The body as text with the value of every secret masked, or the size of the body.
pub(super) fn masked_body(body: &[u8]) -> String {
    let text = match std::str::from_utf8(body) {
        Ok(text) if body.len() <= BODY_LIMIT => text,
        _ => return format!("<{} bytes>", body.len()),
    };
    if let Some((before, rest)) = text.split_once("<MsgSignature>") {
        let after = rest.split_once("</MsgSignature>").map_or("", |(_, after)| after);
        return format!("{before}<MsgSignature>{MASK}</MsgSignature>{after}");
    }
    if !SECRET_MEMBERS.iter().any(|member| text.contains(member)) {
        return text.to_owned();
    }
    let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
        return format!("<{} bytes>", body.len());
    };
    for member in SECRET_MEMBERS {
        if let Some(value) = object.get_mut(member) {
            *value = Value::from(MASK);
        }
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_queries_and_bodies() {
        let query =
            masked_query([("access_token", "77_x"), ("type", "image"), ("signature", "ab")].into_iter());
        assert_eq!(query, "access_token=***&type=image&signature=***");
        let body = masked_body(br#"{"appid":"wx1","secret":"s3"}"#);
        assert!(body.contains("wx1") && !body.contains("s3"), "{body}");
        let envelope = masked_body(b"<xml><MsgSignature>ab</MsgSignature><Nonce>1</Nonce></xml>");
        assert_eq!(envelope, "<xml><MsgSignature>***</MsgSignature><Nonce>1</Nonce></xml>");
        assert_eq!(masked_body(b"secret=s3"), "<9 bytes>");
        assert_eq!(masked_body(&[0xff, 0xd8]), "<2 bytes>");
        assert_eq!(masked_body(b"success"), "success");
    }
}
