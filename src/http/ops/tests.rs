use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::http::Limits;
use crate::http::testing::{Host, host, parts};
use crate::lifecycle::Lifecycle;
use crate::model::{Direction, OpenId, OutboundCall};
use crate::store::{Closing, NewMessage, StoreLocation, testing};

struct World {
    host: Host,
    life: Lifecycle,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    im_is_healthy: Arc<AtomicBool>,
    closing: Closing,
}

async fn world(place: &StoreLocation) -> World {
    let (clock, metrics, life) = (Clock::movable(), Metrics::default(), Lifecycle::default());
    let (store, closing) = Store::open(place, clock.clone(), metrics.clone()).unwrap();
    let im_is_healthy = Arc::new(AtomicBool::new(true));
    let healthy = Arc::clone(&im_is_healthy);
    let im = move || {
        if healthy.load(Ordering::Relaxed) {
            return ComponentStatus::healthy();
        }
        ComponentStatus {
            ok: false,
            since: Some(1_700_000_000),
            why: Some("60020".to_owned()),
            advice: Some("buy it".to_owned()),
            extra: Map::new(),
        }
    };
    let wechat = || {
        let mut part = ComponentStatus::healthy();
        part.extra.insert("reply".to_owned(), "passive".into());
        part
    };
    let mut parts = Parts::default();
    parts.add("im", Arc::new(im));
    parts.add("wechat", Arc::new(wechat));
    let ops = Ops {
        store: store.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        readiness: life.readiness().clone(),
        parts,
    };
    let host = host(router(ops), Limits::default()).await;
    World { host, life, store, clock, metrics, im_is_healthy, closing }
}

impl World {
    async fn readyz(&self) -> (u16, Value) {
        let answer = self.host.get("/readyz").await;
        let (status, body) = parts(&answer);
        (status, serde_json::from_str(body).unwrap())
    }
}

fn waiting() -> NewMessage {
    testing::message(Direction::ToIm, &OpenId::new("oA").unwrap(), OutboundCall::TextToAgent("hi".to_owned()))
}

#[tokio::test]
async fn ready_only_between_start_and_stop_and_always_alive() {
    let world = world(&testing::location()).await;
    let (status, body) = world.readyz().await;
    assert_eq!((status, &body["status"], &body["why"]), (503, &json!("unavailable"), &json!("starting")));
    world.life.readiness().set_ready();
    let (status, body) = world.readyz().await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({"status": "ok", "store": {"ok": true}, "im": {"ok": true}, "wechat": {"ok": true, "reply": "passive"}, "lanes": {"ok": true},
            "backlog": {"waiting": 0, "oldest_s": 0, "held": 0, "deferred": 0, "line": {"length": 0, "oldest_s": 0}}})
    );
    world.life.soft().cancel();
    let (status, body) = world.readyz().await;
    assert_eq!(
        (status, &body["status"], &body["why"]),
        (503, &json!("unavailable"), &json!("shutting down"))
    );
    assert_eq!(parts(&world.host.get("/healthz").await), (200, "ok"));
}

#[tokio::test]
async fn a_degraded_platform_degrades_readyz_with_advice() {
    let world = world(&testing::location()).await;
    world.life.readiness().set_ready();
    world.im_is_healthy.store(false, Ordering::Relaxed);
    let (status, body) = world.readyz().await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(
        body["im"],
        json!({"ok": false, "since": 1_700_000_000, "since_utc": "2023-11-14T22:13:20Z", "why": "60020", "advice": "buy it"})
    );
}

#[tokio::test]
async fn a_store_that_cannot_commit_is_noticed_without_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db");
    let world = world(&StoreLocation::File(path.clone())).await;
    world.life.readiness().set_ready();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // SQLite waits five seconds for the other writer before it gives up.
    let unavailable = async {
        loop {
            let (status, body) = world.readyz().await;
            if status == 503 {
                return body;
            }
        }
    };
    let body = tokio::time::timeout(Duration::from_secs(30), unavailable).await.unwrap();
    assert_eq!((&body["status"], &body["store"]["ok"]), (&json!("unavailable"), &json!(false)));
    for key in ["since", "why", "advice"] {
        assert!(!body["store"][key].is_null(), "{body}");
    }
    drop(other);
    let available = async { while world.readyz().await.0 != 200 {} };
    tokio::time::timeout(Duration::from_secs(30), available).await.unwrap();
}

#[tokio::test]
async fn the_backlog_comes_from_the_store_and_a_closed_store_does_not_hang_the_probe() {
    let world = world(&testing::location()).await;
    world.life.readiness().set_ready();
    world.store.write(|tx| tx.add(&waiting())).await.unwrap();
    world.clock.advance(90_500);
    let (_, body) = world.readyz().await;
    assert_eq!(
        body["backlog"],
        json!({"waiting": 1, "oldest_s": 90, "held": 0, "deferred": 0, "line": {"length": 0, "oldest_s": 0}})
    );
    let World { host, closing, .. } = world;
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    let answer = host.get("/readyz").await;
    assert!(answer.contains("\"waiting\":1"), "{answer}");
}

#[tokio::test]
async fn the_metrics_are_open_metrics() {
    let world = world(&testing::location()).await;
    world.metrics.record_backfilled();
    world.store.write(|tx| tx.add(&waiting())).await.unwrap();
    let answer = world.host.get("/metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{answer}"
    );
    assert!(answer.contains("\nwechat_im_bridge_backfilled_total 1\n"), "{answer}");
    assert!(answer.contains("\nwechat_im_bridge_waiting 1\n"), "{answer}");
    assert!(answer.ends_with("# EOF\n"));
    let samples = parts(&answer).1.lines().filter(|line| !line.starts_with('#'));
    assert!(samples.into_iter().all(|line| line.starts_with("wechat_im_bridge_")));
}
