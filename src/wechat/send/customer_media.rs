//! Downloads customers' media from WeChat (reference: "Download") to disk, bounded in size and
//! time.
//!
//! WeChat responds with the file, or with JSON under any content type: a return code, or for a
//! video the URL of the file. If WeChat does not return the file, the URL from the push is tried,
//! through the guarded downloader.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::client::{Client, Failure, said};
use super::code::{self, Class};
use super::courier::PLATFORM;
use super::token::Token;
use super::wire::{self, Lost};
use crate::bridge::MediaUnavailable;
use crate::media::download::{DownloadError, Downloader};
use crate::media::{Files, FilesError, StoredFile};
use crate::metrics::Metrics;
use crate::model::{MediaRequest, NoAnswer};
use crate::outbox::fetch::{FetchError, Provider};
use crate::outbox::rate_limit::RateLimiter;

/// The API's name in metrics.
const MEDIA_GET: &str = "media_get";
/// A response longer than this, in bytes, is a file and is not checked for JSON.
const MAX_JSON: usize = 64 * 1024;

/// The time limits of a download.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From connecting to the last byte.
    pub whole: Duration,
    /// Between two pieces of the body.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { whole: Duration::from_mins(2), stall: Duration::from_secs(10) }
    }
}

/// Downloads customers' media.
#[derive(Debug)]
pub struct CustomerMedia {
    /// The API; `None` without AppID and AppSecret.
    pub client: Option<Arc<Client>>,
    /// Downloads from URLs that came in pushes or responses.
    pub downloader: Downloader,
    /// The rate limit of `media/get`.
    pub pace: Arc<RateLimiter>,
    /// The metrics.
    pub metrics: Metrics,
    /// The time limits of a download.
    pub patience: Patience,
}

/// WeChat's response for a media_id: the file, or a URL of it.
#[derive(Debug)]
enum Given {
    File(StoredFile),
    At(String),
}

