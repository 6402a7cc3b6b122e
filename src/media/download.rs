//! Downloads files from URLs written by untrusted clients: restricted by rules, bounded in size and
//! time, never held in memory as a whole.
//!
//! A host's IP addresses are checked by the resolver of the connection itself, so a name that
//! resolves differently a moment later gains nothing. Redirects are followed by hand, and each
//! target is checked.

mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Forbidden, Rules, UrlOrigin, is_public};

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode, redirect};
use url::Url;

use super::{Files, FilesError, StoredFile};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// The time limit for connecting, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The time limits of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first connection to the last byte, including redirects.
    pub total: Duration,
    /// The longest wait without a single byte.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { total: Duration::from_secs(30), idle: Duration::from_secs(10) }
    }
}

/// Why a download failed. Contains no URL, because IM's URLs carry signatures.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A rule of `[media]` forbids the URL.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The file is larger than this many bytes.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The download took too long.
    #[error("the download timed out")]
    TimedOut,
    /// The server answered with this HTTP status instead of the file.
    #[error("the server answered {0}")]
    Status(u16),
    /// The server could not be reached, or the connection broke off.
    #[error("the server is unreachable or broke off the connection")]
    Unreachable,
    /// The file could not be stored.
    #[error("the file cannot be stored")]
    Disk(#[source] FilesError),
}

impl From<FilesError> for DownloadError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::TooLarge(max) => Self::TooLarge(max),
            FilesError::Io { .. } | FilesError::Store(_) => Self::Disk(error),
        }
    }
}

impl DownloadError {
    /// Whether the same download may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Forbidden(_) | Self::TooLarge(_) => false,
            Self::TimedOut | Self::Unreachable | Self::Disk(_) => true,
            Self::Status(status) => matches!(status, 408 | 425 | 429 | 500..),
        }
    }

    /// The metric label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::TooLarge(_) => "too_large",
            Self::TimedOut => "timed_out",
            Self::Status(_) => "status",
            Self::Unreachable => "unreachable",
            Self::Disk(_) => "disk",
        }
    }
}

/// Downloads files within the rules.
#[derive(Clone, Debug)]
pub struct Downloader {
    http: reqwest::Client,
    rules: Rules,
    timeouts: Timeouts,
}

impl Downloader {
    /// Creates a downloader. Fails if the TLS library cannot be initialised.
    pub fn new(rules: Rules, timeouts: Timeouts) -> reqwest::Result<Self> {
        let http = crate::http_client::builder()
            // A proxy would resolve names itself and bypass the guard.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(timeouts.idle)
            .dns_resolver(Arc::new(PublicResolver { allow_private: rules.allow_private }))
            .build()?;
        Ok(Self { http, rules, timeouts })
    }

    /// Downloads `url`, at most `max` bytes, into `files`. A failed download leaves no file.
    pub async fn download(&self, url: &str, files: &Files, max: u64) -> Result<StoredFile, DownloadError> {
        self.download_from(url, UrlOrigin::Client, files, max).await
    }

    /// Downloads in the same way a `url` that `origin` wrote.
    pub async fn download_from(
        &self,
        url: &str,
        origin: UrlOrigin,
        files: &Files,
        max: u64,
    ) -> Result<StoredFile, DownloadError> {
        let url = self.rules.check(url, origin)?;
        let download = async {
            let response = self.open(url, origin).await?;
            save_body(response, files, max).await
        };
        tokio::time::timeout(self.timeouts.total, download).await.unwrap_or(Err(DownloadError::TimedOut))
    }

    /// Returns the response with the file, after redirects.
    async fn open(&self, mut url: Url, origin: UrlOrigin) -> Result<Response, DownloadError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.http.get(url.clone()).send().await.map_err(|error| classify_error(&error))?;
            let status = response.status();
            if status == StatusCode::OK {
                return Ok(response);
            }
            let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(target) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
                return Err(DownloadError::Status(status.as_u16()));
            };
            let target = target.to_str().map_err(|_| Forbidden::InvalidUrl)?;
            url = url.join(target).map_err(|_| Forbidden::InvalidUrl)?;
            self.rules.check_url(&url, origin)?;
        }
        Err(Forbidden::TooManyRedirects.into())
    }
}

async fn save_body(mut response: Response, files: &Files, max: u64) -> Result<StoredFile, DownloadError> {
    if response.content_length().is_some_and(|length| length > max) {
        return Err(DownloadError::TooLarge(max));
    }
    let mut incoming = files.create(max).await?;
    while let Some(chunk) = response.chunk().await.map_err(|error| classify_error(&error))? {
        incoming.write(&chunk).await?;
    }
    Ok(incoming.finish().await?)
}

fn classify_error(error: &reqwest::Error) -> DownloadError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<NoPublicAddress>() {
            return Forbidden::Address.into();
        }
        cause = inner.source();
    }
    if error.is_timeout() { DownloadError::TimedOut } else { DownloadError::Unreachable }
}

/// None of a host's addresses is public.
#[derive(Debug, thiserror::Error)]
#[error("the host has no public address")]
struct NoPublicAddress;

/// Resolves names to public addresses only; no other address can be connected to.
#[derive(Debug)]
struct PublicResolver {
    allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> =
                addresses.filter(|address| allow_private || is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}
