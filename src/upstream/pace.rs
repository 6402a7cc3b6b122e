//! Makes one call within the rate limit of its API, and counts it.

use std::time::Instant;

use super::rate_limit::RateLimiter;
use crate::metrics::Metrics;

/// An API, as the rate limit and the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLabel {
    /// The platform in the metrics.
    pub platform: &'static str,
    /// The API in the metrics; the rate limit keeps one budget for each.
    pub api: &'static str,
}

/// What the metrics and the rate limit need to know about the outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// The outcome in the metrics.
    pub label: &'static str,
    /// Whether the platform reports that we call this API too often.
    pub too_often: bool,
}

/// Waits until `api` may be called, makes the call, and records its duration and its outcome as
/// `report` describes it. If we called too often, the next calls of `api` are slowed down. The
/// waiting time counts neither into the duration nor into the call's own time limit.
pub async fn paced<T>(
    limiter: &RateLimiter,
    metrics: &Metrics,
    api: ApiLabel,
    call: impl Future<Output = T>,
    report: impl FnOnce(&T) -> CallReport,
) -> T {
    limiter.until_ready(api.api).await;
    let started = Instant::now();
    let outcome = call.await;
    let CallReport { label, too_often } = report(&outcome);
    metrics.record_call(api.platform, api.api, label, started.elapsed());
    if too_often {
        limiter.slow_down(api.api);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    const SEND: ApiLabel = ApiLabel { platform: "platform", api: "send" };

    async fn call(limiter: &RateLimiter, metrics: &Metrics, too_often: bool) -> u32 {
        let report = |_: &u32| CallReport { label: if too_often { "quota" } else { "ok" }, too_often };
        paced(limiter, metrics, SEND, async { 7 }, report).await
    }

    #[tokio::test]
    async fn a_call_is_counted_and_a_rate_error_delays_the_next_one() {
        let (limiter, metrics) = (RateLimiter::new(NonZeroU32::new(100).unwrap()), Metrics::default());
        assert_eq!(call(&limiter, &metrics, false).await, 7);
        assert_eq!(call(&limiter, &metrics, true).await, 7);
        let started = Instant::now();
        call(&limiter, &metrics, false).await;
        assert!(started.elapsed() >= Duration::from_millis(450), "the third call waits for the pause");
        let text = metrics.render(0, 0, 0).unwrap();
        for line in [
            r#"calls_total{platform="platform",api="send",outcome="ok"} 2"#,
            r#"calls_total{platform="platform",api="send",outcome="quota"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        let seconds = text
            .lines()
            .find_map(|line| line.split_once("call_seconds_sum").and_then(|(_, rest)| rest.rsplit_once(' ')))
            .and_then(|(_, sum)| sum.parse::<f64>().ok());
        assert!(seconds.is_some_and(|sum| sum < 0.4), "the wait is not part of the duration: {seconds:?}");
    }
}
