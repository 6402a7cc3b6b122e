//! Every HTTP call of the simulated platform, made or received, for whoever wants to watch. Secrets are masked here.

use std::time::Duration;

use serde_json::Value;

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
    /// When it began.
    pub at: Millis,
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
    /// What was answered: an encrypted reply opened.
    pub response: String,
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
