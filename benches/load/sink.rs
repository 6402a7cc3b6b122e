//! A stand-in for IM that answers every call at once or after a while, checks nothing, and records the delays.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use tokio::net::TcpListener;

use super::measure::{Measured, unix_micros};

const OK: &str =
    r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"MsgTime":1700000000,"MsgKey":"1_2_3"}"#;

#[derive(Clone)]
pub struct Sink {
    pub base: String,
    delays: Arc<Mutex<Vec<f32>>>,
    /// How long it takes for an answer.
    takes: Duration,
}

impl Sink {
    pub async fn start() -> Self {
        Self::start_slow(Duration::ZERO).await
    }

    /// Starts one that takes this long for each answer.
    pub async fn start_slow(takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sink = Self { base, delays: Arc::default(), takes };
        let router = Router::new()
            .route("/v4/openim/sendmsg", post(on_sendmsg))
            .fallback(|| async { OK })
            .with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        sink
    }

    pub fn clear(&self) {
        self.delays.lock().unwrap().clear();
    }

    /// The times from the sending of a push to the call of IM for it. Waits until `count` calls
    /// have come, for at most `timeout`.
    pub async fn delays(&self, count: usize, timeout: Duration) -> Measured {
        let started = Instant::now();
        while self.delays.lock().unwrap().len() < count && started.elapsed() < timeout {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Measured::from_latencies(self.delays.lock().unwrap().clone())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds for display")]
async fn on_sendmsg(State(sink): State<Sink>, body: Bytes) -> &'static str {
    let text = String::from_utf8_lossy(&body);
    let sent_at = text.split("sent at ").nth(1).and_then(|rest| rest.split('"').next());
    if let Some(sent_at) = sent_at.and_then(|sent_at| sent_at.parse::<u128>().ok()) {
        let delay = unix_micros().saturating_sub(sent_at) as f64 / 1000.0;
        sink.delays.lock().unwrap().push(delay as f32);
    }
    if !sink.takes.is_zero() {
        tokio::time::sleep(sink.takes).await;
    }
    OK
}
