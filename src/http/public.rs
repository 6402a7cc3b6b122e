//! The public surface: `/` for WeChat, `/imcallback` for Tencent IM, `/media/...` for whoever has a link.
//!
//! Each call is judged by its query before its body is read, opened by its platform's `receive`, and answered
//! with success only after the bridge has committed it. No log line has a body, a signature or a customer's name.

mod callback;
mod media;
mod push;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::Limits;
use super::quiet::Quiet;
use super::written::Outcome;
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::im::receive::CallbackDoor;
use crate::metrics::Metrics;
use crate::wechat::receive::Door;

/// Pushes and callbacks that may be at the bridge at once; beyond, they wait, and are refused when that is too long.
const IN_FLIGHT: usize = 4096;

/// What the public surface is built from.
#[derive(Debug)]
pub struct Public {
    /// Judges and opens pushes.
    pub door: Door,
    /// Judges and opens callbacks.
    pub callbacks: CallbackDoor,
    /// Decides and commits.
    pub bridge: Bridge,
    /// The time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// What one caller may take.
    pub limits: Limits,
    /// Takes the outcomes of replies that carry held answers: the sending end of [`super::written::channel`].
    pub outcomes: mpsc::Sender<Outcome>,
    /// Knows of every commit that outlives its caller; wait for it before the store is closed.
    pub tasks: TaskTracker,
}

/// The routes. Unknown paths are 404, other methods 405.
pub fn router(public: Public) -> Router {
    let desk = Desk {
        public,
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        files: Arc::new(Semaphore::new(media::FILES_AT_ONCE)),
        quiet: Quiet::default(),
    };
    Router::new()
        .route("/", get(push::echo).post(push::receive))
        .route("/imcallback", post(callback::receive))
        .route("/media/{file}", get(media::serve))
        .with_state(Arc::new(desk))
}

#[derive(Debug)]
struct Desk {
    public: Public,
    in_flight: Arc<Semaphore>,
    files: Arc<Semaphore>,
    quiet: Quiet,
}

impl Desk {
    /// Runs `work` to its end, even if the caller hangs up halfway: what it commits and what it remembers in
    /// memory must stay together. `None` when it takes longer than `within`, or panics.
    async fn finish<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let finished = async {
            let place = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
            let task = self.public.tasks.spawn(async move {
                let _place = place;
                work.await
            });
            match task.await {
                Ok(outcome) => Some(outcome),
                Err(error) => {
                    tracing::error!(panic = error.is_panic(), "a commit ended early: this is a bug");
                    None
                }
            }
        };
        tokio::time::timeout(within, finished).await.ok().flatten()
    }

    /// Somebody who is not the platform, or is but for somebody else, was turned away.
    fn refused(&self, source: &'static str, name: &'static str, why: &dyn std::fmt::Display) {
        self.public.metrics.refused_request(source, name);
        if self.quiet.allows() {
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
