//! One POST to WeChat and its raw answer, with every limit on it.
//!
//! Decides the one thing that cannot be mended later: whether a failed request may have been carried out.
//! Never puts a URL into an error, because the access token is part of it.

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, StatusCode, Url, redirect};

use crate::model::Silence;

/// How long one call may take, from connecting to the answer's last byte.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection is kept. A connection that the other side closes just as a request is written
/// leaves a message in the state `unknown`, so ours go first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The longest reason taken over from WeChat, in bytes. A `rid` at the end of the usual ones stays whole.
const MAX_REASON: usize = 1000;

/// The HTTP client that calls to WeChat need: 3 s to connect, and no redirects, which would carry the access token
/// to another host. To be made once and shared.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(redirect::Policy::none())
        .build()
}

/// A request without a readable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was certainly not written.
    NotSent(String),
    /// It was written, at least in part, and may have been carried out.
    NoAnswer(Silence, String),
}

/// Posts a JSON `body` and reads the whole answer to an HTTP 200.
pub(super) async fn post(
    http: &reqwest::Client,
    url: Url,
    body: Bytes,
    timeout: Duration,
) -> Result<Vec<u8>, Lost> {
    answer(http.post(url).header(CONTENT_TYPE, "application/json").timeout(timeout).body(body)).await
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// In a file, which is read as it is sent.
    Disk(&'a Path),
    /// In the program itself.
    Memory(&'static [u8]),
}

/// A file to upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilePart<'a> {
    /// Where its bytes are.
    pub source: Source<'a>,
    /// Its size in bytes.
    pub size: u64,
    /// What WeChat is told that it is called; its ending must fit.
    pub filename: &'a str,
    /// Its content type.
    pub content_type: &'static str,
}

/// Posts a file as the part `media` of a form, from disk, and reads the whole answer to an HTTP 200.
pub(super) async fn upload(
    http: &reqwest::Client,
    url: Url,
    file: FilePart<'_>,
    timeout: Duration,
) -> Result<Vec<u8>, Lost> {
    let unread = |error: &dyn std::fmt::Display| Lost::NotSent(format!("the file cannot be read: {error}"));
    let body = match file.source {
        Source::Disk(path) => tokio::fs::File::open(path).await.map_err(|error| unread(&error))?.into(),
        Source::Memory(bytes) => Body::from(bytes),
    };
    // With its length: WeChat has refused chunked bodies of some clients.
    let part = Part::stream_with_length(body, file.size)
        .file_name(file.filename.to_owned())
        .mime_str(file.content_type)
        .map_err(|error| unread(&error))?;
    answer(http.post(url).timeout(timeout).multipart(Form::new().part("media", part))).await
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Vec<u8>, Lost> {
    let mut response = request.send().await.map_err(lost)?;
    if response.status() != StatusCode::OK {
        let status = response.status().as_u16();
        return Err(Lost::NoAnswer(Silence::Status(status), format!("HTTP {status}")));
    }
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            let why = format!("the answer is longer than {MAX_ANSWER} bytes");
            return Err(Lost::NoAnswer(Silence::Unreadable, why));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

pub(super) fn lost(error: reqwest::Error) -> Lost {
    if error.is_connect() || error.is_builder() {
        return Lost::NotSent(reason(error));
    }
    unanswered(error)
}

fn unanswered(error: reqwest::Error) -> Lost {
    if error.is_timeout() {
        return Lost::NoAnswer(Silence::Timeout, "no answer in time".to_owned());
    }
    Lost::NoAnswer(Silence::Cut, reason(error))
}

/// The whole chain of causes, without the URL.
pub(super) fn reason(error: reqwest::Error) -> String {
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

/// `base` with `path` put after its own path.
pub(super) fn endpoint(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// WeChat's words, bounded, and without the secret that the request carried should WeChat repeat it.
pub(super) fn errmsg(text: &str, secret: &str) -> String {
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[REDACTED]") };
    text[..text.floor_char_boundary(MAX_REASON)].to_owned()
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
        assert_eq!(errmsg("bad token 77_abc rid: 1-2-3", "77_abc"), "bad token [REDACTED] rid: 1-2-3");
        assert_eq!(errmsg(&"客".repeat(400), "").len(), 999);
    }
}
