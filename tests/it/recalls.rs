//! Recalls and edits by agents: what has not left is dropped or gets its new words; if it has left, the agent gets one
//! notice.

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::SentMessage;
use wechat_im_bridge::internals::sandbox::wechat::Field;

use crate::held::send_and_reset;
use crate::observe::{
    CUSTOM_SEND, await_notice, await_sends, await_states, counter_value, greeted, notices, states, stored,
};
use crate::raw_http::{self, callback_path};
use crate::world::{SOON, Setup, TRANSFERRING, World, await_shown, eventually, openid};

/// A recall as a client causes it.
const RECALL: &str = include_str!("files/cases/i09-recall-of-held.json");
const RECALLED: &str = "wechat_im_bridge_ended_total{direction=\"to_wechat\",state=\"recalled\"}";

fn ignored(reason: &str) -> String {
    format!("wechat_im_bridge_ignored_callbacks_total{{reason=\"{reason}\"}}")
}

async fn post(world: &World, body: &str) {
    let parsed: Value = serde_json::from_str(body).unwrap();
    let command = parsed["CallbackCommand"].as_str().unwrap();
    let path = callback_path(world, &[("CallbackCommand", command)]);
    let answer = raw_http::post(&world.public(), &path, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn recall(world: &World, customer: &str, msg_key: &str) {
    recall_by(world, "user1", customer, msg_key).await;
}

pub async fn recall_by(world: &World, agent: &str, customer: &str, msg_key: &str) {
    let body = RECALL.replace("user1", agent);
    post(world, &body.replace("{{OPENID}}", customer).replace("{{MSGKEY}}", msg_key)).await;
}

/// The callback about an edit at the time `at` of the message `sent`.
pub async fn edit(world: &World, customer: &str, sent: &SentMessage, words: &str, at: i64) {
    edit_with(world, customer, &sent.msg_key, words, at, "").await;
}

async fn edit_with(world: &World, customer: &str, msg_key: &str, words: &str, at: i64, custom: &str) {
    let numbers: Vec<i64> = msg_key.split('_').map(|number| number.parse().unwrap()).collect();
    let body = json!({
        "CallbackCommand": "C2C.CallbackAfterModifyMsg", "Operator_Account": "user1", "From_Account": "user1",
        "To_Account": customer, "MsgSeq": numbers[0], "MsgRandom": numbers[1], "MsgTime": numbers[2],
        "MsgKey": msg_key, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": words}}],
        "CloudCustomData": custom, "EventTime": at,
    });
    post(world, &body.to_string()).await;
}

/// An agent's message that is held because the customer's window is closed.
async fn held(world: &World, customer: &str, words: &str) -> SentMessage {
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    let sent = world.agent().say(customer, words).await.unwrap();
    await_notice(&world.agent(), customer, words).await;
    sent
}

#[tokio::test]
async fn a_held_message_that_is_recalled_never_reaches_the_customer() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "held").await, openid("held"));
    let sent = held(&world, &customer, "the price is 10").await;
    recall(&world, &customer, &sent.msg_key).await;
    assert_eq!(states(&world, &customer).await, ["recalled"]);
    assert_eq!(stored(&world, &customer).await[0].last_error.as_deref(), Some("recalled by its agent"));
    assert_eq!(phone.say("and?").await.text(), Some(TRANSFERRING));
    recall(&world, &customer, &sent.msg_key).await;
    assert_eq!(counter_value(&world, RECALLED).await, 1);
    assert_eq!(counter_value(&world, &ignored("repeat")).await, 1);
    world.agent().say(&customer, "the price is 12").await.unwrap();
    await_shown(&phone, "the price is 12").await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["the price is 12"]);
    assert_eq!(notices(&world.agent(), &customer).len(), 1, "only the notice that it was held");
    assert_eq!(world.ready().await["backlog"]["held"], 0);
    world.finish().await;
}

