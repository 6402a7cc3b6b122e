//! Tests of `sendmsg` and related commands: fields, deduplication, lifetimes, recall.

use super::super::Outcome::{self, Delivered, DeliveredAgain, Suppressed};
use super::*;

#[tokio::test]
async fn a_message_is_answered_stored_and_seen() {
    let bench = Bench::start().await;
    let body = with_field(bench.message("Is this in stock?"), "MsgRandom", json!(3_187_465_520_u32));
    let now = bench.now();
    let answer = bench.send(&body).await;
    assert_eq!(answer["MsgTime"], now);
    assert_eq!(answer["MsgKey"], format!("5_3187465520_{now}"));
    assert!(answer["MsgId"].as_str().unwrap().ends_with(&format!("-{now}-3187465520")));
    let inbox = bench.agent.wait_for(|inbox| !inbox.is_empty(), WAIT_LIMIT).await.unwrap();
    let message = &inbox[0];
    assert_eq!(
        (message.from.as_str(), message.to.as_str(), message.seq, message.unread),
        (CUSTOMER, AGENT, 5, true)
    );
    assert_eq!(
        (message.key.as_str(), message.cloud_custom_data.as_str()),
        (answer["MsgKey"].as_str().unwrap(), "{}")
    );
    let ledger = bench.sim.ledger();
    let sent = ledger.sends().next().unwrap();
    assert_eq!((sent.field("MsgLifeTime"), sent.outcome), (json!(604_800), Outcome::Delivered));
    bench.agent.read(CUSTOMER).await;
    assert!(!bench.agent.inbox()[0].unread);
}

#[tokio::test]
async fn every_field_is_checked() {
    let bench = Bench::start().await;
    let text = |text: Value| json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]);
    for (name, value, code) in [
        ("To_Account", json!(null), 90003),
        ("To_Account", json!(5), 90003),
        ("To_Account", json!("nobody"), 90012),
        ("From_Account", json!(5), 60015),
        ("From_Account", json!("nobody"), 20003),
        ("MsgRandom", json!(null), 90005),
        ("MsgRandom", json!("1"), 90005),
        ("MsgRandom", json!(4_294_967_296_i64), 90005),
        ("MsgRandom", json!(1.5), 90005),
        ("MsgSeq", json!(-1), 20001),
        ("MsgTimeStamp", json!("1700000000"), 90006),
        ("MsgLifeTime", json!("60"), 90044),
        ("MsgLifeTime", json!(604_801), 90026),
        ("SyncOtherMachine", json!(3), 90031),
        ("SyncOtherMachine", json!("2"), 90031),
        ("OnlineOnlyFlag", json!(2), 90001),
        ("ForbidCallbackControl", json!(["ForbidEverything"]), 90001),
        ("SendMsgControl", json!("NoUnread"), 90001),
        ("CloudCustomData", json!({}), 90001),
        ("OfflinePushInfo", json!("x"), 90043),
        ("MsgBody", json!(null), 90002),
        ("MsgBody", json!([]), 90002),
        ("MsgBody", json!({}), 90007),
        ("MsgBody", text(json!(1)), 90010),
        ("MsgBody", text(json!("x".repeat(12_001))), 93000),
    ] {
        let body = with_field(bench.message("x"), name, value);
        assert_eq!(bench.code("openim/sendmsg", &body).await, code, "{name}");
    }
    assert_eq!(bench.sim.ledger().sends().len(), 0);
    for name in
        ["MsgSeq", "MsgTimeStamp", "MsgLifeTime", "SyncOtherMachine", "CloudCustomData", "From_Account"]
    {
        let body = with_field(bench.message("x"), name, json!(null));
        assert_eq!(bench.code("openim/sendmsg", &body).await, 0, "{name} is optional");
    }
    assert_eq!(bench.agent.inbox().last().unwrap().from, ADMIN, "without From_Account the admin sends");
}

#[tokio::test]
async fn the_size_counts_custom_data_and_can_be_the_older_limit() {
    let bench = Bench::start().await;
    let frame = bench.message("")["MsgBody"].to_string().len();
    let body = |bytes: usize| {
        with_field(bench.message(&"x".repeat(bytes - frame - 10)), "CloudCustomData", json!("0123456789"))
    };
    assert_eq!(bench.code("openim/sendmsg", &body(12_000)).await, 0);
    assert_eq!(bench.code("openim/sendmsg", &body(12_001)).await, 93000);
    bench.sim.change(|settings| settings.body_limit = 8_000);
    assert_eq!(bench.code("openim/sendmsg", &body(8_000)).await, 0);
    assert_eq!(bench.code("openim/sendmsg", &body(8_001)).await, 93000);
}

