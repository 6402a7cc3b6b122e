//! The backfill: agents' messages whose callback never came are found in IM's history, delivered
//! once and in order, and counted.

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::SentMessage;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::observe::{SENDMSG, await_sends, await_states, counter_value, greeted};
use crate::world::{SOON, Setup, World, await_shown, await_texts, eventually, openid};

const HISTORY: &str = "openim/admin_getroammsg";
/// A little more than the minute between two backfills, in milliseconds.
const ROUND_MS: i64 = 61_000;
const BACKFILLED: &str = "wechat_im_bridge_backfilled_total";

/// Starts the next backfill round and waits until it has read `views` pages of the history.
async fn next_round(world: &World, pages: u64) {
    let before = world.im.ledger().call_count(HISTORY);
    world.clock.advance(ROUND_MS);
    let read = eventually(SOON, async || world.im.ledger().call_count(HISTORY) >= before + pages).await;
    assert!(read, "{} of {pages} pages were read", world.im.ledger().call_count(HISTORY) - before);
}

/// A callback for the message `sent`, with the key `told_key` instead of the one in IM's history.
fn callback_for(sent: &SentMessage, customer: &str, text: &str, key: &str) -> String {
    let numbers: Vec<i64> = sent.msg_key.split('_').map(|number| number.parse().unwrap()).collect();
    json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": customer,
        "MsgSeq": numbers[0], "MsgRandom": numbers[1], "MsgTime": numbers[2], "MsgKey": key,
        "SendMsgResult": 0, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}],
    })
    .to_string()
}

#[tokio::test]
async fn messages_with_lost_callbacks_are_backfilled_within_70_s_once_and_in_order() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.lose_callbacks(2);
    let first = agent.say(&customer, "first").await.unwrap();
    agent.say(&customer, "second").await.unwrap();
    assert!(first.callback.is_none());
    world.clock.advance(ROUND_MS);
    assert_eq!(await_sends(&world, &customer, 2).await, ["first", "second"]);
    assert_eq!(counter_value(&world, BACKFILLED).await, 2);
    // A callback that comes late causes no second message, and neither does another round.
    let late = world.im.repeat(&first).await.unwrap();
    assert_eq!(late.error, None);
    agent.say(&customer, "third").await.unwrap();
    await_shown(&phone, "third").await;
    next_round(&world, 1).await;
    next_round(&world, 1).await;
    await_states(&world, &customer, &["delivered"; 3]).await;
    assert_eq!(await_sends(&world, &customer, 3).await, ["first", "second", "third"]);
    assert_eq!(counter_value(&world, BACKFILLED).await, 2, "a message that came by callback is not counted");
    let steps: Vec<String> =
        world.database().column("SELECT detail FROM step WHERE event = 'recovered'", &[]);
    assert_eq!(steps, ["its callback did not arrive"; 2]);
    world.finish().await;
}

#[tokio::test]
async fn messages_sent_while_the_bridge_was_down_are_backfilled_at_the_next_start() {
    let mut world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.stop_bridge().await;
    let sent = agent.say(&customer, "nobody is there").await.unwrap();
    assert!(sent.callback.is_none_or(|callback| callback.error.is_some()));
    world.start_bridge().await;
    await_shown(&phone, "nobody is there").await;
    await_states(&world, &customer, &["delivered"]).await;
    world.restart().await;
    phone.say("thanks").await;
    next_round(&world, 1).await;
    await_states(&world, &customer, &["delivered"]).await;
    world.finish().await;
}

/// Only IM's time in seconds and its number decide the order, not the moment at which a message is
/// found.
#[tokio::test]
async fn messages_sent_while_the_bridge_was_down_are_sent_before_those_right_after_the_start() {
    let mut world = World::start().await;
    let (agent, customer) = (world.agent(), openid("a"));
    greeted(&world, "a").await;
    world.stop_bridge().await;
    world.clock.advance(2_000);
    for text in ["first", "second"] {
        let sent = agent.say(&customer, text).await.unwrap();
        assert!(sent.callback.is_none_or(|callback| callback.error.is_some()));
    }
    // The first backfill fails, and the next one is slow.
    world.im.faults().script(HISTORY, 2, Fault::Code(60008));
    world.im.faults().script(HISTORY, 1, Fault::Delay(Duration::from_millis(300)));
    world.start_bridge().await;
    for text in ["third", "fourth"] {
        let sent = agent.say(&customer, text).await.unwrap();
        assert_eq!(sent.callback.unwrap().error, None);
    }
    assert_eq!(await_sends(&world, &customer, 4).await, ["first", "second", "third", "fourth"]);
    assert_eq!(counter_value(&world, BACKFILLED).await, 2);
    // From now on no answer waits for a backfill.
    let reads = world.im.ledger().call_count(HISTORY);
    agent.say(&customer, "fifth").await.unwrap();
    assert_eq!(await_sends(&world, &customer, 5).await[4], "fifth");
    assert_eq!(world.im.ledger().call_count(HISTORY), reads);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_waits_for_the_backfill_only_for_a_limited_time() {
    let mut world = World::start().await;
    let (agent, customer) = (world.agent(), openid("a"));
    greeted(&world, "a").await;
    world.stop_bridge().await;
    world.clock.advance(2_000);
    agent.say(&customer, "first").await.unwrap();
    world.im.faults().script(HISTORY, 1_000, Fault::Code(60008));
    world.start_bridge().await;
    agent.say(&customer, "second").await.unwrap();
    assert_eq!(await_sends(&world, &customer, 1).await, ["second"]);
    world.im.faults().clear();
    next_round(&world, 1).await;
    assert_eq!(await_sends(&world, &customer, 2).await, ["second", "first"]);
    world.finish().await;
}

#[tokio::test]
async fn a_backfilled_answer_goes_before_younger_held_answers() {
    let mut world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(45047));
    agent.say(&customer, "zeroth").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    world.stop_bridge().await;
    world.clock.advance(2_000);
    agent.say(&customer, "first").await.unwrap();
    world.start_bridge().await;
    agent.say(&customer, "second").await.unwrap();
    await_states(&world, &customer, &["held"; 3]).await;
    assert_eq!(phone.say("and?").await.text(), Some("zeroth\nfirst\nsecond"));
    world.finish().await;
}

