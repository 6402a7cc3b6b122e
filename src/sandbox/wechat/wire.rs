//! Every HTTP call of the simulated platform, made or received, for whoever wants to watch. Secrets are masked here.

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;

use crate::model::Millis;

const MASK: &str = "***";
/// Longer bodies are told by their size.
const BODY_LIMIT: usize = 16 * 1024;
const SECRET_PARAMETERS: [&str; 5] = ["access_token", "secret", "appsecret", "signature", "msg_signature"];
const SECRET_MEMBERS: [&str; 3] = ["access_token", "secret", "appsecret"];

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The platform pushed to the bridge.
    Push,
    /// The bridge called one of the platform's APIs.
    Api,
}

/// One call, over.
#[derive(Clone, Debug)]
pub struct WireEvent {
    /// When it began, by the platform's clock.
    pub at: Millis,
    /// When it began, in real time.
    pub began: Instant,
    /// How long it took, real time.
    pub took: Duration,
    /// Who called.
    pub direction: Direction,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, its secrets masked.
    pub query: String,
    /// The HTTP status; none where no answer came, or none was given.
    pub status: Option<u16>,
    /// What was sent: an encrypted push as it was before encryption.
    pub request: String,
    /// What was answered: an encrypted reply opened; where no answer came, why.
    pub response: String,
    /// What was sent as it travelled, where that was encrypted.
    pub sealed_request: Option<String>,
    /// What was answered as it travelled, where that was encrypted.
    pub sealed_response: Option<String>,
    /// The request's headers, as far as the platform sets or sees them.
    pub request_headers: Vec<(String, String)>,
    /// The answer's headers.
    pub response_headers: Vec<(String, String)>,
    /// Why the platform takes the call for failed.
    pub error: Option<String>,
    /// The customer whom it is about.
    pub openid: Option<String>,
    /// `MsgId` of the message that is pushed.
    pub msg_id: Option<u64>,
}

/// Headers for people to read; none that these platforms use is a secret.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// The query with every secret's value masked.
pub(super) fn masked_query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        out.append_pair(name, if SECRET_PARAMETERS.contains(&name) { MASK } else { value });
    }
    // The mask reads better unescaped, and an asterisk needs no escape.
    out.finish().replace("%2A", "*")
}

/// The body as text with every secret's value masked, or its size.
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
    fn secrets_are_masked_wherever_they_stand() {
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