#[tokio::test]
async fn a_repeat_within_the_second_is_dropped_and_a_later_one_arrives_twice() {
    let bench = Bench::start().await;
    let body = bench.message("once");
    bench.next_second();
    let first = bench.send(&body).await;
    let again =
        bench.send(&with_field(body.clone(), "MsgBody", bench.message("other")["MsgBody"].clone())).await;
    assert_eq!(first["MsgKey"], again["MsgKey"]);
    assert_eq!(texts(&bench.agent.inbox()), ["once"]);
    // Another MsgRandom, MsgSeq or direction is another message.
    bench.send(&with_field(body.clone(), "MsgSeq", json!(6))).await;
    bench.send(&with_field(body.clone(), "MsgRandom", json!(77))).await;
    assert_eq!(bench.agent.inbox().len(), 3);

    bench.clock.advance(1_000);
    let later = bench.send(&body).await;
    assert_ne!(first["MsgKey"], later["MsgKey"]);
    assert_eq!(bench.agent.inbox().len(), 4);
    let ledger = bench.sim.ledger();
    let outcomes: Vec<Outcome> = ledger.sends().map(|send| send.outcome).collect();
    assert_eq!(outcomes, [Delivered, Suppressed, Delivered, Delivered, DeliveredAgain]);
    assert_eq!(ledger.repeated_deliveries().count(), 1);

    bench.sim.change(|settings| settings.dedup = false);
    bench.send(&body).await;
    bench.send(&body).await;
    assert_eq!(bench.agent.inbox().len(), 6);
}

#[tokio::test]
async fn lifetime_and_online_only_decide_which_messages_arrive() {
    let bench = Bench::start().await;
    bench.agent.disconnect();
    let away = &bench.agent;
    bench.send(&with_field(bench.message("missed"), "OnlineOnlyFlag", json!(1))).await;
    bench.send(&with_field(bench.message("zero"), "MsgLifeTime", json!(0))).await;
    bench.send(&with_field(bench.message("short"), "MsgLifeTime", json!(60))).await;
    bench.send(&bench.message("long")).await;
    assert!(away.inbox().is_empty(), "a disconnected client gets nothing");
    bench.clock.advance(61_000);
    let agent = bench.sim.agent(AGENT).unwrap();
    assert_eq!(texts(&agent.inbox()), ["long"]);
    assert_eq!(texts(&agent.conversation(CUSTOMER)), ["short", "long"], "history has both messages");
    bench.send(&with_field(bench.message("here"), "OnlineOnlyFlag", json!(1))).await;
    assert_eq!(texts(&agent.inbox()), ["long", "here"]);
}

#[tokio::test]
async fn an_import_is_idempotent_over_time() {
    let bench = Bench::start().await;
    let body = json!({"SyncFromOldSystem": 5, "From_Account": CUSTOMER, "To_Account": AGENT, "MsgSeq": 1,
        "MsgRandom": 9, "MsgTimeStamp": bench.now() - 50, "MsgBody": bench.message("imported")["MsgBody"]});
    let path = "openim/importmsg";
    assert_eq!(bench.code(path, &body).await, 0);
    bench.clock.advance(5_000);
    assert_eq!(bench.code(path, &body).await, 0);
    assert_eq!(texts(&bench.agent.inbox()), ["imported"]);
    assert_eq!(bench.code(path, &with_field(body.clone(), "SyncFromOldSystem", json!(1))).await, 90030);
    assert_eq!(bench.code(path, &with_field(body.clone(), "MsgTimeStamp", json!(null))).await, 90006);
    assert_eq!(bench.code(path, &with_field(body, "From_Account", json!(null))).await, 90008);
}

#[tokio::test]
async fn a_message_is_recalled_once() {
    let bench = Bench::start().await;
    let key = bench.send(&bench.message("oops")).await["MsgKey"].clone();
    let path = "openim/admin_msgwithdraw";
    let body = json!({"From_Account": CUSTOMER, "To_Account": AGENT, "MsgKey": key});
    assert_eq!(bench.code(path, &with_field(body.clone(), "MsgKey", json!("x"))).await, 90054);
    assert_eq!(bench.code(path, &with_field(body.clone(), "MsgKey", json!("1_2_3"))).await, 20022);
    assert_eq!(bench.code(path, &body).await, 0);
    assert_eq!(bench.code(path, &body).await, 20023);
    assert!(bench.agent.inbox().is_empty());
}
