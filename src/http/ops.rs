//! The operators' endpoints: liveness, readiness and metrics.
//!
//! Must stay cheap and must respond while everything else is stuck: reads the store at most once a
//! second, for one caller at a time, and never waits for it longer than a second.

mod parts;

use parking_lot::Mutex;
use std::sync::Arc;
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
use crate::model::Millis;
use crate::store::{Counts, Scope, Store};

pub use parts::{ComponentStatus, Parts, StatusFn};

/// The greatest age of the counts read from the store, and the longest wait for reading them.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// The key in the store's `kv` table that each check writes.
const CHECKED_AT: &str = "checked_at";
/// The part without which no push can be accepted.
const STORE: &str = "store";
/// The part that sends messages.
const LANES: &str = "lanes";
/// How long a message may wait before that counts as trouble, seconds.
const MAX_WAIT_S: i64 = 60;
/// The content type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The dependencies of the operators' endpoints.
pub struct Ops {
    /// The store, for the backlog and for whether commits succeed.
    pub store: Store,
    /// The metrics for `/metrics`.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
    /// Whether the process is starting, ready or stopping.
    pub readiness: Readiness,
    /// The parts whose status `/readyz` shows, beside the store and the backlog.
    pub parts: Parts,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

/// The routes of the operators' listener.
pub fn router(ops: Ops) -> Router {
    let state = OpsState { ops, read_permit: Arc::new(Semaphore::new(1)), cached_counts: Arc::default() };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(state))
}

struct OpsState {
    ops: Ops,
    read_permit: Arc<Semaphore>,
    cached_counts: Arc<Mutex<Option<(Instant, Counts)>>>,
}

#[derive(Serialize)]
struct ReadyzResponse {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(flatten)]
    parts: Map<String, Value>,
    backlog: Backlog,
}

/// The members are `null` until the store has been read once.
#[derive(Clone, Copy, Serialize)]
struct Backlog {
    waiting: Option<i64>,
    oldest_s: Option<i64>,
    held: Option<i64>,
    deferred: Option<i64>,
    line: Option<LineStatus>,
}

/// The customers who wait until an agent is free.
#[derive(Clone, Copy, Default, Serialize)]
struct LineStatus {
    length: u32,
    oldest_s: i64,
}

