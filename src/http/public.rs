//! The public endpoints: `/` for WeChat, `/imcallback` for Tencent IM, `/media/...` for holders of
//! a link.
//!
//! Each request is authenticated by its query before its body is read, then parsed by its
//! platform's `receive`. It gets a success response only after the bridge has committed it. No log
//! line contains a body, a signature or a customer's name.

mod callback;
mod download_slots;
mod media;
mod path;
mod push;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::Limits;
use super::body::BodyBudget;
use super::log_limit::LogLimiter;
use super::receipt::ReplyOutcome;
use super::url_checks::UrlChecks;
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::im::receive::CallbackVerifier;
use crate::metrics::Metrics;
use crate::model::{DEDUP_RETENTION_MS, Millis};
use crate::upstream::InboundHealth;
use crate::wechat::receive::Verifier;
use download_slots::DownloadSlots;

/// The number of pushes and callbacks that the bridge handles at once. Further ones wait, and are
/// refused when their time limit passes.
const IN_FLIGHT: usize = 4096;

/// The dependencies of the public endpoints.
#[derive(Debug)]
pub struct Public {
    /// Authenticates and decrypts pushes.
    pub verifier: Verifier,
    /// Authenticates and parses callbacks.
    pub callback_verifier: CallbackVerifier,
    /// Decides and commits.
    pub bridge: Bridge,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// The last checks of the server URL.
    pub url_checks: Arc<UrlChecks>,
    /// Whether pushes are refused.
    pub push_health: Arc<InboundHealth>,
    /// Whether callbacks are refused.
    pub callback_health: Arc<InboundHealth>,
    /// The limits on callers.
    pub limits: Limits,
    /// What all request bodies together may take.
    pub body_budget: BodyBudget,
    /// Takes the outcomes of replies with held answers: the sending end of
    /// [`super::receipt::channel`].
    pub outcomes: mpsc::Sender<ReplyOutcome>,
    /// The path of `server.public_url` without a trailing slash; empty if it has none.
    pub base_path: String,
    /// Tracks every commit that outlives its caller; wait for it before closing the store.
    pub tasks: TaskTracker,
}

/// The routes. Unknown paths get 404, other methods 405. A doubled or trailing slash, or the path of
/// `server.public_url` in front, makes no difference.
pub fn router(public: Public) -> Router {
    let base_path: Arc<str> = public.base_path.as_str().into();
    let state = PublicState {
        public,
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        downloads: DownloadSlots::default(),
        log_limiter: LogLimiter::default(),
        path_log_limiter: LogLimiter::one_a_minute(),
        url_check_log_limiter: LogLimiter::one_a_burst(),
    };
    let routes = Router::new()
        .route("/", get(push::echo).post(push::receive))
        .route("/imcallback", post(callback::receive))
        .route("/media/{file}", get(media::serve))
        .fallback(path::unknown)
        .with_state(Arc::new(state));
    // The path is rewritten in front of all routes: a layer on them would run after they are matched.
    Router::new().fallback_service(tower::util::MapRequest::new(routes, move |request: Request| {
        path::rewrite(request, &base_path)
    }))
}

#[derive(Debug)]
struct PublicState {
    public: Public,
    in_flight: Arc<Semaphore>,
    downloads: DownloadSlots,
    log_limiter: LogLimiter,
    path_log_limiter: LogLimiter,
    url_check_log_limiter: LogLimiter,
}

impl PublicState {
    /// Runs `work` to its end, even if the caller disconnects: the commit and the state in memory
    /// must stay consistent. `None` when it takes longer than `within`, or panics.
    async fn run_to_end<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let finished = async {
            let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
            let task = self.public.tasks.spawn(
                async move {
                    let _permit = permit;
                    work.await
                }
                .in_current_span(),
            );
            match task.await {
                Ok(outcome) => Some(outcome),
                Err(error) => {
                    tracing::error!(
                        panic = error.is_panic(),
                        "a commit ended early; the platform repeats the request: this is a bug"
                    );
                    None
                }
            }
        };
        tokio::time::timeout(within, finished).await.ok().flatten()
    }

    /// Whether a request of this time (Unix seconds, by the clock that shows `now`) is so old that
    /// the bridge would no longer recognise a repeat. Without a time it is not.
    fn is_replay(&self, time_s: i64, now: Millis) -> bool {
        let age_ms = now.since(Millis(time_s.saturating_mul(1000)));
        time_s > 0 && self.public.clock.is_measured() && age_ms > DEDUP_RETENTION_MS
    }

    /// Counts and logs a refused request: not from the platform, or for another account.
    fn log_refusal(&self, source: &'static str, name: &'static str, why: &dyn std::fmt::Display) {
        self.public.metrics.record_refused_request(source, name);
        if self.log_limiter.allow() {
            tracing::warn!(source, reason = name, "refused a {source}: {why}");
        } else {
            tracing::debug!(source, reason = name, "refused a {source}");
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, body.into()).into_response()
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body.into()).into_response()
}

#[cfg(test)]
mod tests;
