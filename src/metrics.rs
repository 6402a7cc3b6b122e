//! All metrics, in one place.
//!
//! `docs/metrics.md` lists names, labels and meanings; a test compares it with this file. Labels
//! have fixed sets of values. No metric contains a customer's or an agent's name.

mod accepted;
mod calls;
mod conversations;
mod desk;
mod instances;
mod listeners;
mod storage;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::{Direction, FailureClass, State};

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Buckets for times that a caller waits, in seconds: from 0.25 ms to 10 s.
const SHORT_BUCKETS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 2.0, 10.0];
/// Buckets for times that a person waits, in seconds: from 5 ms to two days.
const LONG_BUCKETS: [f64; 12] =
    [0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 172_800.0];

/// The metrics of one bridge. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    record_accepted: Counters<1>,
    repeated: Counters<1>,
    record_ended: Counters<2>,
    record_retry: Counters<2>,
    refused_requests: Counters<2>,
    ignored: Counters<1>,
    backfilled: Counter,
    ratings: Counters<1>,
    panics: Counters<1>,
    accept: Histograms<1>,
    commit: Histogram,
    pickup: Histograms<1>,
    end_to_end: Histograms<1>,
    calls: Counters<3>,
    call_duration: Histograms<2>,
    downloads: Counters<1>,
    record_customer_media: Counters<1>,
    record_media_bytes: Counters<1>,
    waiting: Gauge,
    oldest: Gauge,
    held: Gauge,
    deferred: Gauge,
    line: Gauge,
    line_oldest: Gauge,
    part: Gauges<1>,
    clock_skew: Gauges<1>,
    store_panics: Counter,
    store_statements: Counter,
    store_trips: Counter,
    store_log_bytes: Gauge,
    media_stored_bytes: Gauge,
    disk_free_bytes: Gauge,
    connections: Gauges<1>,
    connections_limit: Gauges<1>,
    connections_of_one_address: Gauges<1>,
    closed_connections: Counters<1>,
    refused_connections: Counters<1>,
    refused_downloads: Counters<1>,
    body_bytes: Gauge,
    certificate_end: Gauge,
    instances: Gauge,
    shards_owned: Gauge,
    buried: Counter,
    fenced: Counter,
    failovers: Counter,
    takeover: Histogram,
    conversations_ended: Counters<1>,
    first_answer: Histogram,
    resolution: Histogram,
}

fn short_histogram() -> Histogram {
    Histogram::new(SHORT_BUCKETS)
}

fn long_histogram() -> Histogram {
    Histogram::new(LONG_BUCKETS)
}

