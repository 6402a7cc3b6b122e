//! Section 6 of the contract, and the HTTP answers while the store cannot commit or the bridge
//! stops.

use std::time::Duration;

use serde_json::{Value, json};

use crate::raw_http::{self, Connection, text_message};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, get_json, openid,
};

async fn readyz(base: &str) -> (u16, Value) {
    get_json(&format!("{base}/readyz")).await
}

#[tokio::test]
async fn readyz_shows_each_part_and_the_backlog() {
    let world = World::start().await;
    let (status, body) = readyz(&world.ops()).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
    for part in ["store", "im", "wechat"] {
        assert_eq!(body[part]["ok"], true, "{body}");
    }
    assert_eq!(body["backlog"]["waiting"], 0, "{body}");
    assert!(body["backlog"]["oldest_s"].is_i64(), "{body}");
    world.finish().await;
}

#[tokio::test]
async fn a_failing_platform_is_shown_as_degraded_with_its_start_and_advice() {
    let world = World::start().await;
    let began = world.clock.now().seconds();
    let fault = wechat_im_bridge::internals::sandbox::fault::Fault::Code(70001);
    world.im.faults().script("openim/sendmsg", 1000, fault);
    let phone = world.follower("deg");
    assert_eq!(phone.say("hello").await.text(), Some(TRANSFERRING), "pushes are still accepted");
    assert!(eventually(SOON, async || readyz(&world.ops()).await.1["status"] == "degraded").await);
    let (status, body) = readyz(&world.ops()).await;
    assert_eq!(
        (status, &body["im"]["ok"], &body["store"]["ok"]),
        (200, &json!(false), &json!(true)),
        "{body}"
    );
    assert!(body["im"]["since"].as_i64().unwrap() >= began, "{body}");
    assert!(!body["im"]["advice"].as_str().unwrap().is_empty(), "{body}");
    assert!(eventually(SOON, async || readyz(&world.ops()).await.1["backlog"]["waiting"] == 1).await);
    world.clock.advance(30_000);
    let old = eventually(SOON, async || {
        let (_, body) = readyz(&world.ops()).await;
        body["backlog"]["oldest_s"].as_i64().is_some_and(|age| age >= 30)
    });
    assert!(old.await, "{:?}", readyz(&world.ops()).await);
    world.im.faults().clear();
    world.clock.advance(120_000);
    await_texts(&world.agent(), &openid("deg"), 1).await;
    assert!(eventually(SOON, async || readyz(&world.ops()).await.1["status"] == "ok").await);
    world.finish().await;
}