/// IM does not promise to send callbacks in order.
#[tokio::test]
async fn an_answer_with_a_late_callback_goes_before_younger_held_answers() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(45047));
    agent.say(&customer, "zeroth").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    world.clock.advance(2_000);
    world.lose_callbacks(1);
    let overtaken = agent.say(&customer, "first").await.unwrap();
    world.clock.advance(2_000);
    agent.say(&customer, "second").await.unwrap();
    await_states(&world, &customer, &["held"; 2]).await;
    assert_eq!(world.im.repeat(&overtaken).await.unwrap().error, None);
    await_states(&world, &customer, &["held"; 3]).await;
    assert_eq!(counter_value(&world, BACKFILLED).await, 0);
    assert_eq!(phone.say("and?").await.text(), Some("zeroth\nfirst\nsecond"));
    world.finish().await;
}

#[tokio::test]
async fn no_answer_behind_a_waiting_one_is_attached_to_a_reply() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__QUOTA_EVENT_MESSAGES", "1")
        .wechat(|settings| settings.quota_event_messages = 1)
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(45047));
    for text in ["first", "second"] {
        agent.say(&customer, text).await.unwrap();
    }
    await_states(&world, &customer, &["held"; 2]).await;
    // The reply to a follow is the welcome, so the first answer is sent by itself, and retried.
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(-1));
    phone.follow().await;
    await_states(&world, &customer, &["waiting", "held"]).await;
    let reply = phone.say("well?").await;
    assert!(!reply.text().is_some_and(|text| text.contains("second")), "{reply:?}");
    assert_eq!(await_sends(&world, &customer, 2).await, ["first", "second"]);
    world.finish().await;
}

#[tokio::test]
async fn no_answer_that_waits_for_the_backfill_is_attached_to_a_reply() {
    let mut world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(45047));
    agent.say(&customer, "held").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    world.stop_bridge().await;
    world.clock.advance(2_000);
    agent.say(&customer, "first").await.unwrap();
    world.im.faults().script(HISTORY, 2, Fault::Delay(Duration::from_millis(700)));
    world.start_bridge().await;
    agent.say(&customer, "second").await.unwrap();
    await_states(&world, &customer, &["held", "held"]).await;
    let reply = phone.say("well?").await;
    assert!(!reply.text().is_some_and(|text| text.contains("held")), "{reply:?}");
    assert_eq!(await_sends(&world, &customer, 3).await, ["held", "first", "second"]);
    world.finish().await;
}

#[tokio::test]
async fn nothing_else_in_the_history_is_backfilled() {
    let world = Setup::default().set("BRIDGE_IM__REST_ANSWERS", "false").start().await;
    let (agent, customer) = (world.agent(), openid("a"));
    // A message from before the bridge knew the customer.
    world.im.import(&customer).unwrap();
    agent.say(&customer, "too early").await.unwrap();
    world.clock.advance(2_000);
    let phone = greeted(&world, "a").await;
    world.lose_callbacks(3);
    let taken_back = agent.say(&customer, "taken back").await.unwrap();
    assert!(agent.recall(&customer, &taken_back.msg_key));
    let servers = agent.say(&customer, "by a server").await.unwrap();
    let callback = callback_for(&servers, &customer, "by a server", &servers.msg_key);
    let answer = world.im.send_raw_callback(&callback, |query| query.set("OptPlatform", "RESTAPI")).await;
    assert_eq!(answer.error, None);
    // WeChat says that the budget is used up, so that there is a notice in the history too. The
    // last lost message proves that the round took place.
    world.wechat.faults().script("message/custom/send", 1, Fault::Code(45047));
    agent.say(&customer, "lost").await.unwrap();
    next_round(&world, 1).await;
    await_states(&world, &customer, &["held"]).await;
    next_round(&world, 1).await;
    assert_eq!(phone.say("and?").await.text(), Some("lost"));
    next_round(&world, 1).await;
    await_states(&world, &customer, &["delivered"]).await;
    assert_eq!(counter_value(&world, BACKFILLED).await, 1);
    world.finish().await;
}

