//! Measures a platform's clock by the `Date` of its answers.

use std::time::Duration;

use reqwest::header::{AGE, CACHE_CONTROL, DATE};
use url::Url;

use crate::clock::RemoteClock;

/// The time limit of a request that only measures.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the `Date` of `answer`, whose request was sent at `sent_ms` by the monotonic clock. An
/// answer from a cache measures nothing.
pub fn observe_date(clock: &RemoteClock, answer: &reqwest::Response, sent_ms: i64) {
    let headers = answer.headers();
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let since_1970 = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let seconds = since_1970.and_then(|since| i64::try_from(since.as_secs()).ok());
    if let Some(seconds) = seconds.filter(|_| !headers.contains_key(AGE)) {
        clock.observe(seconds, sent_ms);
    }
}

/// Makes the responses of a fake platform show no time, for tests that move the bridge's clock alone.
#[cfg(test)]
pub(crate) fn without_date(router: axum::Router) -> axum::Router {
    router.layer(axum::middleware::map_response(|mut response: axum::response::Response| {
        response.headers_mut().insert(DATE, axum::http::HeaderValue::from_static("unknown"));
        std::future::ready(response)
    }))
}

/// Measures the clock of the server at `base` by one cheap request. The path need not exist: every
/// answer has a `Date`. Does nothing if no answer comes within 5 s.
pub async fn measure(clock: &RemoteClock, http: &reqwest::Client, base: Url) {
    let sent_ms = clock.local().monotonic_ms();
    let request = http.get(base).header(CACHE_CONTROL, "no-cache").timeout(TIMEOUT);
    if let Ok(answer) = request.send().await {
        observe_date(clock, &answer, sent_ms);
    }
}