/// Registers what concerns the store, the media and their disks.
fn register_storage(r: &mut Registry, inner: &Inner) {
    r.register("commit_seconds", "Duration of one commit of the store", inner.commit.clone());
    r.register("store_panics", "Panics of the store's writer thread, each a bug", inner.store_panics.clone());
    r.register("store_statements", "Statements of writing transactions", inner.store_statements.clone());
    r.register(
        "store_trips",
        "Times that a writing transaction waited for the database server",
        inner.store_trips.clone(),
    );
    r.register("store_log_bytes", "Size of the database's write-ahead log", inner.store_log_bytes.clone());
    r.register("media_stored_bytes", "Bytes of all files of media.dir", inner.media_stored_bytes.clone());
    r.register(
        "disk_free_bytes",
        "Free bytes of the fuller of the disks of store and media",
        inner.disk_free_bytes.clone(),
    );
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("wechat_im_bridge");
        let inner = Inner {
            record_accepted: Counters::default(),
            repeated: Counters::default(),
            record_ended: Counters::default(),
            record_retry: Counters::default(),
            refused_requests: Counters::default(),
            ignored: Counters::default(),
            backfilled: Counter::default(),
            ratings: Counters::default(),
            panics: Counters::default(),
            accept: Histograms::new_with_constructor(short_histogram),
            commit: short_histogram(),
            pickup: Histograms::new_with_constructor(long_histogram),
            end_to_end: Histograms::new_with_constructor(long_histogram),
            calls: Counters::default(),
            call_duration: Histograms::new_with_constructor(short_histogram),
            downloads: Counters::default(),
            record_customer_media: Counters::default(),
            record_media_bytes: Counters::default(),
            waiting: Gauge::default(),
            oldest: Gauge::default(),
            held: Gauge::default(),
            deferred: Gauge::default(),
            line: Gauge::default(),
            line_oldest: Gauge::default(),
            part: Gauges::default(),
            clock_skew: Gauges::default(),
            store_panics: Counter::default(),
            store_statements: Counter::default(),
            store_trips: Counter::default(),
            store_log_bytes: Gauge::default(),
            media_stored_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            connections: Gauges::default(),
            connections_limit: Gauges::default(),
            connections_of_one_address: Gauges::default(),
            closed_connections: Counters::default(),
            refused_connections: Counters::default(),
            refused_downloads: Counters::default(),
            body_bytes: Gauge::default(),
            certificate_end: Gauge::default(),
            instances: Gauge::default(),
            shards_owned: Gauge::default(),
            buried: Counter::default(),
            fenced: Counter::default(),
            failovers: Counter::default(),
            takeover: long_histogram(),
            conversations_ended: Counters::default(),
            first_answer: long_histogram(),
            resolution: long_histogram(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register(
            "accepted",
            "Pushes and agents' messages accepted, by source",
            inner.record_accepted.clone(),
        );
        r.register(
            "ended",
            "Messages that reached a state, by direction and state",
            inner.record_ended.clone(),
        );
        r.register(
            "retried",
            "Failed attempts that will be repeated, by direction and class",
            inner.record_retry.clone(),
        );
        r.register(
            "refused_requests",
            "Pushes and callbacks refused or not understood, by source and reason",
            inner.refused_requests.clone(),
        );
        r.register(
            "accept_seconds",
            "Time from a parsed request to its commit, by source",
            inner.accept.clone(),
        );
        r.register(
            "pickup_seconds",
            "Time from acceptance to the first attempt, by direction",
            inner.pickup.clone(),
        );
        r.register(
            "end_to_end_seconds",
            "Time from acceptance to delivery, by direction",
            inner.end_to_end.clone(),
        );
        register_calls(r, &inner);
        register_state(r, &inner);
        register_storage(r, &inner);
        register_listeners(r, &inner);
        register_instances(r, &inner);
        register_conversations(r, &inner);
        Self(Arc::new(Inner { registry, ..inner }))
    }
}

fn register_state(r: &mut Registry, inner: &Inner) {
    r.register("panics", "Panics while processing messages or media, by part", inner.panics.clone());
    r.register("waiting", "Messages the outbox still has to act on", inner.waiting.clone());
    r.register("oldest_waiting_seconds", "Age of the oldest waiting message", inner.oldest.clone());
    r.register("held", "Agents' messages that wait until their customer writes", inner.held.clone());
    r.register("deferred", "Customers' messages that wait until the desk opens", inner.deferred.clone());
    r.register("line_customers", "Customers who wait until an agent is free", inner.line.clone());
    r.register("line_oldest_seconds", "How long the first of them has waited", inner.line_oldest.clone());
    r.register("part_ok", "Whether a part works, as /readyz says: 1 or 0, by part", inner.part.clone());
    r.register(
        "clock_skew_seconds",
        "How far this machine's clock is ahead of a platform's, by platform",
        inner.clock_skew.clone(),
    );
}

fn register_calls(r: &mut Registry, inner: &Inner) {
    r.register(
        "backfilled",
        "Agents' messages that the backfill found in IM's history",
        inner.backfilled.clone(),
    );
    r.register("repeated", "Repeated pushes recognised, by source", inner.repeated.clone());
    r.register("ignored_callbacks", "Callbacks that changed nothing, by reason", inner.ignored.clone());
    r.register("calls", "API calls to a platform, by platform, API and outcome", inner.calls.clone());
    r.register("call_seconds", "Duration of an API call, by platform and API", inner.call_duration.clone());
    r.register("downloads", "Attempts to download agents' files, by outcome", inner.downloads.clone());
    r.register(
        "customer_media",
        "Attempts to download customers' media, by outcome",
        inner.record_customer_media.clone(),
    );
    r.register("media_bytes", "Bytes of media, fetched or served", inner.record_media_bytes.clone());
}

fn register_listeners(r: &mut Registry, inner: &Inner) {
    r.register("connections", "Open connections, by listener", inner.connections.clone());
    r.register(
        "connections_limit",
        "Connections that may be open, by listener",
        inner.connections_limit.clone(),
    );
    r.register(
        "connections_of_one_address",
        "The most connections that one address has open, by listener",
        inner.connections_of_one_address.clone(),
    );
    r.register(
        "closed_connections",
        "Connections without a complete request that were closed to make room, by listener",
        inner.closed_connections.clone(),
    );
    r.register(
        "refused_connections",
        "Connections and forwarded requests refused because their address has its share, by listener",
        inner.refused_connections.clone(),
    );
    r.register(
        "refused_downloads",
        "Downloads of media refused because too many run, by what has too many",
        inner.refused_downloads.clone(),
    );
    r.register("body_bytes", "Bytes that request bodies take", inner.body_bytes.clone());
    r.register(
        "certificate_end_timestamp_seconds",
        "When the TLS certificate ends, in Unix seconds; 0 without TLS",
        inner.certificate_end.clone(),
    );
}

fn register_conversations(r: &mut Registry, inner: &Inner) {
    r.register(
        "conversations_ended",
        "Conversations that are over, by what ended them",
        inner.conversations_ended.clone(),
    );
    r.register("first_answer_seconds", "Time until a customer got an answer", inner.first_answer.clone());
    r.register("resolution_seconds", "Time until a conversation was over", inner.resolution.clone());
    r.register("ratings", "Ratings that customers gave, by value", inner.ratings.clone());
}

fn register_instances(r: &mut Registry, inner: &Inner) {
    r.register("instances", "Instances that are alive on this database", inner.instances.clone());
    r.register(
        "shards_owned",
        "Shards of customers that this instance sends for",
        inner.shards_owned.clone(),
    );
    r.register("buried", "Instances that this one has taken for dead", inner.buried.clone());
    r.register(
        "fenced",
        "Writes refused because this instance had been taken for dead",
        inner.fenced.clone(),
    );
    r.register("failovers", "Times that another PostgreSQL server took over", inner.failovers.clone());
    r.register(
        "takeover_seconds",
        "How long an instance had been silent when its customers were taken over",
        inner.takeover.clone(),
    );
}

impl Metrics {
    /// Counts a message that was delivered `since_ms` milliseconds after it was accepted.
    pub fn record_delivered(&self, direction: Direction, elapsed_ms: i64) {
        self.ended(direction, State::Delivered);
        self.0.end_to_end.get_or_create(&[("direction", direction.name())]).observe(seconds(elapsed_ms));
    }

    /// Counts a message that became delivered, held, refused or unknown.
    pub fn ended(&self, direction: Direction, state: State) {
        self.0.record_ended.get_or_create(&[("direction", direction.name()), ("state", state.name())]).inc();
    }

    /// Counts an attempt that definitely failed and will be repeated.
    pub fn retried(&self, direction: Direction, class: FailureClass) {
        self.0.record_retry.get_or_create(&[("direction", direction.name()), ("class", class.name())]).inc();
    }

    /// Records that a message's first attempt begins `since_ms` milliseconds after it was accepted.
    pub fn record_pickup(&self, direction: Direction, elapsed_ms: i64) {
        self.0.pickup.get_or_create(&[("direction", direction.name())]).observe(seconds(elapsed_ms));
    }

    /// Counts a push (`source` is `push`) or callback (`callback`) that was refused or not
    /// understood.
    pub fn record_refused_request(&self, source: &'static str, reason: &'static str) {
        self.0.refused_requests.get_or_create(&[("source", source), ("reason", reason)]).inc();
    }

    /// Counts a callback that changed nothing.
    pub fn record_ignored_callback(&self, reason: &'static str) {
        self.0.ignored.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts an agent's message that the backfill found in IM's history.
    pub fn record_backfilled(&self) {
        self.0.backfilled.inc();
    }

    /// Counts a panic. `part` is `lane` or `fetch`.
    pub fn record_panic(&self, part: &'static str) {
        self.0.panics.get_or_create(&[("part", part)]).inc();
    }

    /// Records whether a part of `/readyz` works.
    pub fn record_part(&self, part: &'static str, ok: bool) {
        self.0.part.get_or_create(&[("part", part)]).set(i64::from(ok));
    }

    /// Records by how many milliseconds this machine's clock is ahead of a platform's; negative if
    /// it is behind.
    pub fn record_clock_skew(&self, platform: &'static str, skew_ms: i64) {
        self.0.clock_skew.get_or_create(&[("platform", platform)]).set(skew_ms / 1000);
    }

    /// Renders the metrics as Prometheus text. The arguments are the store's current backlog.
    pub fn render(&self, waiting: i64, oldest_s: i64, held: i64) -> Result<String, std::fmt::Error> {
        self.0.waiting.set(waiting);
        self.0.oldest.set(oldest_s);
        self.0.held.set(held);
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "52 bits are enough for a latency")]
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests;
