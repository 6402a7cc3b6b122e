//! Every metric, in one place. Names, labels and meanings stand in `docs/metrics.md`, held against this file by a
//! test. Labels come from closed sets; no metric carries a customer's or an agent's name.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::{Class, Direction, State};

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Seconds, from a quarter of a millisecond to ten: what a caller waits for.
const SHORT: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 2.0, 10.0];
/// Seconds, from five milliseconds to two days: what a person waits for.
const LONG: [f64; 12] =
    [0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 172_800.0];

/// The metrics. Clones count together; every bridge has its own.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    accepted: Counters<1>,
    repeated: Counters<1>,
    ended: Counters<2>,
    retried: Counters<2>,
    refused_requests: Counters<2>,
    ignored: Counters<1>,
    recovered: Counter,
    accept: Histograms<1>,
    commit: Histogram,
    pickup: Histograms<1>,
    end_to_end: Histograms<1>,
    calls: Counters<3>,
    call_time: Histograms<2>,
    downloads: Counters<1>,
    customer_media: Counters<1>,
    media_bytes: Counters<1>,
    waiting: Gauge,
    oldest: Gauge,
    held: Gauge,
}

fn short() -> Histogram {
    Histogram::new(SHORT)
}

fn long() -> Histogram {
    Histogram::new(LONG)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("wechat_im_bridge");
        let inner = Inner {
            accepted: Counters::default(),
            repeated: Counters::default(),
            ended: Counters::default(),
            retried: Counters::default(),
            refused_requests: Counters::default(),
            ignored: Counters::default(),
            recovered: Counter::default(),
            accept: Histograms::new_with_constructor(short),
            commit: short(),
            pickup: Histograms::new_with_constructor(long),
            end_to_end: Histograms::new_with_constructor(long),
            calls: Counters::default(),
            call_time: Histograms::new_with_constructor(short),
            downloads: Counters::default(),
            customer_media: Counters::default(),
            media_bytes: Counters::default(),
            waiting: Gauge::default(),
            oldest: Gauge::default(),
            held: Gauge::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("accepted", "Pushes and agents' messages accepted, by source", inner.accepted.clone());
        r.register("repeated", "Repeats recognised, by source", inner.repeated.clone());
        r.register("ended", "Messages that reached a state, by direction and state", inner.ended.clone());
        r.register("retried", "Attempts to be made again, by direction and class", inner.retried.clone());
        r.register(
            "refused_requests",
            "Pushes and callbacks refused or not understood, by source and reason",
            inner.refused_requests.clone(),
        );
        r.register("ignored_callbacks", "Callbacks that move nothing, by reason", inner.ignored.clone());
        r.register(
            "recovered",
            "Agents' messages found in the history after their callback had not come",
            inner.recovered.clone(),
        );
        r.register("accept_seconds", "From a parsed request to its commit, by source", inner.accept.clone());
        r.register("commit_seconds", "One commit of the store", inner.commit.clone());
        r.register(
            "pickup_seconds",
            "From acceptance to the first attempt, by direction",
            inner.pickup.clone(),
        );
        r.register(
            "end_to_end_seconds",
            "From acceptance to delivery, by direction",
            inner.end_to_end.clone(),
        );
        r.register("calls", "Calls of a platform, by platform, API and outcome", inner.calls.clone());
        r.register(
            "call_seconds",
            "Duration of a platform's call, by platform and API",
            inner.call_time.clone(),
        );
        r.register("downloads", "Agents' files fetched, or not, by outcome", inner.downloads.clone());
        r.register(
            "customer_media",
            "Attempts to fetch customers' media, by outcome",
            inner.customer_media.clone(),
        );
        r.register("media_bytes", "Bytes of media, by way", inner.media_bytes.clone());
        r.register("waiting", "Messages the outbox still has to act on", inner.waiting.clone());
        r.register("oldest_waiting_seconds", "Age of the oldest of them", inner.oldest.clone());
        r.register("held", "Agents' messages that wait for their customer", inner.held.clone());
        Self(Arc::new(Inner { registry, ..inner }))
    }
}

