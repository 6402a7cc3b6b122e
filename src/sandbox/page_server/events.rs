//! Server-sent events about changes of the state, rendered when they are sent. The server never
//! waits for a reader, and keeps only the number up to which it has read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;

use crate::sandbox::live::{Change, Live, Reader, Since, event};

/// Changes that are rendered in one batch.
const AT_ONCE: usize = 64;
/// The interval of comment lines without data, which reveal a broken connection.
const BEAT: Duration = Duration::from_secs(15);

/// The query of the event stream.
#[derive(Deserialize)]
pub(super) struct After {
    after: Option<u64>,
}

/// `GET /api/events?after=SEQ`. A browser that reconnects by itself sends its position in the
/// header `last-event-id`.
pub(super) async fn events(
    State(live): State<Arc<Live>>,
    Query(After { after }): Query<After>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    // Without a position, start with the next change.
    let from = last.or(after).unwrap_or_else(|| live.book.newest());
    let Some(reader) = live.reader() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let body = Body::from_stream(stream::unfold(Some(Reading { reader, from }), next));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

struct Reading {
    reader: Reader,
    from: u64,
}

type Piece = Result<String, std::convert::Infallible>;

/// Waits for the next events. The stream ends after `reload`.
async fn next(reading: Option<Reading>) -> Option<(Piece, Option<Reading>)> {
    let mut reading = reading?;
    let live = Arc::clone(&reading.reader.live);
    let mut bell = live.book.bell();
    loop {
        bell.mark_unchanged();
        match live.book.since(reading.from, AT_ONCE) {
            Since::Lost => return Some((Ok(told(live.book.newest(), "reload", "{}")), None)),
            Since::These(_, changes) if changes.is_empty() => {
                tokio::select! {
                    rung = bell.changed() => rung.ok()?,
                    () = tokio::time::sleep(BEAT) => return Some((Ok(": still here\n\n".to_owned()), Some(reading))),
                    () = live.stop.cancelled() => return None,
                }
            }
            Since::These(last, changes) => {
                let is_end = changes.iter().any(|change| matches!(change, Change::Everything));
                let text = draw(&live, reading.from, &changes);
                reading.from = last;
                return Some((Ok(text), (!is_end).then_some(reading)));
            }
        }
    }
}

/// The changes as events. A part that changes several times is rendered only at its last change,
/// because the rendered version is the newest anyway.
fn draw(live: &Live, from: u64, changes: &[Change]) -> String {
    let mut drawn = HashSet::new();
    let mut events: Vec<String> = Vec::new();
    let numbered: Vec<_> = (from + 1..).zip(changes).collect();
    for (number, change) in numbered.into_iter().rev() {
        let part = match change {
            Change::Wire(_) | Change::Latency(_) => None,
            change => Some(format!("{change:?}")),
        };
        if part.is_none_or(|part| drawn.insert(part)) {
            let (name, data) = event(live, change);
            events.push(told(number, name, &data.to_string()));
        }
    }
    events.reverse();
    events.concat()
}

fn told(number: u64, name: &str, data: &str) -> String {
    format!("id: {number}\nevent: {name}\ndata: {data}\n\n")
}