/// Why a download from WeChat failed.
#[derive(Debug)]
enum Refused {
    Call(Failure),
    Files(FilesError),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<FilesError> for Refused {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

#[derive(Deserialize)]
struct Answer {
    errcode: Option<i64>,
    #[serde(default)]
    errmsg: String,
    video_url: Option<String>,
}

impl Provider for CustomerMedia {
    fn fetch<'a>(
        &'a self,
        wanted: &'a MediaRequest,
        files: &'a Files,
        max_bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<StoredFile, FetchError>> + Send + 'a>> {
        Box::pin(async move {
            let mut missed = None;
            for id in &wanted.ids {
                match self.get(id, files, max_bytes).await {
                    Ok(stored) => return Ok(stored),
                    Err(again @ FetchError::Retry { .. }) => {
                        // The next media_id is a worse version of the same file. It does not help
                        // against a temporary fault.
                        missed = Some(again);
                        break;
                    }
                    Err(never) => missed = Some(never),
                }
            }
            let Some(url) = &wanted.url else { return Err(missed.unwrap_or_else(nowhere)) };
            match self.downloader.download(url, files, max_bytes).await {
                Ok(stored) => Ok(stored),
                Err(error) => Err(missed.unwrap_or_else(|| not_downloaded(&error))),
            }
        })
    }
}

fn nowhere() -> FetchError {
    FetchError::Permanent {
        reason: MediaUnavailable::NoCredentials,
        why: "there is no source to fetch it from".to_owned(),
    }
}

fn not_downloaded(error: &DownloadError) -> FetchError {
    let why = error.to_string();
    match error {
        DownloadError::TooLarge(_) => FetchError::Permanent { reason: MediaUnavailable::TooLarge, why },
        error if error.is_retryable() => FetchError::Retry { why },
        _ => FetchError::Permanent { reason: MediaUnavailable::NotFound, why },
    }
}

fn missed(refused: Refused) -> FetchError {
    match refused {
        Refused::Files(error @ FilesError::TooLarge(_)) => {
            FetchError::Permanent { reason: MediaUnavailable::TooLarge, why: error.to_string() }
        }
        Refused::Files(error) => FetchError::Retry { why: error.to_string() },
        Refused::Call(failure) => {
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

impl CustomerMedia {
    async fn get(&self, id: &str, files: &Files, max_bytes: u64) -> Result<StoredFile, FetchError> {
        let Some(client) = &self.client else { return Err(nowhere()) };
        self.pace.until_ready(MEDIA_GET).await;
        let started = Instant::now();
        let given = self.ask(client, id, files, max_bytes).await;
        let outcome = match &given {
            Err(Refused::Call(failure)) => said::<()>(&Err(failure.clone())),
            Err(Refused::Files(FilesError::TooLarge(_))) => "too_large",
            Ok(_) | Err(Refused::Files(_)) => "ok",
        };
        self.metrics.record_call(PLATFORM, MEDIA_GET, outcome, started.elapsed());
        if let Err(Refused::Call(Failure::Code { code: code::MINUTE_QUOTA, .. })) = &given {
            self.pace.slow_down(MEDIA_GET);
        }
        match given.map_err(missed)? {
            Given::File(stored) => Ok(stored),
            Given::At(url) => self.video(client, &url, files, max_bytes).await,
        }
    }

    /// Downloads a video from the URL that WeChat returned.
    async fn video(
        &self,
        client: &Client,
        url: &str,
        files: &Files,
        max: u64,
    ) -> Result<StoredFile, FetchError> {
        let own = Url::parse(url).ok().filter(|url| url.origin() == client.base.origin());
        let Some(own) = own else {
            return self.downloader.download(url, files, max).await.map_err(|error| not_downloaded(&error));
        };
        // A URL on the API's own origin is as trusted as the response itself, so it bypasses the
        // guard.
        let given =
            self.in_time(async { self.pour(self.open(client, own).await?, "", files, max).await }).await;
        match given.map_err(missed)? {
            Given::File(stored) => Ok(stored),
            Given::At(_) => Err(FetchError::Retry { why: "the video's URL leads to another URL".to_owned() }),
        }
    }

    /// Calls `media/get` once, and a second time if the access token was stale.
    async fn ask(&self, client: &Client, id: &str, files: &Files, max: u64) -> Result<Given, Refused> {
        let mut token = client.tokens.current().await.map_err(Failure::from)?;
        let mut given = self.in_time(self.attempt(client, &token, id, files, max)).await;
        let stale = |code: i64| code::class(code) == Class::Token;
        if matches!(&given, Err(Refused::Call(Failure::Code { code, .. })) if stale(*code)) {
            token = client.tokens.rejected(token.generation).await.map_err(Failure::from)?;
            given = self.in_time(self.attempt(client, &token, id, files, max)).await;
        }
        match &given {
            Ok(_) => client.note(&Ok(())),
            Err(Refused::Call(failure)) => client.note::<()>(&Err(failure.clone())),
            Err(Refused::Files(_)) => {}
        }
        given
    }

    async fn attempt(
        &self,
        client: &Client,
        token: &Token,
        id: &str,
        files: &Files,
        max: u64,
    ) -> Result<Given, Refused> {
        let secret = token.value.expose_secret();
        let mut url = wire::endpoint(&client.base, "cgi-bin/media/get");
        url.query_pairs_mut().append_pair("access_token", secret).append_pair("media_id", id);
        self.pour(self.open(client, url).await?, secret, files, max).await
    }

    async fn open(&self, client: &Client, url: Url) -> Result<Response, Refused> {
        let request = client.http.get(url).timeout(self.patience.whole);
        let response = request.send().await.map_err(|error| match wire::lost(error) {
            Lost::NotSent(why) => Failure::NotSent(why),
            Lost::NoAnswer(silence, why) => Failure::NoAnswer(silence, why),
        })?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                let status = status.as_u16();
                Err(Failure::NoAnswer(NoAnswer::Status(status), format!("HTTP {status}")).into())
            }
        }
    }

    /// Writes a response body into `files`, unless it is JSON with a return code or a URL.
    async fn pour(
        &self,
        mut response: Response,
        secret: &str,
        files: &Files,
        max: u64,
    ) -> Result<Given, Refused> {
        if response.content_length().is_some_and(|length| length > max) {
            return Err(FilesError::TooLarge(max).into());
        }
        let mut incoming = files.create(max).await?;
        let mut json = Some(Vec::new());
        while let Some(chunk) = self.chunk(&mut response).await? {
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
            if let Some(given) = said_in_json(&start, secret)? {
                return Ok(given);
            }
            if start.is_empty() {
                return Err(
                    Failure::NoAnswer(NoAnswer::Unreadable, "the response is empty".to_owned()).into()
                );
            }
            incoming.write(&start).await?;
        }
        Ok(Given::File(incoming.finish().await?))
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
        match tokio::time::timeout(self.patience.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Failure::NoAnswer(NoAnswer::ConnectionLost, wire::reason(error))),
            Err(_) => Err(Failure::NoAnswer(NoAnswer::Timeout, "the download stalled".to_owned())),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
        let late = || Failure::NoAnswer(NoAnswer::Timeout, "the download timed out".to_owned());
        tokio::time::timeout(self.patience.whole, work).await.unwrap_or_else(|_| Err(late().into()))
    }
}

/// Reads a response that is WeChat's own JSON; `None` for any other body, which is a file.
fn said_in_json(body: &[u8], secret: &str) -> Result<Option<Given>, Failure> {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return Ok(None) };
    match (answer.errcode, answer.video_url) {
        (Some(code), _) if code != 0 => {
            Err(Failure::Code { code, msg: wire::errmsg(&answer.errmsg, secret) })
        }
        (_, Some(url)) => Ok(Some(Given::At(url))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