#[tokio::test]
async fn a_key_in_another_form_is_the_same_message() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.lose_callbacks(2);
    let first = agent.say(&customer, "told").await.unwrap();
    assert_eq!(
        world.im.send_raw_callback(&callback_for(&first, &customer, "told", "k-1"), |_| {}).await.error,
        None
    );
    await_shown(&phone, "told").await;
    let second = agent.say(&customer, "found").await.unwrap();
    next_round(&world, 1).await;
    await_shown(&phone, "found").await;
    assert_eq!(
        world.im.send_raw_callback(&callback_for(&second, &customer, "found", "k-2"), |_| {}).await.error,
        None
    );
    next_round(&world, 1).await;
    await_states(&world, &customer, &["delivered", "delivered"]).await;
    assert_eq!(counter_value(&world, BACKFILLED).await, 1);
    world.finish().await;
}

#[tokio::test]
async fn a_failed_round_is_repeated_and_each_round_reads_only_what_is_new() {
    let world = World::start().await;
    world.expect_error("IM does not call back");
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    world.lose_callbacks(1);
    agent.say(&customer, "found late").await.unwrap();
    world.im.faults().script(HISTORY, 1, Fault::Code(60008));
    next_round(&world, 1).await;
    await_states(&world, &customer, &[]).await;
    next_round(&world, 1).await;
    await_shown(&phone, "found late").await;

    world.clock.advance(3_600_000);
    phone.say("an hour later").await;
    await_texts(&agent, &customer, 2).await;
    next_round(&world, 1).await;
    let mut calls = world.im.events();
    next_round(&world, 1).await;
    let request = async {
        loop {
            let exchange = calls.recv().await.unwrap();
            if exchange.path.ends_with(HISTORY) {
                return serde_json::from_str::<Value>(&exchange.request).unwrap();
            }
        }
    };
    let request = tokio::time::timeout(Duration::from_secs(5), request).await.unwrap();
    let last = agent.conversation(&customer).last().unwrap().time;
    assert_eq!(request["MinTime"], last - 150, "{request}");
    assert_eq!((&request["Operator_Account"], &request["Peer_Account"]), (&json!("user1"), &json!(customer)));
    world.finish().await;
}

#[tokio::test]
async fn a_history_of_many_pages_is_backfilled_from_its_beginning() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__QUOTA_MESSAGES", "100")
        .wechat(|settings| settings.quota_messages = 100)
        .start()
        .await;
    world.expect_error("IM does not call back");
    let (agent, customer) = (world.agent(), openid("a"));
    greeted(&world, "a").await;
    let texts: Vec<String> = (0..16).map(|n| format!("{n:02} {}", "x".repeat(1_900))).collect();
    world.lose_callbacks(16);
    for text in &texts {
        agent.say(&customer, text).await.unwrap();
    }
    next_round(&world, 3).await;
    assert_eq!(await_sends(&world, &customer, 16).await, texts);
    assert_eq!(counter_value(&world, BACKFILLED).await, 16);
    world.finish().await;
}

/// How many messages wait.
async fn waiting(world: &World) -> u64 {
    world.ready().await["backlog"]["waiting"].as_u64().unwrap()
}

/// A conversation waits for the search for its last attempt, while a backfill of many histories can wait.
#[tokio::test]
async fn a_search_for_an_attempt_overtakes_the_backfills() {
    let agents: Vec<String> = (1..=8).map(|number| format!("user{number}")).collect();
    let mut world = Setup::default().set("BRIDGE_IM__AGENTS", agents.join(",")).start().await;
    for agent in &agents {
        world.im.agent(agent).unwrap();
    }
    let phones: Vec<Phone> = ["a", "b", "c", "d", "e", "f"].map(|name| world.follower(name)).into();
    for phone in &phones {
        phone.say("hello").await;
    }
    assert!(eventually(SOON, async || waiting(&world).await == 0).await);
    world.im.faults().script(SENDMSG, 1, Fault::DropAfter);
    phones[0].say("is it sent?").await;
    assert!(eventually(SOON, async || world.im.ledger().sends().count() == 6 + 7).await);
    world.stop_bridge().await;
    // The histories of six conversations with eight agents are read after each start, five pages a second.
    world.set("BRIDGE_IM__RATE_PER_SECOND", "5");
    let before = world.im.ledger().call_count(HISTORY);
    world.start_bridge().await;
    assert!(eventually(SOON, async || waiting(&world).await == 0).await);
    let read = world.im.ledger().call_count(HISTORY) - before;
    assert!(read <= 16, "{read} pages were read before");
    world.finish().await;
}
