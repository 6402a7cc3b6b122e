//! Every HTTP call between the platforms and the bridge, as the page shows it: the calls of both
//! platforms in one form, with formatted bodies, masked secrets and the message that each call
//! carries.
//!
//! No secret may leave this module. The platforms mask secrets already; this module masks them
//! again, by name and by value.

mod tracker;
mod pretty;

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::im::{self, Exchange};
use super::instance::Instance;
use super::wechat::{self, WireEvent};

pub use tracker::{CallInfo, CallTracker, WaitingCustomer};

/// The replacement for a secret.
const MASK: &str = "•••";
/// The platforms' replacement for a secret.
const PLATFORM_MASK: &str = "***";
/// The shortest run of hexadecimal digits that is masked as a signature. Fewer digits reveal
/// nothing of one.
const MIN_SIGNATURE_LEN: usize = 16;
/// Bytes of a body that are shown.
const BODY_LIMIT: usize = 8 * 1024;

/// The request or the response of a call.
#[derive(Debug, Serialize)]
pub struct HttpMessage {
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent, formatted.
    pub body: String,
    /// The decrypted body, formatted. `None` if the body was not encrypted.
    pub decrypted: Option<String>,
}

/// One call that has ended.
#[derive(Debug, Serialize)]
pub struct WireCall {
    /// Counts from 1 in each sandbox.
    pub id: u64,
    /// The start, in Unix milliseconds of real time.
    pub at: i64,
    /// The duration, in milliseconds.
    pub took_ms: u64,
    /// The caller: `wechat`, `im` or `bridge`.
    pub from: &'static str,
    /// The server: `wechat`, `im` or `bridge`.
    pub to: &'static str,
    /// The HTTP method.
    pub method: String,
    /// The path of the URL.
    pub path: String,
    /// The query of the URL, with masked secrets.
    pub query: String,
    /// The HTTP status. `None` if no answer arrived.
    pub status: Option<u16>,
    /// Why the call failed, or the platform's return code.
    pub note: Option<String>,
    /// The message of the call: the `MsgId` of a customer's, the `MsgKey` of an agent's.
    pub message: Option<String>,
    /// Further messages that the call carries: held answers attached to a passive reply.
    pub also: Vec<String>,
    /// The openid of the customer.
    pub customer: Option<String>,
    /// Which of several bridges took or made the call. `None` if there is one, or none answered.
    pub instance: Option<Instance>,
    /// The request.
    pub request: HttpMessage,
    /// The response.
    pub response: HttpMessage,
}

/// The secrets that must not appear anywhere in a call.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Masks these values; empty ones are ignored.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        Self(values.into_iter().filter(|value| !value.is_empty()).collect())
    }

    /// `text` with every secret masked.
    fn mask(&self, text: &str) -> String {
        let mut text = text.replace(PLATFORM_MASK, MASK);
        for secret in &self.0 {
            text = text.replace(secret.as_str(), MASK);
        }
        mask_signatures(&text)
    }

    fn http_message(
        &self,
        headers: &[(String, String)],
        as_sent: &str,
        decrypted: Option<&str>,
    ) -> HttpMessage {
        let headers = headers.iter().map(|(name, value)| (name.clone(), self.mask(value))).collect();
        let body = |text: &str| self.mask(&truncate(pretty::pretty(text)));
        HttpMessage { headers, body: body(as_sent), decrypted: decrypted.map(body) }
    }
}

/// `text` with the signatures of media links masked: a signed link gives access to the file.
fn mask_signatures(text: &str) -> String {
    const NAME: &str = "sign=";
    let mut pieces = text.split(NAME);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        let value = piece.strip_suffix(rest).unwrap_or_default();
        let shown = if value.len() < MIN_SIGNATURE_LEN { value } else { MASK };
        out.extend([NAME, shown, rest]);
    }
    out
}

