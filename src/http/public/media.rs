//! `/media/{file}`: media by signed link, for agents' clients and customers.
//!
//! A link that is not ours, or no longer valid, is refused before anything else is looked at. Files are streamed from
//! disk, in whole or one range of them, as what their bytes say they are; nothing is listed. A link to a smaller copy of
//! a picture leads to the picture where there is no copy.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::AsyncReadExt as _;
use tower_http::services::ServeFile;

use super::{Desk, text};
use crate::media::kind::HEAD_BYTES;
use crate::media::{Awaited, Kind, Scale};
use crate::model::MediaHash;

/// How long a medium that is still being fetched is waited for.
const WAIT: Duration = Duration::from_secs(10);

/// A file, if the link to it is good and it can be had in time.
pub(super) async fn serve(
    State(desk): State<Arc<Desk>>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let public = &desk.public;
    let media = public.bridge.media();
    let Some(asked) = media.links.open(&file, &query.unwrap_or_default(), public.clock.now()) else {
        return not_found();
    };
    let hash = match media.arrivals.file(public.bridge.store(), &asked.name, WAIT).await {
        Ok(Awaited::Here(hash)) => hash,
        Ok(Awaited::Never) => return not_found(),
        Ok(Awaited::NotYet) => return not_yet(),
        Err(error) => return unavailable(&error),
    };
    let kind = match kind_of(&desk, &hash).await {
        Ok(Some(kind)) => kind,
        Ok(None) => return not_found(),
        Err(error) => return unavailable(&error),
    };
    let copy = match Scale::of_extension(&asked.extension) {
        Some(scale) if kind.is_image() => media.scaler.copy(&hash, scale).await,
        _ => None,
    };
    let (path, kind) = copy.map_or_else(|| (media.files.path(&hash), kind), |copy| (copy, Kind::Jpeg));
    send(&desk, &path, kind, asked.name.as_str(), request).await
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "")
}

/// The client may ask again.
fn not_yet() -> Response {
    let mut response = text(StatusCode::NOT_FOUND, "not here yet");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn unavailable(error: &dyn std::fmt::Display) -> Response {
    tracing::debug!(%error, "a medium cannot be served");
    text(StatusCode::SERVICE_UNAVAILABLE, "")
}

async fn kind_of(desk: &Desk, hash: &MediaHash) -> Result<Option<Kind>, crate::media::FilesError> {
    let Some(file) = desk.public.bridge.media().files.read(hash).await? else { return Ok(None) };
    let mut head = Vec::with_capacity(HEAD_BYTES);
    // What cannot be read now fails once more, and visibly, where it is sent.
    let _ = file.take(HEAD_BYTES as u64).read_to_end(&mut head).await;
    Ok(Some(Kind::of(&head)))
}

async fn send(desk: &Desk, path: &std::path::Path, kind: Kind, name: &str, request: Request) -> Response {
    let Ok(mime) = kind.mime().parse() else { return not_found() };
    let is_get = request.method() == Method::GET;
    let sent = match ServeFile::new_with_mime(path, &mime).try_call(request).await {
        Ok(sent) => sent,
        Err(error) => return unavailable(&error),
    };
    let mut response = sent.map(Body::new).into_response();
    if !(response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED) {
        return response;
    }
    // Shown in place only where a client has something to show; nothing is ever run.
    let place = if kind.is_image() || kind.is_sound() || kind == Kind::Mp4 { "inline" } else { "attachment" };
    let called = format!("{place}; filename=\"{}.{}\"", name.get(..8).unwrap_or(name), kind.extension());
    let fixed: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, &called),
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
    desk.public.metrics.media_bytes("served", length.filter(|_| is_get).unwrap_or(0));
    response
}
