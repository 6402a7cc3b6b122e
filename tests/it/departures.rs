//! Where the bridge departs from the demo that it began as: each row of the README's table.

use std::path::Path;

use crate::world::{SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid, texts};

#[tokio::test]
async fn a_push_without_a_valid_signature_is_refused_and_not_forwarded() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("a"), world.agent());
    let genuine = phone.say("genuine").await;
    assert_eq!(genuine.text(), Some(TRANSFERRING));
    for wrong in ["", "0000000000000000000000000000000000000000"] {
        let forged = world
            .wechat
            .push_raw(&openid("a"), "<xml><MsgType>text</MsgType></xml>", |query| {
                query.set("signature", wrong);
            })
            .await;
        assert_eq!(forged.status, Some(403), "{forged:?}");
    }
    phone.say("genuine again").await;
    assert_eq!(await_texts(&agent, &openid("a"), 2).await.len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn a_callback_of_another_app_or_without_a_valid_sign_is_refused() {
    let world = World::start().await;
    world.follower("b").say("hello").await;
    let body = serde_json::json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("b"),
        "MsgKey": "1_2_3", "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "forged"}}],
    })
    .to_string();
    for (parameter, value) in [("SdkAppid", "1400000001"), ("Sign", "00"), ("RequestTime", "1700000000")] {
        let answer = world.im.send_raw_callback(&body, |query| query.set(parameter, value)).await;
        assert_eq!(answer.status, Some(403), "{parameter}: {answer:?}");
    }
    assert_eq!(world.im.send_raw_callback("no JSON", |_| {}).await.status, Some(400));
    assert_eq!(world.im.send_raw_callback(&body, |_| {}).await.status, Some(200), "the bridge lives");
    world.finish().await;
}

#[tokio::test]
async fn messages_come_from_the_customer_with_their_own_random_numbers_and_live_for_a_week() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("c"), world.agent());
    phone.say("one").await;
    phone.say("two").await;
    await_texts(&agent, &openid("c"), 2).await;
    let ledger = world.im.ledger();
    let sends: Vec<_> = ledger.sends().collect();
    assert!(sends.iter().all(|send| send.from == openid("c") && send.to == "user1"));
    assert!(sends.iter().all(|send| send.field("MsgLifeTime") == 604_800));
    assert_ne!(sends[0].random, sends[1].random);
    assert!(sends[0].seq < sends[1].seq);
    world.finish().await;
}

#[tokio::test]
async fn the_reply_has_seconds_and_escapes_the_end_of_cdata() {
    let texts = "a ]]> b & <c> 😀";
    let world = Setup::default().set("BRIDGE_TEXTS__TRANSFERRING", texts).start().await;
    let pushed = world.follower("d").say("hello").await;
    assert_eq!(pushed.text(), Some(texts));
    let created = pushed.reply.unwrap().create_time;
    assert!((created - world.clock.now().seconds()).abs() < 60, "{created}");
    world.finish().await;
}

#[tokio::test]
async fn unknown_events_are_answered_and_the_usersig_is_renewed() {
    let world = Setup::default().set("BRIDGE_IM__USERSIG_EXPIRE_S", "3600").start().await;
    let (phone, agent) = (world.follower("e"), world.agent());
    let event = phone.tap_menu("some_event_of_2031", "key").await;
    assert_eq!(&event.attempts[0].body[..], b"success");
    world.clock.advance(2 * 3600 * 1000);
    phone.say("two hours later").await;
    await_texts(&agent, &openid("e"), 1).await;
    world.finish().await;
}

#[tokio::test]
async fn an_answer_from_any_configured_agent_reaches_the_customer() {
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .im(|im| im.rate_per_second = 1_000)
        .wechat(|wechat| wechat.quota_messages = 20)
        .start()
        .await;
    world.im.import("user2").unwrap();
    let phone = world.follower("f");
    phone.say("hello").await;
    assert!(eventually(SOON, async || world.im.account(&openid("f")).is_some()).await);
    for agent in ["user1", "user2"] {
        let client = world.im.agent(agent).unwrap();
        client.say(&openid("f"), &format!("from {agent}")).await.unwrap();
        await_shown(&phone, &format!("from {agent}")).await;
    }
    let counted = eventually(SOON, async || {
        world.metrics().await.contains("ended_total{direction=\"to_wechat\",state=\"delivered\"} 2")
    });
    assert!(counted.await, "{}", world.metrics().await);
    assert!(world.public().starts_with("http://127.0.0.1:"));
    assert!(texts(&world.agent(), &openid("f")).len() <= 1);
    world.finish().await;
}

/// Each row's first cell with the test that would fail if the bridge did as the demo does.
const TESTS: [(&str, &str); 13] = [
    (
        "POSTs are not authenticated",
        "departures::a_push_without_a_valid_signature_is_refused_and_not_forwarded",
    ),
    (
        "callbacks are not authenticated",
        "departures::a_callback_of_another_app_or_without_a_valid_sign_is_refused",
    ),
    (
        "`sendmsg` from the admin account",
        "departures::messages_come_from_the_customer_with_their_own_random_numbers_and_live_for_a_week",
    ),
    (
        "constant `MsgRandom`",
        "departures::messages_come_from_the_customer_with_their_own_random_numbers_and_live_for_a_week",
    ),
    (
        "`MsgLifeTime` 60 s",
        "departures::messages_come_from_the_customer_with_their_own_random_numbers_and_live_for_a_week",
    ),
    (
        "only text reaches the agent",
        "pushes::a_message_of_any_kind_is_answered_at_once_and_reaches_the_agent",
    ),
    ("`CreateTime` in milliseconds", "departures::the_reply_has_seconds_and_escapes_the_end_of_cdata"),
    ("text pasted into CDATA", "departures::the_reply_has_seconds_and_escapes_the_end_of_cdata"),
    ("unknown events never answered", "departures::unknown_events_are_answered_and_the_usersig_is_renewed"),
    (
        "one bad JSON body ends the process",
        "departures::a_callback_of_another_app_or_without_a_valid_sign_is_refused",
    ),
    ("UserSig made once for 180 days", "departures::unknown_events_are_answered_and_the_usersig_is_renewed"),
    ("UserSig printed, bodies printed", "serve::the_log_never_shows_a_secret_and_at_info_no_message_text"),
    (
        "the answer to the customer is a comment",
        "departures::an_answer_from_any_configured_agent_reaches_the_customer",
    ),
];

#[test]
fn every_row_of_the_readmes_table_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Departures from the demo").unwrap();
    let (_, table) = section.split_once("|---|---|---|\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.split_once(" |"));
    let rows: Vec<&str> = rows.map(|(demo, _)| demo).collect();
    assert_eq!(rows, TESTS.map(|(demo, _)| demo));
    for (_, test) in TESTS {
        let (module, name) = test.split_once("::").unwrap();
        let source = std::fs::read_to_string(root.join(format!("tests/it/{module}.rs"))).unwrap();
        assert!(source.contains(&format!("\nasync fn {name}()")), "{test} is no test");
    }
}
