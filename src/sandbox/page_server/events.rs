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

use crate::sandbox::session::{Change, ChangeBatch, Reader, Session, event};

/// Changes that are rendered in one batch.
const BATCH: usize = 64;
/// The interval of comment lines without data, which reveal a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The query of the event stream.
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<u64>,
}

/// `GET /api/events?after=SEQ`. A browser that reconnects by itself sends its position in the
/// header `last-event-id`.
pub(super) async fn events(
    State(session): State<Arc<Session>>,
    Query(EventsQuery { after }): Query<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    // Without a position, start with the next change.
    let from = last.or(after).unwrap_or_else(|| session.event_log.newest());
    let Some(reader) = session.reader() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let body = Body::from_stream(stream::unfold(Some(EventStream { reader, from }), next_events));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

struct EventStream {
    reader: Reader,
    from: u64,
}

type Chunk = Result<String, std::convert::Infallible>;

/// Waits for the next events. The stream ends after `reload`.
async fn next_events(stream: Option<EventStream>) -> Option<(Chunk, Option<EventStream>)> {
    let mut stream = stream?;
    let session = Arc::clone(&stream.reader.session);
    let mut signal = session.event_log.subscribe();
    loop {
        signal.mark_unchanged();
        match session.event_log.since(stream.from, BATCH) {
            ChangeBatch::Unavailable => {
                return Some((Ok(format_event(session.event_log.newest(), "reload", "{}")), None));
            }
            ChangeBatch::Changes(_, changes) if changes.is_empty() => {
                tokio::select! {
                    result = signal.changed() => result.ok()?,
                    () = tokio::time::sleep(KEEP_ALIVE) => return Some((Ok(": still here\n\n".to_owned()), Some(stream))),
                    () = session.stop.cancelled() => return None,
                }
            }
            ChangeBatch::Changes(last, changes) => {
                let is_end = changes.iter().any(|change| matches!(change, Change::Everything));
                let text = render(&session, stream.from, &changes);
                stream.from = last;
                return Some((Ok(text), (!is_end).then_some(stream)));
            }
        }
    }
}

/// The changes as events. A part that changes several times is rendered only at its last change,
/// because the rendered version is the newest anyway.
fn render(session: &Session, from: u64, changes: &[Change]) -> String {
    let mut rendered = HashSet::new();
    let mut events: Vec<String> = Vec::new();
    let numbered: Vec<_> = (from + 1..).zip(changes).collect();
    for (number, change) in numbered.into_iter().rev() {
        let part = match change {
            Change::Wire(_) | Change::Latency(_) => None,
            change => Some(format!("{change:?}")),
        };
        if part.is_none_or(|part| rendered.insert(part)) {
            let (name, data) = event(session, change);
            events.push(format_event(number, name, &data.to_string()));
        }
    }
    events.reverse();
    events.concat()
}

fn format_event(number: u64, name: &str, data: &str) -> String {
    format!("id: {number}\nevent: {name}\ndata: {data}\n\n")
}
