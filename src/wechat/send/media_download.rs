//! Downloads customers' media from WeChat (reference: "Download") to disk, bounded in size and
//! time.
//!
//! WeChat responds with the file, or with JSON under any content type: a return code, or for a
//! video the URL of the file. If WeChat does not return the file, the URL from the push is tried,
//! through the guarded downloader.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::client::{Client, Failure, PLATFORM, call_report};
use super::code::{self, Class};
use super::token::Token;
use super::transport;
use crate::bridge::MediaUnavailable;
use crate::json;
use crate::media::download::{DownloadError, Downloader, UrlOrigin};
use crate::media::{Files, FilesError, StoredFile};
use crate::metrics::Metrics;
use crate::model::{MediaRequest, NoAnswer};
use crate::outbox::fetch::{FetchError, Provider};
use crate::upstream::{ApiLabel, CallReport, RateLimiter, observe_date, paced};

/// The API that returns a customer's file.
const MEDIA_GET: ApiLabel = ApiLabel { platform: PLATFORM, api: "media_get" };
/// A response longer than this, in bytes, is a file and is not checked for JSON.
const MAX_JSON: usize = 64 * 1024;

/// The time limits of a download.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From connecting to the last byte.
    pub total: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { total: Duration::from_mins(2), idle: Duration::from_secs(10) }
    }
}

/// Downloads customers' media.
#[derive(Debug)]
pub struct MediaDownloader {
    /// The API; `None` without AppID and AppSecret.
    pub client: Option<Arc<Client>>,
    /// Downloads from URLs that came in pushes or responses.
    pub downloader: Downloader,
    /// The rate limit of `media/get`.
    pub rate_limiter: Arc<RateLimiter>,
    /// The metrics.
    pub metrics: Metrics,
    /// The time limits of a download.
    pub timeouts: Timeouts,
}

/// WeChat's response for a media_id: the file, or a URL of it.
#[derive(Debug)]
enum MediaResponse {
    File(StoredFile),
    Url(String),
}

/// Why a download from WeChat failed.
#[derive(Debug)]
enum MediaFailure {
    Call(Failure),
    Files(FilesError),
}

impl From<Failure> for MediaFailure {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<FilesError> for MediaFailure {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

#[derive(Deserialize)]
struct ApiResponse {
    #[serde(default, deserialize_with = "json::optional_integer")]
    errcode: Option<i64>,
    #[serde(default)]
    errmsg: String,
    video_url: Option<String>,
}

impl Provider for MediaDownloader {
    fn fetch<'a>(
        &'a self,
        request: &'a MediaRequest,
        files: &'a Files,
        max_bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<StoredFile, FetchError>> + Send + 'a>> {
        Box::pin(async move {
            let mut last_error = None;
            for id in &request.ids {
                match self.get(id, files, max_bytes).await {
                    Ok(stored) => return Ok(stored),
                    Err(again @ FetchError::Retry { .. }) => {
                        // The next media_id is a worse version of the same file. It does not help
                        // against a temporary fault.
                        last_error = Some(again);
                        break;
                    }
                    Err(never) => last_error = Some(never),
                }
            }
            let Some(url) = &request.url else { return Err(last_error.unwrap_or_else(no_source)) };
            match self.downloader.download(url, files, max_bytes).await {
                Ok(stored) => Ok(stored),
                Err(error) => Err(last_error.unwrap_or_else(|| from_download_error(&error))),
            }
        })
    }
}

fn no_source() -> FetchError {
    FetchError::Permanent {
        reason: MediaUnavailable::NoCredentials,
        why: "there is no source to fetch it from".to_owned(),
    }
}

fn from_download_error(error: &DownloadError) -> FetchError {
    let why = error.to_string();
    match error {
        DownloadError::TooLarge(limit) => {
            FetchError::Permanent { reason: MediaUnavailable::TooLarge(*limit), why }
        }
        error if error.is_retryable() => FetchError::Retry { why },
        _ => FetchError::Permanent { reason: MediaUnavailable::NotFound, why },
    }
}

fn from_media_failure(failure: MediaFailure) -> FetchError {
    match failure {
        MediaFailure::Files(error @ FilesError::TooLarge(limit)) => {
            FetchError::Permanent { reason: MediaUnavailable::TooLarge(limit), why: error.to_string() }
        }
        MediaFailure::Files(error) => FetchError::Retry { why: error.to_string() },
        MediaFailure::Call(failure) => {
            let why = failure.to_string();
            let Failure::Code { code, .. } = failure else { return FetchError::Retry { why } };
            match code::class(code) {
                Class::Refuse => FetchError::Permanent { reason: MediaUnavailable::NotFound, why },
                Class::NotAllowed => FetchError::Permanent { reason: MediaUnavailable::NotAllowed, why },
                _ => FetchError::Retry { why },
            }
        }
    }
}

impl MediaDownloader {
    async fn get(&self, id: &str, files: &Files, max_bytes: u64) -> Result<StoredFile, FetchError> {
        let Some(client) = &self.client else { return Err(no_source()) };
        let call = self.call_media_get(client, id, files, max_bytes);
        let report = |response: &Result<_, MediaFailure>| match response {
            Err(MediaFailure::Call(failure)) => call_report::<()>(&Err(failure.clone())),
            Err(MediaFailure::Files(FilesError::TooLarge(_))) => {
                CallReport { label: "too_large", too_often: false }
            }
            Ok(_) | Err(MediaFailure::Files(_)) => CallReport { label: "ok", too_often: false },
        };
        let response = paced(&self.rate_limiter, &self.metrics, MEDIA_GET, call, report).await;
        match response.map_err(from_media_failure)? {
            MediaResponse::File(stored) => Ok(stored),
            MediaResponse::Url(url) => self.video(client, &url, files, max_bytes).await,
        }
    }

