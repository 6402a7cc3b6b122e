//! `/media/{file}`: media by signed link, for agents' clients and customers.
//!
//! A link that is not ours or no longer valid is refused first. Files are streamed from disk, whole
//! or as one range, with the content type that their bytes show; there is no listing. A link to a
//! smaller copy of a picture returns the picture itself if there is no copy. Downloads have their
//! own slots, so slow downloads never block pushes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncReadExt as _;
use tower_http::services::ServeFile;

use super::download_slots::DownloadSlot;
use super::{PublicState, text};
use crate::http::peer::ClientAddress;
use crate::media::file_type::HEAD_BYTES;
use crate::media::link::LinkTarget;
use crate::media::{FileType, Scale, WaitOutcome};
use crate::model::MediaHash;

/// The slowest accepted average download rate, in bytes per second, after [`GRACE`].
const MIN_BYTES_PER_S: u64 = 16 * 1024;
/// The time that every download may take, whatever its rate.
const GRACE: Duration = Duration::from_mins(1);
/// How long a request waits for a medium that is still being fetched.
const WAIT: Duration = Duration::from_secs(10);

/// Serves a file, if the link is valid and the file arrives in time.
pub(super) async fn serve(
    State(state): State<Arc<PublicState>>,
    file: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Response {
    let public = &state.public;
    let media = public.bridge.media();
    // A path that does not decode to UTF-8 is not a link of ours.
    let file = file.map_or_else(|_| String::new(), |Path(file)| file);
    let Some(link) = media.links.verify(&file, &query.unwrap_or_default(), public.clock.now()) else {
        return not_found();
    };
    if !asks_for_one_range(request.headers()) {
        request.headers_mut().remove(header::RANGE);
    }
    let client = request.extensions().get::<ClientAddress>().copied();
    // Waiting for the file takes a slot as well, because it asks the store.
    let slot = match state.downloads.begin(link.name.as_str(), client) {
        Ok(slot) => slot,
        Err(full) => {
            public.metrics.record_refused_download(full.name());
            return full.into_response();
        }
    };
    let hash = match media.fetch_events.wait_urgent(public.bridge.store(), &link.name, WAIT).await {
        Ok(WaitOutcome::Ready(hash)) => hash,
        Ok(WaitOutcome::Unavailable) => return not_found(),
        Ok(WaitOutcome::Pending) => return not_yet(),
        Err(error) => return unavailable(&error),
    };
    let kind = match kind_of(&state, &hash).await {
        Ok(Some(kind)) => kind,
        Ok(None) => return not_found(),
        Err(error) => return unavailable(&error),
    };
    let copy = match Scale::from_extension(&link.extension) {
        Some(scale) if kind.is_image() => media.scaler.copy(&hash, scale).await,
        _ => None,
    };
    let (path, kind) = copy.map_or_else(|| (media.files.path(&hash), kind), |copy| (copy, FileType::Jpeg));
    send(&state, &path, kind, &disposition(&link, kind), request, slot).await
}

/// The `Content-Disposition`: only pictures, recordings and videos are shown inline, and a file that an
/// agent sent keeps its name.
fn disposition(link: &LinkTarget, kind: FileType) -> String {
    let shown = kind.is_image() || kind.is_audio() || kind.is_video();
    let disposition_type = if shown { "inline" } else { "attachment" };
    let short = link.name.as_str().get(..8).unwrap_or_default();
    let plain = format!("{disposition_type}; filename=\"{short}.{}\"", kind.extension());
    match link.file_name() {
        // RFC 6266: the second form is for clients that know it.
        Some(name) => format!("{plain}; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
        None => plain,
    }
}

/// Whether `Range` is one range of bytes. Any other `Range` is ignored and the whole file served
/// (RFC 9110, 14.2).
fn asks_for_one_range(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return false };
    let Some((first, last)) =
        range.to_str().ok().and_then(|range| range.strip_prefix("bytes=")?.trim().split_once('-'))
    else {
        return false;
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ordered = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first <= last,
        _ => !(first.is_empty() && last.is_empty()),
    };
    is_number(first) && is_number(last) && is_ordered
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "")
}

/// The response while the file is still being fetched: the client may retry.
fn not_yet() -> Response {
    let mut response = text(StatusCode::NOT_FOUND, "not here yet");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn unavailable(error: &dyn std::fmt::Display) -> Response {
    tracing::debug!(%error, "cannot serve a medium");
    text(StatusCode::SERVICE_UNAVAILABLE, "")
}

async fn kind_of(
    state: &PublicState,
    hash: &MediaHash,
) -> Result<Option<FileType>, crate::media::FilesError> {
    let Some(file) = state.public.bridge.media().files.read(hash).await? else { return Ok(None) };
    let mut head = Vec::with_capacity(HEAD_BYTES);
    // If reading fails here, it fails again below, where the error reaches the client.
    let _ = file.take(HEAD_BYTES as u64).read_to_end(&mut head).await;
    Ok(Some(FileType::detect(&head)))
}

async fn send(
    state: &PublicState,
    path: &std::path::Path,
    kind: FileType,
    disposition: &str,
    request: Request,
    slot: DownloadSlot,
) -> Response {
    let Ok(mime) = kind.mime().parse() else { return not_found() };
    let is_get = request.method() == Method::GET;
    let response = match ServeFile::new_with_mime(path, &mime).try_call(request).await {
        Ok(sent) => sent,
        Err(error) => return unavailable(&error),
    };
    let mut response = response.map(Body::new).into_response();
    if !(response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED) {
        return response;
    }
    // The policy below forbids scripts.
    let fixed: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    for (name, value) in fixed {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    let length =
        response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    state.public.metrics.media_bytes("served", length.filter(|_| is_get).unwrap_or(0));
    let allowed = GRACE.saturating_add(Duration::from_secs(length.unwrap_or(0) / MIN_BYTES_PER_S));
    response.map(|body| Body::new(DownloadBody { body, deadline: Instant::now() + allowed, _slot: slot }))
}

/// The body of a download with its slot; it fails when the download is too slow.
struct DownloadBody {
    body: Body,
    deadline: Instant,
    _slot: DownloadSlot,
}

impl http_body::Body for DownloadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Hyper polls after the client has read some bytes. A client that reads none is cut off by
        // the connection.
        if Instant::now() > self.deadline {
            return Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::download_slots::DownloadSlots;
    use super::*;

    async fn read_download(until: Instant) -> Option<Bytes> {
        let slot = DownloadSlots::default().begin("link", None).unwrap();
        let body = DownloadBody { body: Body::from("file"), deadline: until, _slot: slot };
        Some(body.collect().await.ok()?.to_bytes())
    }

    #[tokio::test]
    async fn a_download_that_takes_too_long_fails() {
        let now = Instant::now();
        assert_eq!(read_download(now + GRACE).await, Some(Bytes::from_static(b"file")));
        assert_eq!(read_download(now.checked_sub(GRACE).unwrap()).await, None);
    }
}
