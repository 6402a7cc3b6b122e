//! The operators' surface: is it alive, can it accept, what does it count.
//!
//! Must stay cheap and must answer while everything else is stuck: the store is asked at most once a second,
//! by one caller at a time, and never waited for longer than a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::lifecycle::{self, Readiness};
use crate::metrics::Metrics;
use crate::store::{Counts, Store};

/// How old a look into the store may be, and how long one is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// The fact that a look writes.
const LOOKED_AT: &str = "looked_at";
/// What the metrics' encoder writes is OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How one part of the whole is doing.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Whether it does what it should.
    pub ok: bool,
    /// Since when it does not, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// What is wrong; no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Whatever else is worth knowing; its keys stand beside the others.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Part {
    /// Nothing is wrong.
    pub fn well() -> Self {
        Self { ok: true, since: None, why: None, advice: None, extra: Map::new() }
    }
}

/// Says how a platform is doing; must not block.
pub type Health = Arc<dyn Fn() -> Part + Send + Sync>;

/// What the operators' surface is built from.
pub struct Ops {
    /// The backlog, and whether commits succeed.
    pub store: Store,
    /// What is shown under `/metrics`.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Whether the process is up, starting or stopping.
    pub readiness: Readiness,
    /// How Tencent IM is doing.
    pub im: Health,
    /// How WeChat is doing.
    pub wechat: Health,
    /// How the directory of the media files is doing.
    pub media: Health,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// The routes.
pub fn router(ops: Ops) -> Router {
    let desk = Desk { ops, looking: Arc::new(Semaphore::new(1)), seen: Arc::default() };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(desk))
}

struct Desk {
    ops: Ops,
    looking: Arc<Semaphore>,
    seen: Arc<Mutex<Option<(Instant, Counts)>>>,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    store: Part,
    im: Part,
    wechat: Part,
    media: Part,
    backlog: Backlog,
}

/// `null` until the store has once been looked into.
#[derive(Clone, Copy, Serialize)]
struct Backlog {
    waiting: Option<i64>,
    oldest_s: Option<i64>,
    held: Option<i64>,
}

async fn readyz(State(desk): State<Arc<Desk>>) -> Response {
    let backlog = desk.backlog().await;
    let store = desk.store();
    let (im, wechat, media) = ((desk.ops.im)(), (desk.ops.wechat)(), (desk.ops.media)());
    let why = match desk.ops.readiness.state() {
        lifecycle::State::Starting => Some("starting"),
        lifecycle::State::Ready => None,
        lifecycle::State::Stopping => Some("shutting down"),
    };
    let (code, status) = if why.is_some() || !store.ok {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else if im.ok && wechat.ok && media.ok {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::OK, "degraded")
    };
    match serde_json::to_string(&Ready { status, why, store, im, wechat, media, backlog }) {
        Ok(ready) => {
            let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (code, [json], ready).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let Backlog { waiting, oldest_s, held } = desk.backlog().await;
    let [waiting, oldest_s, held] = [waiting, oldest_s, held].map(Option::unwrap_or_default);
    match desk.ops.metrics.render(waiting, oldest_s, held) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Desk {
    fn store(&self) -> Part {
        let Some(failing) = self.ops.store.failing() else { return Part::well() };
        Part {
            ok: false,
            since: Some(failing.since.seconds()),
            why: Some(failing.why),
            advice: Some(
                "pushes and callbacks are refused until the store commits again, and the platforms repeat them \
                 only for seconds: free disk space, make the database and its folder writable, or repair the disk"
                    .to_owned(),
            ),
            extra: Map::new(),
        }
    }

    /// The backlog, at most about a second old unless the store is slower than that.
    async fn backlog(&self) -> Backlog {
        let _ = tokio::time::timeout(LOOK, self.look()).await;
        let now = self.ops.clock.now();
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = seen.map(|(_, counts)| counts);
        let age_s = |counts: Counts| counts.oldest.map_or(0, |oldest| now.since(oldest).max(0) / 1000);
        Backlog {
            waiting: counts.map(|counts| counts.waiting),
            oldest_s: counts.map(age_s),
            held: counts.map(|counts| counts.held),
        }
    }

    /// Looks by a write: a store that can still be read may long be unable to commit, and on a quiet day nobody
    /// else would notice.
    async fn look(&self) {
        let Ok(turn) = Arc::clone(&self.looking).acquire_owned().await else { return };
        let is_fresh = |seen: &(Instant, Counts)| seen.0.elapsed() < LOOK;
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_fresh) {
            return;
        }
        let (store, seen) = (self.ops.store.clone(), Arc::clone(&self.seen));
        // A task of its own, so that callers who give up do not pile looks upon each other.
        let look = tokio::spawn(async move {
            let _turn = turn;
            // The commit is all that the writer is asked for: counting a long backlog is the reader's work.
            let committed = store.write(|tx| tx.put_fact(LOOKED_AT, &tx.now().0.to_string())).await;
            if committed.is_err() {
                return;
            }
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method itself is not general over the transaction's lifetime"
            )]
            let counts = store.read(|tx| tx.counts()).await;
            if let Ok(counts) = counts {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), counts));
            }
        });
        let _ = look.await;
    }
}

#[cfg(test)]
mod tests;
