use serde_json::{Value, json};

use super::*;

const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

fn sample(key: &str, text: &str) -> String {
    json!({"CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": CUSTOMER,
        "MsgSeq": 1, "MsgRandom": 2, "MsgTime": 1_700_000_100, "MsgKey": key, "SendMsgResult": 0,
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]})
    .to_string()
}

fn failure(answer: &str) -> u16 {
    let (status, body) = parts(answer);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["ActionStatus"], &body["ErrorCode"]), (&json!("FAIL"), &json!(1)));
    assert!(body["ErrorInfo"].as_str().is_some_and(|info| !info.is_empty()));
    assert!(answer.contains("content-type: application/json"), "{answer}");
    status
}

#[tokio::test]
async fn an_agents_message_is_stored_once() {
    let world = World::new().await;
    world.push(&event("subscribe", 1)).await;
    for _ in 0..2 {
        let answer = world.call_back(&sample("k1", "yes")).await;
        assert_eq!(parts(&answer), (200, OK));
        assert!(answer.contains("content-type: application/json"), "{answer}");
    }
    let stored = world.messages().await;
    assert_eq!(stored.iter().filter(|message| message.direction == "to_wechat").count(), 1);
    assert!(world.has_metric("ignored_callbacks_total{reason=\"repeat\"} 1"));
}

#[tokio::test]
async fn an_ignored_callback_is_acknowledged_and_counted() {
    let world = World::new().await;
    assert_eq!(parts(&world.call_back(&sample("k1", "to a stranger")).await), (200, OK));
    assert_eq!(parts(&world.call_back("{}").await), (200, OK));
    assert!(world.has_metric("ignored_callbacks_total{reason=\"not_a_customer\"} 1"));
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let world = World::new().await;
    let stale = hex::encode(Sha256::digest(format!("{CALLBACK_TOKEN}1")));
    for query in [
        "",
        "SdkAppid=1400000001",
        "SdkAppid=1400000000",
        &format!("SdkAppid=1400000000&Sign={stale}&RequestTime=1"),
    ] {
        let head = format!("POST /imcallback?{query} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n");
        assert_eq!(failure(&world.host.request(&head).await), 403, "{query}");
    }
    assert!(world.has_metric("refused_requests_total{source=\"callback\",reason=\"stale\"} 1"));
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_refused_and_the_next_one_is_served() {
    let world = World::new().await;
    for body in ["", "[]", "null", "{", "\"x\"", "<xml/>"] {
        assert_eq!(failure(&world.call_back(body).await), 400, "{body}");
    }
    assert_eq!(parts(&world.call_back("{}").await), (200, OK));
}

#[tokio::test]
async fn an_uncommitted_callback_is_not_acknowledged() {
    let blockable = BlockableStore::new();
    let limits = Limits { callback: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(EncryptionMode::Plain, &blockable.location(), limits).await;
    world.push(&event("subscribe", 1)).await;
    let _blocker = blockable.block();
    assert_eq!(failure(&world.call_back(&sample("k1", "yes")).await), 503);
}