    /// Downloads a video from the URL that WeChat returned. WeChat serves videos from many hosts, some
    /// without a name, so any public host is accepted.
    async fn video(
        &self,
        client: &Client,
        url: &str,
        files: &Files,
        max: u64,
    ) -> Result<StoredFile, FetchError> {
        let same_origin = Url::parse(url).ok().filter(|url| url.origin() == client.base.origin());
        let Some(same_origin) = same_origin else {
            return self
                .downloader
                .download_from(url, UrlOrigin::Platform, files, max)
                .await
                .map_err(|error| from_download_error(&error));
        };
        // A URL on the API's own origin is as trusted as the response itself, so it bypasses the
        // guard.
        let response = self
            .with_timeout(async {
                self.save_body(self.open(client, same_origin).await?, "", files, max).await
            })
            .await;
        match response.map_err(from_media_failure)? {
            MediaResponse::File(stored) => Ok(stored),
            MediaResponse::Url(_) => {
                Err(FetchError::Retry { why: "the video's URL leads to another URL".to_owned() })
            }
        }
    }

    /// Calls `media/get` once, and a second time if the access token was stale.
    async fn call_media_get(
        &self,
        client: &Client,
        id: &str,
        files: &Files,
        max: u64,
    ) -> Result<MediaResponse, MediaFailure> {
        let mut token = client.tokens.current().await.map_err(Failure::from)?;
        let mut response = self.with_timeout(self.attempt(client, &token, id, files, max)).await;
        let is_stale = |code: i64| code::class(code) == Class::Token;
        if matches!(&response, Err(MediaFailure::Call(Failure::Code { code, .. })) if is_stale(*code)) {
            token = client.tokens.replace_rejected(token.generation).await.map_err(Failure::from)?;
            response = self.with_timeout(self.attempt(client, &token, id, files, max)).await;
        }
        match &response {
            Ok(_) => client.update_health(MEDIA_GET.api, &Ok(())),
            Err(MediaFailure::Call(failure)) => {
                client.update_health::<()>(MEDIA_GET.api, &Err(failure.clone()));
            }
            Err(MediaFailure::Files(_)) => {}
        }
        response
    }

    async fn attempt(
        &self,
        client: &Client,
        token: &Token,
        id: &str,
        files: &Files,
        max: u64,
    ) -> Result<MediaResponse, MediaFailure> {
        let secret = token.value.expose_secret();
        let mut url = transport::endpoint(&client.base, "cgi-bin/media/get");
        url.query_pairs_mut().append_pair("access_token", secret).append_pair("media_id", id);
        self.save_body(self.open(client, url).await?, secret, files, max).await
    }

    async fn open(&self, client: &Client, url: Url) -> Result<Response, MediaFailure> {
        let request = client.http.get(url).timeout(self.timeouts.total);
        let sent_ms = client.clock.monotonic_ms();
        let response =
            request.send().await.map_err(|error| Failure::from(transport::to_transport_error(error)))?;
        observe_date(&client.clock.remote(crate::wechat::CLOCK), &response, sent_ms);
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                let status = status.as_u16();
                Err(Failure::NoAnswer(NoAnswer::Status(status), format!("HTTP {status}")).into())
            }
        }
    }

    /// Writes a response body into `files`, unless it is JSON with a return code or a URL.
    async fn save_body(
        &self,
        mut response: Response,
        secret: &str,
        files: &Files,
        max: u64,
    ) -> Result<MediaResponse, MediaFailure> {
        if response.content_length().is_some_and(|length| length > max) {
            return Err(FilesError::TooLarge(max).into());
        }
        let mut incoming = files.create(max).await?;
        let mut json = Some(Vec::new());
        while let Some(chunk) = self.next_chunk(&mut response).await? {
            let Some(start) = &mut json else {
                incoming.write(&chunk).await?;
                continue;
            };
            start.extend_from_slice(&chunk);
            if start.first().is_some_and(|first| *first != b'{') || start.len() > MAX_JSON {
                incoming.write(start).await?;
                json = None;
            }
        }
        if let Some(start) = json {
            if let Some(response) = parse_json_response(&start, secret)? {
                return Ok(response);
            }
            if start.is_empty() {
                return Err(
                    Failure::NoAnswer(NoAnswer::Unreadable, "the response is empty".to_owned()).into()
                );
            }
            incoming.write(&start).await?;
        }
        Ok(MediaResponse::File(incoming.finish().await?))
    }

    async fn next_chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
        match tokio::time::timeout(self.timeouts.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Failure::NoAnswer(NoAnswer::ConnectionLost, transport::error_chain(error))),
            Err(_) => Err(Failure::NoAnswer(NoAnswer::Timeout, "the download stalled".to_owned())),
        }
    }

    async fn with_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, MediaFailure>>,
    ) -> Result<T, MediaFailure> {
        let timed_out = || Failure::NoAnswer(NoAnswer::Timeout, "the download timed out".to_owned());
        tokio::time::timeout(self.timeouts.total, work).await.unwrap_or_else(|_| Err(timed_out().into()))
    }
}

/// Reads a response that is WeChat's own JSON; `None` for any other body, which is a file.
fn parse_json_response(body: &[u8], secret: &str) -> Result<Option<MediaResponse>, Failure> {
    let Ok(response) = json::from_slice::<ApiResponse>(body) else { return Ok(None) };
    match (response.errcode, response.video_url) {
        (Some(code), _) if code != 0 => {
            Err(Failure::Code { code, msg: transport::sanitize_errmsg(&response.errmsg, secret) })
        }
        (_, Some(url)) => Ok(Some(MediaResponse::Url(url))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
