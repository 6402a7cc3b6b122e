//! One HTTP request to WeChat and its raw response, with all limits.
//!
//! Decides here whether a failed request may have been executed: no later code can find that out.
//! Never puts a URL into an error, because the URL contains the access token.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, StatusCode, Url, redirect};

use crate::clock::Clock;
use crate::fleet::LeaseOver;
use crate::model::NoAnswer;
use crate::upstream::{is_lease_over, observe_date};

/// The time limit of one call, from connecting to the last byte of the response.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long connecting takes at most, and how long the system goes on sending data that is not acknowledged, beside
/// other instances. What a lost network delivers later would arrive when another has told the agent that its fate is not
/// known.
const SILENCE: Duration = Duration::from_secs(2);

/// How long an idle connection is kept. If WeChat closed a connection just as we send a request,
/// the message would become `unknown`, so we close idle connections first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest response that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The longest error text taken from WeChat, in bytes: long enough for the `rid` at the end of the
/// usual ones.
const MAX_ERRMSG_BYTES: usize = 1000;

/// Creates the HTTP client for calls to WeChat: 3 s to connect, and no redirects, which would send
/// the access token to another host. Create it once and share it.
/// `is_alone`: no other instance may send in this one's place.
pub fn http_client(is_alone: bool) -> reqwest::Result<reqwest::Client> {
    let client = crate::http_client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(redirect::Policy::none());
    if is_alone { client } else { client.connect_timeout(SILENCE).tcp_user_timeout(SILENCE) }.build()
}

/// Why a request got no readable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TransportError {
    /// It was certainly not sent.
    NotSent(String),
    /// It was not sent, because another instance may send in this one's place.
    LeaseOver(LeaseOver),
    /// It was refused with this HTTP status before WeChat executed it.
    Rejected(u16),
    /// It was sent, at least in part, and WeChat may have executed it.
    NoAnswer(NoAnswer, String),
}

/// Posts a JSON `body` and reads the whole response of an HTTP 200.
pub(super) async fn post(
    http: &reqwest::Client,
    url: Url,
    body: Body,
    timeout: Duration,
    clock: &Clock,
) -> Result<Vec<u8>, TransportError> {
    let request = http.post(url).header(CONTENT_TYPE, "application/json").timeout(timeout).body(body);
    read_response(request, clock).await
}

/// Gets `url` and reads the whole response of an HTTP 200.
pub(super) async fn get(
    http: &reqwest::Client,
    url: Url,
    timeout: Duration,
    clock: &Clock,
) -> Result<Vec<u8>, TransportError> {
    read_response(http.get(url).timeout(timeout), clock).await
}

/// The source of a file's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// A file on disk, read while it is sent.
    Disk(&'a Path),
    /// A constant of the program.
    Memory(&'static [u8]),
}

/// A file to upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilePart<'a> {
    /// The source of its bytes.
    pub source: Source<'a>,
    /// Its size in bytes.
    pub size: u64,
    /// The file name for WeChat; its extension must fit the content.
    pub filename: &'a str,
    /// Its content type.
    pub content_type: &'static str,
}

/// Posts a file as the form part `media` and reads the whole response of an HTTP 200.
pub(super) async fn upload(
    http: &reqwest::Client,
    url: Url,
    file: FilePart<'_>,
    timeout: Duration,
    clock: &Clock,
) -> Result<Vec<u8>, TransportError> {
    let unreadable =
        |error: &dyn std::fmt::Display| TransportError::NotSent(format!("the file cannot be read: {error}"));
    let body = match file.source {
        Source::Disk(path) => tokio::fs::File::open(path).await.map_err(|error| unreadable(&error))?.into(),
        Source::Memory(bytes) => Body::from(bytes),
    };
    // Send the length: WeChat has refused chunked bodies from some clients.
    let part = Part::stream_with_length(body, file.size)
        .file_name(file.filename.to_owned())
        .mime_str(file.content_type)
        .map_err(|error| unreadable(&error))?;
    read_response(http.post(url).timeout(timeout).multipart(Form::new().part("media", part)), clock).await
}

async fn read_response(request: reqwest::RequestBuilder, clock: &Clock) -> Result<Vec<u8>, TransportError> {
    let sent_ms = clock.monotonic_ms();
    let mut response = request.send().await.map_err(to_transport_error)?;
    observe_date(&clock.remote(crate::wechat::CLOCK), &response, sent_ms);
    if response.status() != StatusCode::OK {
        let status = response.status().as_u16();
        // 408 Request Timeout, 425 Too Early and 429 Too Many Requests say nothing about the request
        // itself.
        if matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429) {
            return Err(TransportError::Rejected(status));
        }
        return Err(TransportError::NoAnswer(NoAnswer::Status(status), format!("HTTP {status}")));
    }
    let mut response_body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(to_no_answer)? {
        if response_body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            let why = format!("the response is longer than {MAX_RESPONSE_BYTES} bytes");
            return Err(TransportError::NoAnswer(NoAnswer::Unreadable, why));
        }
        response_body.extend_from_slice(&chunk);
    }
    Ok(response_body)
}

pub(super) fn to_transport_error(error: reqwest::Error) -> TransportError {
    if is_lease_over(&error) {
        return TransportError::LeaseOver(LeaseOver);
    }
    if error.is_connect() || error.is_builder() {
        return TransportError::NotSent(error_chain(error));
    }
    to_no_answer(error)
}

fn to_no_answer(error: reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::NoAnswer(NoAnswer::Timeout, "the request timed out".to_owned());
    }
    TransportError::NoAnswer(NoAnswer::ConnectionLost, error_chain(error))
}

/// The error with all its causes, without the URL.
pub(super) fn error_chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// Appends `path` to the path of `base`.
pub(super) fn endpoint(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// WeChat's error text, shortened. If WeChat repeats the secret of the request, it is redacted.
pub(super) fn sanitize_errmsg(text: &str, secret: &str) -> String {
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[REDACTED]") };
    text[..text.floor_char_boundary(MAX_ERRMSG_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_may_have_a_path() {
        for (base, expected) in [
            ("https://api.weixin.qq.com", "https://api.weixin.qq.com/cgi-bin/x"),
            ("http://127.0.0.1:1/wx/", "http://127.0.0.1:1/wx/cgi-bin/x"),
        ] {
            assert_eq!(endpoint(&base.parse().unwrap(), "cgi-bin/x").as_str(), expected);
        }
    }

    #[test]
    fn a_reason_is_bounded_and_does_not_repeat_the_secret() {
        assert_eq!(
            sanitize_errmsg("bad token 77_abc rid: 1-2-3", "77_abc"),
            "bad token [REDACTED] rid: 1-2-3"
        );
        assert_eq!(sanitize_errmsg(&"客".repeat(400), "").len(), 999);
    }
}