impl Metrics {
    /// A push was accepted, or recognised as a repeat.
    pub fn accepted_push(&self, repeat: bool, took: Duration) {
        self.accepted("push", repeat, took);
    }

    /// An agent's message was accepted.
    pub fn accepted_answer(&self, took: Duration) {
        self.accepted("callback", false, took);
    }

    fn accepted(&self, source: &'static str, repeat: bool, took: Duration) {
        let counters = if repeat { &self.0.repeated } else { &self.0.accepted };
        counters.get_or_create(&[("source", source)]).inc();
        self.0.accept.get_or_create(&[("source", source)]).observe(took.as_secs_f64());
    }

    /// A message was delivered, `since_ms` after it was accepted.
    pub fn delivered(&self, direction: Direction, since_ms: i64) {
        self.ended(direction, State::Delivered);
        self.0.end_to_end.get_or_create(&[("direction", direction.name())]).observe(seconds(since_ms));
    }

    /// A message is delivered, held, refused or unknown.
    pub fn ended(&self, direction: Direction, state: State) {
        self.0.ended.get_or_create(&[("direction", direction.name()), ("state", state.name())]).inc();
    }

    /// An attempt certainly failed and will be made again.
    pub fn retried(&self, direction: Direction, class: Class) {
        self.0.retried.get_or_create(&[("direction", direction.name()), ("class", class.name())]).inc();
    }

    /// A message's first attempt begins, `since_ms` after it was accepted.
    pub fn picked_up(&self, direction: Direction, since_ms: i64) {
        self.0.pickup.get_or_create(&[("direction", direction.name())]).observe(seconds(since_ms));
    }

    /// The store committed.
    pub fn committed(&self, took: Duration) {
        self.0.commit.observe(took.as_secs_f64());
    }

    /// A push (`source` = `push`) or callback (`callback`) was refused or not understood.
    pub fn refused_request(&self, source: &'static str, reason: &'static str) {
        self.0.refused_requests.get_or_create(&[("source", source), ("reason", reason)]).inc();
    }

    /// A callback moves nothing.
    pub fn ignored_callback(&self, reason: &'static str) {
        self.0.ignored.get_or_create(&[("reason", reason)]).inc();
    }

    /// An agent's message was found in the history.
    pub fn recovered(&self) {
        self.0.recovered.inc();
    }

    /// A platform was called.
    pub fn called(&self, platform: &'static str, api: &'static str, outcome: &'static str, took: Duration) {
        self.0.calls.get_or_create(&[("platform", platform), ("api", api), ("outcome", outcome)]).inc();
        self.0.call_time.get_or_create(&[("platform", platform), ("api", api)]).observe(took.as_secs_f64());
    }

    /// An agent's file was fetched, or was not.
    pub fn downloaded(&self, outcome: &'static str) {
        self.0.downloads.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An attempt to fetch a customer's medium came to an end: `fetched`, `again`, `failed` or `unwanted`.
    pub fn customer_media(&self, outcome: &'static str) {
        self.0.customer_media.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Bytes of a customer's medium were `fetched`, or of any medium `served`.
    pub fn media_bytes(&self, way: &'static str, bytes: u64) {
        self.0.media_bytes.get_or_create(&[("way", way)]).inc_by(bytes);
    }

    /// The metrics as Prometheus text, with the backlog as the store has it now.
    pub fn render(&self, waiting: i64, oldest_s: i64, held: i64) -> Result<String, std::fmt::Error> {
        self.0.waiting.set(waiting);
        self.0.oldest.set(oldest_s);
        self.0.held.set(held);
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a latency needs no more than 52 bits")]
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::default();
        metrics.delivered(Direction::ToIm, 7);
        metrics.retried(Direction::ToWechat, Class::Busy);
        let text = metrics.render(3, 4, 5).unwrap();
        for line in [
            "wechat_im_bridge_ended_total{direction=\"to_im\",state=\"delivered\"} 1",
            "wechat_im_bridge_retried_total{direction=\"to_wechat\",class=\"busy\"} 1",
            "wechat_im_bridge_waiting 3",
            "wechat_im_bridge_held 5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