#[tokio::test]
async fn a_message_that_waits_for_its_next_attempt_is_recalled_and_the_next_one_goes() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "wait").await, openid("wait"));
    world.wechat.faults().script(CUSTOM_SEND, 1_000, Fault::Code(-1));
    let first = world.agent().say(&customer, "first").await.unwrap();
    // The next attempt is far off, so that the recall comes before it on the slowest machine.
    let far_off = world.clock.now().plus(3_600_000).0;
    let postponed = eventually(SOON, async || {
        let sql = "UPDATE message SET due_at = ?2 WHERE openid = ?1 AND attempts > 0 AND state = 0";
        world.database().execute(sql, &[json!(customer), json!(far_off)]) == 1
    });
    assert!(postponed.await, "{:?}", stored(&world, &customer).await);
    world.wechat.faults().clear();
    world.agent().say(&customer, "second").await.unwrap();
    assert_eq!(states(&world, &customer).await, ["waiting", "waiting"]);
    recall(&world, &customer, &first.msg_key).await;
    assert_eq!(states(&world, &customer).await[0], "recalled");
    await_shown(&phone, "second").await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["second"]);
    await_states(&world, &customer, &["recalled", "delivered"]).await;
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn a_message_that_the_customer_has_cannot_be_recalled_and_the_agent_is_told_once() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "late").await, openid("late"));
    let sent = world.agent().say(&customer, "wrong window").await.unwrap();
    await_shown(&phone, "wrong window").await;
    await_states(&world, &customer, &["delivered"]).await;
    for _ in 0..3 {
        recall(&world, &customer, &sent.msg_key).await;
    }
    let told = await_notice(&world.agent(), &customer, "wrong window").await;
    assert!(told[0].contains("cannot take it back"), "{told:?}");
    assert_eq!(counter_value(&world, &ignored("repeat")).await, 2);
    await_states(&world, &customer, &["delivered"]).await;

    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::BadGateway);
    let lost = world.agent().say(&customer, "lost words").await.unwrap();
    await_states(&world, &customer, &["delivered", "unknown"]).await;
    await_notice(&world.agent(), &customer, "lost words").await;
    recall(&world, &customer, &lost.msg_key).await;
    let told = await_notice(&world.agent(), &customer, "may have it").await;
    assert_eq!(told.len(), 3, "{told:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_message_that_is_recalled_while_it_is_being_sent_is_reported_when_it_arrived() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "now").await, openid("now"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Delay(Duration::from_millis(1_500)));
    let sent = world.agent().say(&customer, "on its way").await.unwrap();
    await_shown(&phone, "on its way").await;
    recall(&world, &customer, &sent.msg_key).await;
    recall(&world, &customer, &sent.msg_key).await;
    assert!(eventually(SOON, async || !notices(&world.agent(), &customer).is_empty()).await);
    await_states(&world, &customer, &["delivered"]).await;
    let told = notices(&world.agent(), &customer);
    assert!(told.len() == 1 && told[0].contains("the customer has it"), "{told:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_recall_that_overtakes_its_message_is_remembered() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "early").await, openid("early"));
    world.lose_callbacks(1);
    let sent = world.agent().say(&customer, "never mind").await.unwrap();
    recall(&world, &customer, &sent.msg_key).await;
    assert_eq!(counter_value(&world, &ignored("unknown_message")).await, 1);
    world.im.repeat(&sent).await.unwrap();
    assert_eq!(counter_value(&world, &ignored("recalled")).await, 1);
    await_states(&world, &customer, &["recalled"]).await;
    assert_eq!(phone.say("hm?").await.text(), Some(TRANSFERRING));
    world.agent().say(&customer, "next").await.unwrap();
    await_shown(&phone, "next").await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["next"]);
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn the_parts_of_a_long_message_that_have_not_left_are_dropped() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "parts").await, openid("parts"));
    for n in 1..=4 {
        world.agent().say(&customer, &format!("line {n}")).await.unwrap();
    }
    let long = format!("begin {}", "word ".repeat(1_000));
    let sent = world.agent().say(&customer, &long).await.unwrap();
    await_states(&world, &customer, &["delivered", "delivered", "delivered", "delivered", "held"]).await;
    recall(&world, &customer, &sent.msg_key).await;
    let told = await_notice(&world.agent(), &customer, "the first part").await;
    assert_eq!(told.iter().filter(|notice| notice.contains("recalled")).count(), 1, "{told:?}");
    assert_eq!(states(&world, &customer).await[4], "recalled");
    assert_eq!(phone.say("go on").await.text(), Some(TRANSFERRING));
    assert_eq!(await_sends(&world, &customer, 5).await.len(), 5);
    world.finish().await;
}

#[tokio::test]
async fn a_message_in_a_passive_reply_that_was_written_out_is_reported_and_not_sent_again() {
    let world = Setup::default().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let (phone, customer) = (greeted(&world, "reply").await, openid("reply"));
    let sent = world.agent().say(&customer, "by reply").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    let draft = phone.draft(vec![Field::text("MsgType", "text"), Field::text("Content", "?")]);
    assert_eq!(world.wechat.deliver(&draft).await.text(), Some("by reply"));
    recall(&world, &customer, &sent.msg_key).await;
    await_notice(&world.agent(), &customer, "cannot take it back").await;
    await_states(&world, &customer, &["delivered"]).await;
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    world.finish().await;
}