/// Shortens a long body and says how many bytes are missing.
fn truncate(mut body: String) -> String {
    let length = body.len();
    if length > BODY_LIMIT {
        let at = (0..=BODY_LIMIT).rev().find(|at| body.is_char_boundary(*at)).unwrap_or_default();
        body.truncate(at);
        let _ = write!(body, "\n… {} of {length} bytes are not shown", length - at);
    }
    body
}

impl WireCall {
    /// A call that WeChat made or received.
    pub fn of_wechat(id: u64, at: i64, event: &WireEvent, info: CallInfo, secrets: &Secrets) -> Self {
        let (from, to) = match event.direction {
            wechat::Direction::Push => ("wechat", "bridge"),
            wechat::Direction::Api => ("bridge", "wechat"),
        };
        let code = (from == "bridge").then(|| return_code(&event.response, "errcode", "errmsg")).flatten();
        let sent_and_decrypted = |sealed: &Option<String>, opened: &str| match sealed {
            Some(sealed) => (sealed.clone(), Some(opened.to_owned())),
            None => (opened.to_owned(), None),
        };
        let request = sent_and_decrypted(&event.encrypted_request, &event.request);
        let answer = if event.status.is_some() { event.response.as_str() } else { "" };
        let response = sent_and_decrypted(&event.encrypted_response, answer);
        Self {
            id,
            at,
            took_ms: millis(event.took),
            from,
            to,
            method: event.method.clone(),
            path: event.path.clone(),
            query: secrets.mask(&event.query),
            status: event.status,
            note: event.error.as_deref().map(|error| secrets.mask(error)).or(code),
            message: info.message,
            also: info.also,
            customer: info.customer,
            instance: event.instance,
            request: secrets.http_message(&event.request_headers, &request.0, request.1.as_deref()),
            response: secrets.http_message(&event.response_headers, &response.0, response.1.as_deref()),
        }
    }

    /// Whether the call sent a message with these words to an agent.
    pub fn delivers(&self, words: &str) -> bool {
        let is_success = self.status == Some(200) && self.note.is_none();
        is_success && self.path.ends_with("/openim/sendmsg") && self.request.body.contains(words)
    }

    /// A call that IM made or received.
    pub fn of_im(id: u64, at: i64, exchange: &Exchange, info: CallInfo, secrets: &Secrets) -> Self {
        let (from, to) = match exchange.direction {
            im::Direction::Sent => ("im", "bridge"),
            im::Direction::Received => ("bridge", "im"),
        };
        let code = return_code(&exchange.response, "ErrorCode", "ErrorInfo");
        Self {
            id,
            at,
            took_ms: millis(exchange.took),
            from,
            to,
            method: exchange.method.clone(),
            path: exchange.path.clone(),
            query: secrets.mask(&exchange.query),
            status: exchange.status,
            note: exchange.error.as_deref().map(|error| secrets.mask(error)).or(code),
            message: info.message,
            also: info.also,
            customer: info.customer,
            instance: exchange.instance,
            request: secrets.http_message(&exchange.request_headers, &exchange.request, None),
            response: secrets.http_message(&exchange.response_headers, &exchange.response, None),
        }
    }
}

/// The return code and message of a platform's error, or `None` on success.
fn return_code(body: &str, code_key: &str, message_key: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let number = body[code_key].as_i64().filter(|number| *number != 0)?;
    Some(format!("{number} {}", body[message_key].as_str().unwrap_or_default()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_in_links_are_masked_and_other_text_stays() {
        let sign = "ce82b38b75e912785b6439ef1823d099a837c500dcf7f6b8f79f9ebb82ab322f";
        let body = format!(
            r#"{{"URL":"http://a/media/1.jpg?until=1&sign={sign}","Text":"sign=cafe; assign=é sign="}}"#
        );
        let shown = Secrets::default().mask(&format!("{body}{body}"));
        assert!(!shown.contains("ce82b38b"), "{shown}");
        assert_eq!(shown.replace(MASK, sign), format!("{body}{body}"));
    }
}