async fn readyz(State(state): State<Arc<OpsState>>) -> Response {
    let backlog = state.backlog().await;
    let statuses = state.statuses(backlog);
    let why = match state.ops.readiness.phase() {
        lifecycle::Phase::Starting => Some("starting"),
        lifecycle::Phase::Ready => None,
        lifecycle::Phase::Stopping => Some("shutting down"),
    };
    let is_ok = |name| statuses.iter().any(|(known, status)| *known == name && status.ok);
    let (code, status) = if why.is_some() || !is_ok(STORE) {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else if statuses.iter().all(|(_, status)| status.ok) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::OK, "degraded")
    };
    match body(status, why, statuses, backlog) {
        Ok(ready) => {
            let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (code, [json], ready).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn body(
    status: &'static str,
    why: Option<&'static str>,
    statuses: Vec<(&'static str, ComponentStatus)>,
    backlog: Backlog,
) -> serde_json::Result<String> {
    let parts =
        statuses.into_iter().map(|(name, status)| Ok((name.to_owned(), serde_json::to_value(status)?)));
    let parts = parts.collect::<serde_json::Result<_>>()?;
    serde_json::to_string(&ReadyzResponse { status, why, parts, backlog })
}

async fn metrics(State(state): State<Arc<OpsState>>) -> Response {
    let backlog = state.backlog().await;
    for (name, status) in state.statuses(backlog) {
        state.ops.metrics.record_part(name, status.ok);
    }
    for (name, skew_ms) in state.ops.clock.skews() {
        state.ops.metrics.record_clock_skew(name, skew_ms);
    }
    let Backlog { waiting, oldest_s, held, deferred, line } = backlog;
    let [waiting, oldest_s, held, deferred] =
        [waiting, oldest_s, held, deferred].map(Option::unwrap_or_default);
    let LineStatus { length, oldest_s: line_oldest_s } = line.unwrap_or_default();
    state.ops.metrics.record_parked(deferred, length.into(), line_oldest_s);
    match state.ops.metrics.render(waiting, oldest_s, held) {
        Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl OpsState {
    /// The status of every part.
    fn statuses(&self, backlog: Backlog) -> Vec<(&'static str, ComponentStatus)> {
        let mut statuses =
            self.ops.parts.statuses([(STORE, self.store_status()), (LANES, self.backlog_status(backlog))]);
        statuses.sort_by_key(|(name, _)| *name != STORE);
        statuses
    }

    /// Messages that wait for long are a trouble of their own, whatever their reason.
    fn backlog_status(&self, backlog: Backlog) -> ComponentStatus {
        let Some(oldest_s) = backlog.oldest_s.filter(|age| *age > MAX_WAIT_S) else {
            return ComponentStatus::healthy();
        };
        let since = self.ops.clock.now().plus((MAX_WAIT_S - oldest_s) * 1000);
        let advice = "look at the other parts and at `messages list`, which says why each message waits; \
                      `messages retry` and `messages discard` act on those that are stuck";
        ComponentStatus::degraded(since, format!("the oldest message has waited for {oldest_s} s"), advice)
    }

    fn store_status(&self) -> ComponentStatus {
        let panics = self.ops.store.panics();
        let extra = (panics > 0).then(|| ("panics".to_owned(), panics.into())).into_iter().collect();
        let Some(failure) = self.ops.store.outage() else {
            return ComponentStatus { extra, ..ComponentStatus::healthy() };
        };
        ComponentStatus {
            ok: false,
            since: Some(failure.since.seconds()),
            why: Some(failure.why),
            advice: Some(
                "pushes and callbacks are refused until the store commits again, and the platforms repeat them \
                 only for seconds: free disk space, make the database and its folder writable, end the program that \
                 has locked it, or repair the disk"
                    .to_owned(),
            ),
            extra,
        }
    }

    /// The backlog, at most about a second old unless the store is slower than that.
    async fn backlog(&self) -> Backlog {
        let _ = tokio::time::timeout(READ_TIMEOUT, self.refresh_counts()).await;
        let now = self.ops.clock.now();
        let cached = *self.cached_counts.lock();
        let counts = cached.map(|(_, counts)| counts);
        let age = |since: Option<Millis>| since.map_or(0, |since| now.since(since).max(0) / 1000);
        Backlog {
            waiting: counts.map(|counts| counts.waiting),
            oldest_s: counts.map(|counts| age(counts.oldest)),
            held: counts.map(|counts| counts.held),
            deferred: counts.map(|counts| counts.deferred),
            line: counts
                .map(|Counts { line, .. }| LineStatus { length: line.length, oldest_s: age(line.since) }),
        }
    }

    /// Refreshes the counts if they are too old. Also commits a write, because a store that can
    /// still be read may no longer be able to commit, and without traffic no other write would
    /// notice that.
    async fn refresh_counts(&self) {
        let Ok(permit) = Arc::clone(&self.read_permit).acquire_owned().await else { return };
        let is_fresh = |cached: &(Instant, Counts)| cached.0.elapsed() < READ_TIMEOUT;
        if self.cached_counts.lock().as_ref().is_some_and(is_fresh) {
            return;
        }
        let (store, cached) = (self.ops.store.clone(), Arc::clone(&self.cached_counts));
        // Use a separate task, so that callers that time out do not start further reads.
        let task = tokio::spawn(async move {
            let _permit = permit;
            // The writer only commits; counting a long backlog is left to the reader.
            let committed = store
                .write_for(Scope::kv(CHECKED_AT), |tx| tx.put_kv(CHECKED_AT, &tx.now().0.to_string()))
                .await;
            if committed.is_err() {
                return;
            }
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method path is not general over the transaction's lifetime"
            )]
            let counts = store.read(|tx| tx.counts()).await;
            if let Ok(counts) = counts {
                *cached.lock() = Some((Instant::now(), counts));
            }
        });
        let _ = task.await;
    }
}

#[cfg(test)]
mod tests;
