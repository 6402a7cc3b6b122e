//! `POST /imcallback` from outside: which requests are accepted, and the exact form of the answers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::raw_http::{self, Response, callback_path, exchange, head};
use crate::world::{CALLBACK_TOKEN, SDK_APP_ID, Setup, World, openid};

const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

fn assert_failed(answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let info = body["ErrorInfo"].as_str().unwrap();
    assert!(!info.is_empty());
    assert_eq!(body, json!({"ActionStatus": "FAIL", "ErrorCode": 1, "ErrorInfo": info}));
}

#[tokio::test]
async fn a_callback_that_is_not_from_im_gets_403_before_its_body_is_sent() {
    let world = World::start().await;
    let sign = |time: &str| wechat_im_bridge::internals::sandbox::im::sign(CALLBACK_TOKEN, time);
    let (old, new) = (world.clock.now().seconds() - 310, world.clock.now().seconds() + 310);
    let (old, new) = (old.to_string(), new.to_string());
    for changes in [
        vec![("SdkAppid", "")],
        vec![("SdkAppid", "1400000001")],
        vec![("Sign", "")],
        vec![("Sign", "0123")],
        vec![("RequestTime", "")],
        vec![("RequestTime", new.as_str())],
        vec![("Sign", sign(&old).as_str()), ("RequestTime", old.as_str())],
        vec![("Sign", sign(&new).as_str()), ("RequestTime", new.as_str())],
        vec![("Sign", ""), ("RequestTime", "")],
    ] {
        let request = head(&callback_path(&world, &changes), 5000);
        let request = request.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
        assert_failed(&exchange(&world.public(), request).await, 403);
    }
    let twice = format!("{}&SdkAppid={SDK_APP_ID}", callback_path(&world, &[]));
    assert_failed(&raw_http::post(&world.public(), &twice, "{}").await, 403);
    world.finish().await;

    let open = Setup::default().set("BRIDGE_IM__CALLBACK_TOKEN", "").start().await;
    let unsigned = callback_path(&open, &[("Sign", ""), ("RequestTime", "")]);
    assert_eq!(raw_http::post(&open.public(), &unsigned, "{}").await.status, 200, "no token is set");
    let other = callback_path(&open, &[("SdkAppid", "1400000001")]);
    assert_failed(&raw_http::post(&open.public(), &other, "{}").await, 403);
    open.finish().await;
}

#[tokio::test]
async fn a_callback_gets_ok_within_200_ms_and_one_that_is_not_an_object_gets_400() {
    let world = World::start().await;
    let path = callback_path(&world, &[]);
    for body in ["", " ", "[]", "null", "1", "\"{}\"", "{", "{}x", "<xml/>", "\u{0}", "{'a':1}"] {
        assert_failed(&raw_http::post(&world.public(), &path, body).await, 400);
    }
    let broken = raw_http::post(&world.public(), &path, b"\xef\xbb\xbf{\"a\":\"\xff\x01\\ud83d\"}").await;
    assert_eq!(broken.text(), OK, "an object that can be repaired");
    let phone = world.follower("cb");
    phone.say("hello").await;
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        let body = json!({
            "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("cb"),
            "MsgSeq": n, "MsgRandom": n, "MsgTime": world.clock.now().seconds(), "MsgKey": format!("{n}_1_2"),
            "SendMsgResult": 0, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}],
        });
        let started = Instant::now();
        let answer = raw_http::post(&world.public(), &path, body.to_string()).await;
        fastest = fastest.min(started.elapsed());
        assert_eq!((answer.status, answer.text()), (200, OK));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    assert_eq!(raw_http::post(&world.public(), &path, "{}").await.text(), OK, "a callback that is ignored");
    world.finish().await;
}