#[tokio::test]
async fn a_message_in_a_passive_reply_that_was_not_written_is_dropped_when_that_is_certain() {
    let world = Setup::default().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let (phone, customer) = (greeted(&world, "reset").await, openid("reset"));
    let sent = world.agent().say(&customer, "by reply").await.unwrap();
    await_notice(&world.agent(), &customer, "by reply").await;
    let draft = phone.draft(vec![Field::text("MsgType", "text"), Field::text("Content", "?")]);
    send_and_reset(&world, &draft).await;
    // WeChat may still ask again and get the reply, so nobody knows yet.
    await_states(&world, &customer, &["waiting"]).await;
    recall(&world, &customer, &sent.msg_key).await;
    assert_eq!(states(&world, &customer).await, ["waiting"]);
    world.clock.advance(21_000);
    await_states(&world, &customer, &["recalled"]).await;
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    assert_eq!(notices(&world.agent(), &customer).len(), 1, "only the notice that it was held");
    assert_eq!(counter_value(&world, RECALLED).await, 1);
    world.finish().await;
}

#[tokio::test]
async fn an_edited_message_that_is_held_arrives_once_with_its_new_words_in_its_place() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "edit").await, openid("edit"));
    let sent = held(&world, &customer, "ten euros").await;
    world.agent().say(&customer, "behind it").await.unwrap();
    await_states(&world, &customer, &["held", "held"]).await;
    let data = r#"{"messageReact":{"reacts":[],"version":1}}"#;
    edit_with(&world, &customer, &sent.msg_key, "ten euros", 5, data).await;
    assert_eq!(counter_value(&world, &ignored("unchanged")).await, 1);
    edit(&world, &customer, &sent, "twelve euros", 20).await;
    edit(&world, &customer, &sent, "twelve euros", 20).await;
    assert_eq!(counter_value(&world, &ignored("unchanged")).await, 2);
    edit(&world, &customer, &sent, "eleven euros", 10).await;
    assert_eq!(counter_value(&world, &ignored("repeat")).await, 1, "a later edit has overtaken it");
    assert_eq!(phone.say("how much?").await.text(), Some("twelve euros\nbehind it"));
    await_states(&world, &customer, &["delivered", "delivered"]).await;
    let told = notices(&world.agent(), &customer);
    assert!(!told.iter().any(|notice| notice.contains("changed")), "{told:?}");
    world.finish().await;
}

#[tokio::test]
async fn an_edit_of_a_message_that_has_left_is_reported_once() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "gone").await, openid("gone"));
    let sent = world.agent().say(&customer, "at nine").await.unwrap();
    await_shown(&phone, "at nine").await;
    await_states(&world, &customer, &["delivered"]).await;
    edit_with(&world, &customer, &sent.msg_key, "at nine", 5, r#"{"messageReplies":{}}"#).await;
    edit(&world, &customer, &sent, "at ten", 10).await;
    edit(&world, &customer, &sent, "at ten", 10).await;
    let told = await_notice(&world.agent(), &customer, "at nine").await;
    assert!(told.len() == 1 && told[0].contains("old wording"), "{told:?}");
    assert_eq!(counter_value(&world, &ignored("unchanged")).await, 2);
    assert_eq!(await_sends(&world, &customer, 1).await, ["at nine"]);
    world.finish().await;
}

#[tokio::test]
async fn an_edit_into_a_command_is_neither_sent_nor_carried_out() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "command").await, openid("command"));
    let sent = held(&world, &customer, "bye").await;
    edit(&world, &customer, &sent, "/close", 10).await;
    await_notice(&world.agent(), &customer, "changed into a command").await;
    await_states(&world, &customer, &["recalled"]).await;
    let sql = "SELECT agent FROM conversation WHERE openid = ?1";
    let agent: Option<String> = world.database().value(sql, &[json!(customer)]);
    assert_eq!(agent.as_deref(), Some("user1"), "the conversation goes on");
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    world.finish().await;
}

#[tokio::test]
async fn a_recall_whose_callback_was_lost_is_found_in_ims_history() {
    let mut world = World::start().await;
    let (phone, customer) = (greeted(&world, "lost").await, openid("lost"));
    let sent = held(&world, &customer, "not for you").await;
    world.stop_bridge().await;
    assert!(world.agent().recall(&customer, &sent.msg_key));
    world.start_bridge().await;
    await_states(&world, &customer, &["recalled"]).await;
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    assert!(await_sends(&world, &customer, 0).await.is_empty());
    world.finish().await;
}