#[tokio::test]
async fn healthz_and_metrics_have_their_formats() {
    let world = World::start().await;
    world.follower("m").say("hello").await;
    await_texts(&world.agent(), &openid("m"), 1).await;
    assert_eq!(raw_http::get(&world.ops(), "/healthz").await.status, 200);
    let metrics = raw_http::get(&world.ops(), "/metrics").await;
    assert_eq!(metrics.status, 200);
    let mut samples = 0;
    for line in metrics.text().lines() {
        if line.starts_with('#') {
            let words: Vec<&str> = line.split(' ').collect();
            let known =
                matches!(words[1], "HELP" | "TYPE" | "UNIT") && words[2].starts_with("wechat_im_bridge_");
            assert!(known || line == "# EOF", "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("wechat_im_bridge_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(!line.contains(&openid("m")), "an openid must not be a label: {line}");
            samples += 1;
        }
    }
    assert!(samples > 10);
    assert!(metrics.text().contains("wechat_im_bridge_accepted_total{source=\"push\"} 1"));
    for path in ["/nothing", "/?signature=1", "/imcallback"] {
        assert_eq!(raw_http::get(&world.ops(), path).await.status, 404, "{path}");
    }
    world.finish().await;
}

#[tokio::test]
async fn the_operations_listener_may_be_off() {
    let mut world = World::start().await;
    world.stop_bridge().await;
    let toml = world.config_toml().replace("ops_listen = \"127.0.0.1:0\"", "ops_listen = \"\"");
    let config = wechat_im_bridge::internals::config::Config::from_toml_str(&toml, []).unwrap().0;
    let running =
        wechat_im_bridge::internals::app::start(config, Vec::new(), world.clock.clone()).await.unwrap();
    assert_eq!(running.ops, None);
    let public = format!("http://{}", running.public);
    assert_eq!(raw_http::get(&public, "/readyz").await.status, 404);
    running.stop().await.unwrap();
}

/// Another connection holds the database's write lock, which stops commits as a full disk would.
#[tokio::test]
async fn while_the_store_cannot_commit_nothing_is_acknowledged_and_afterwards_work_continues() {
    let world = Setup::default().on_sqlite().start().await;
    let (phone, agent) = (world.follower("jam"), world.agent());
    phone.say("before").await;
    await_texts(&agent, &openid("jam"), 1).await;
    let other = rusqlite::Connection::open(world.folder.path().join("bridge.db")).unwrap();
    assert!(eventually(SOON, async || other.execute_batch("BEGIN EXCLUSIVE").is_ok()).await);

    let push = format!("/?{}", raw_http::query(&world));
    let message = text_message(&openid("jam"), 1, "during");
    let callback = raw_http::callback_path(&world, &[]);
    let answer = json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("jam"),
        "MsgKey": "1_2_3", "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "an answer"}}],
    })
    .to_string();
    let public = world.public();
    let follow = format!(
        "<xml><ToUserName>gh_bridge000001</ToUserName><FromUserName>oNEW</FromUserName>\
         <CreateTime>{}</CreateTime><MsgType>event</MsgType><Event>subscribe</Event></xml>",
        raw_http::started_s()
    );
    let (pushed, followed, called_back) = tokio::join!(
        raw_http::post(&public, &push, &message),
        raw_http::post(&public, &push, &follow),
        raw_http::post(&public, &callback, &answer),
    );
    for refused in [&pushed, &followed, &called_back] {
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(!refused.text().contains("success") && !refused.text().contains("OK"), "{refused:?}");
    }
    let body: Value = serde_json::from_slice(&called_back.body).unwrap();
    assert_eq!((&body["ActionStatus"], &body["ErrorCode"]), (&json!("FAIL"), &json!(1)));

    assert!(eventually(SOON, async || readyz(&world.ops()).await.0 == 503).await);
    let (_, body) = readyz(&world.ops()).await;
    assert_eq!((&body["status"], &body["store"]["ok"]), (&json!("unavailable"), &json!(false)), "{body}");
    assert!(body["store"]["since"].is_i64() && body["store"]["advice"].is_string(), "{body}");
    assert_eq!(raw_http::get(&world.ops(), "/healthz").await.status, 200);
    assert_eq!(raw_http::get(&world.ops(), "/metrics").await.status, 200);
    assert!(world.wechat.verify_url().await, "the address check needs no store");

    other.execute_batch("ROLLBACK").unwrap();
    let recovered = eventually(Duration::from_secs(20), async || readyz(&world.ops()).await.0 == 200).await;
    assert!(recovered, "the store did not recover by itself: {:?}", readyz(&world.ops()).await);
    let repeated = raw_http::post(&public, &push, &message).await;
    assert!(repeated.text().contains(TRANSFERRING), "{repeated:?}");
    assert_eq!(raw_http::post(&public, &callback, &answer).await.status, 200);
    let arrived = await_texts(&agent, &openid("jam"), 2).await;
    assert_eq!(
        arrived,
        [format!("{INQUIRY}before"), format!("{INQUIRY}during")],
        "once, though pushed twice"
    );
    await_shown(&phone, "an answer").await;
    assert_eq!(phone.texts().iter().filter(|text| *text == "an answer").count(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_stop_finishes_open_requests_and_readyz_shows_it() {
    let mut world = Setup::default().set("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "30").start().await;
    world.follower("stop");
    let (public, ops) = (world.public(), world.ops());
    let message = text_message(&openid("stop"), 1, "the last words");
    let (first, second) = message.split_at(50);
    let mut connection = Connection::open(&public).await;
    connection.send(raw_http::head(&format!("/?{}", raw_http::query(&world)), message.len())).await;
    connection.send(first).await;
    // A later request that is answered proves that the server has read the first one.
    assert_eq!(raw_http::get(&public, "/nothing").await.status, 404);
    let meanwhile = async {
        let stopping = eventually(SOON, async || readyz(&ops).await.0 == 503).await;
        assert!(stopping, "{:?}", readyz(&ops).await);
        let (_, body) = readyz(&ops).await;
        assert_eq!((&body["status"], &body["store"]["ok"]), (&json!("unavailable"), &json!(true)), "{body}");
        assert!(body["why"].as_str().unwrap().contains("shutting down"), "{body}");
        assert_eq!(raw_http::get(&ops, "/healthz").await.status, 200);
        connection.send(second).await;
        connection.response().await.unwrap()
    };
    let (answer, ()) = tokio::join!(meanwhile, world.stop_bridge());
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(TRANSFERRING), "{answer:?}");
    let refused = tokio::net::TcpStream::connect(public.strip_prefix("http://").unwrap()).await;
    assert!(refused.is_err(), "the port is closed");
    world.start_bridge().await;
    await_texts(&world.agent(), &openid("stop"), 1).await;
    world.finish().await;
}
