//! Pictures, sounds and files of a phone or a desk, under the page's own origin.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use crate::sandbox::session::Session;

/// The largest file, in bytes: the bridge's own limit.
const FILE_LIMIT: usize = 20 * 1024 * 1024;
/// How long the bridge or a platform may take to send the file.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Types that the browser may show. It can only save files of other types.
const INLINE_TYPES: [&str; 8] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "audio/mpeg",
    "audio/amr",
    "audio/wav",
    "video/mp4",
];

/// `GET /api/media/KEY`.
pub(super) async fn media(State(session): State<Arc<Session>>, Path(key): Path<String>) -> Response {
    let found = match session.stage.wechat.media(&key) {
        Some(media) => Some((media.content_type.to_owned(), media.bytes.clone())),
        None => match session.url_of_link(&key) {
            Some(url) => fetch(&session.http, &url).await,
            None => None,
        },
    };
    let Some((content_type, bytes)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let inline_type = INLINE_TYPES.into_iter().find(|shown| *shown == content_type);
    let disposition = if inline_type.is_some() { "inline" } else { "attachment" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(inline_type.unwrap_or("application/octet-stream"))),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    (headers, bytes).into_response()
}

/// Loads a file as an agent's client would. `None` if that fails or the file is too large.
async fn fetch(http: &reqwest::Client, url: &str) -> Option<(String, Bytes)> {
    let mut response = http.get(url).timeout(TIMEOUT).send().await.ok()?.error_for_status().ok()?;
    let content_type = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > FILE_LIMIT {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some((content_type, bytes.into()))
}
