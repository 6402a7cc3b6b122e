//! The working hours of the desk: what customers read outside them, and when their messages reach the agents.

use wechat_im_bridge::internals::model::Millis;

use crate::observe::{await_notice, await_states, counter_value, greeted, notices};
use crate::staying_faults::operate;
use crate::unfollow::{is_deleted, is_imported};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid, texts,
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Wednesday, 2026-09-30, 20:00 in Shanghai.
const EVENING: Millis = Millis(1_790_769_600_000);
/// From then until 09:00 on Thursday.
const NIGHT_MS: i64 = 13 * HOUR_MS;
const AWAY: &str =
    "Nobody is here at the moment. We open tomorrow at 09:00 and will answer your message then.";

fn office() -> Setup {
    Setup::default().at(EVENING).set("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00")
}

/// What was sent to agents from this customer, in the order of the calls and without notices.
fn inquiries(world: &World, customer: &str) -> Vec<String> {
    let ledger = world.im.ledger();
    let sent = ledger.sends().filter(|send| send.from == customer);
    sent.filter_map(|send| send.text().strip_prefix(INQUIRY).map(str::to_owned)).collect()
}

async fn await_inquiries(world: &World, customer: &str, expected: &[&str]) {
    let arrived = eventually(SOON, async || inquiries(world, customer).len() >= expected.len()).await;
    assert_eq!(inquiries(world, customer), expected, "{arrived}");
}

/// Waits until the lane to the agent has made a turn, by a command that is answered.
async fn answered_a_command(world: &World, customer: &str) {
    let before = notices(&world.agent(), customer).len();
    world.agent().say(customer, "/who").await.unwrap();
    let answered = eventually(SOON, async || notices(&world.agent(), customer).len() > before).await;
    assert!(answered, "a command is not answered at night");
}

#[tokio::test]
async fn what_customers_write_at_night_reaches_the_agents_at_the_opening_and_in_order() {
    let mut world = office().start().await;
    let (phone, agent, customer) = (world.wechat.customer(&openid("a")), world.agent(), openid("a"));
    phone.follow().await;
    assert!(is_imported(&world, &customer).await, "an account is made at night too");
    assert_eq!(phone.say("one").await.text(), Some(AWAY));
    assert_eq!(phone.say("two").await.text(), None, "once a session");

    answered_a_command(&world, &customer).await;
    agent.say(&customer, "We are at home.").await.unwrap();
    await_shown(&phone, "We are at home.").await;
    let listed = operate(&world, &["messages", "list", "--state", "deferred", "--json"]).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let why = "outside the working hours; leaves at 2026-10-01T01:00:00Z";
    assert!(
        listed.lines().all(|line| line.contains(why) && line.contains("\"agent\":\"user1\"")),
        "{listed}"
    );
    let trace = operate(&world, &["trace", &customer]).await;
    assert!(trace.lines().any(|line| line.contains("deferred") && line.contains(why)), "{trace}");

    world.clock.advance(NIGHT_MS - HOUR_MS);
    world.restart().await;
    answered_a_command(&world, &customer).await;
    let ready = world.ready().await;
    assert_eq!((&ready["status"], &ready["backlog"]["deferred"]), (&"ok".into(), &2.into()), "{ready}");
    assert_eq!(counter_value(&world, "wechat_im_bridge_deferred").await, 2);
    assert!(inquiries(&world, &customer).is_empty(), "the desk is closed");

    world.clock.advance(HOUR_MS);
    assert_eq!(phone.say("three").await.text(), Some(TRANSFERRING));
    await_inquiries(&world, &customer, &["one", "two", "three"]).await;
    // A delivery is counted shortly after the call.
    let delivered = "wechat_im_bridge_end_to_end_seconds_count{direction=\"to_im\"}";
    assert!(eventually(SOON, async || counter_value(&world, delivered).await == 3).await);
    let quickly = "wechat_im_bridge_end_to_end_seconds_bucket{le=\"10.0\",direction=\"to_im\"}";
    assert_eq!(counter_value(&world, quickly).await, 3, "the night is no delay");
    world.finish().await;
}

#[tokio::test]
async fn without_a_new_message_the_opening_is_noticed_and_a_long_holiday_makes_no_message_too_old() {
    let world = office().set("BRIDGE_DESK__CLOSED", "2026-10-01..2026-11-15").start().await;
    let (phone, customer) = (world.follower("b"), openid("b"));
    let text = phone.say("happy holidays").await;
    assert!(text.text().is_some_and(|text| text.contains("on Monday, 16 November at 09:00")), "{text:?}");
    world.clock.advance(NIGHT_MS + 46 * 24 * HOUR_MS);
    await_inquiries(&world, &customer, &["happy holidays"]).await;
    world.finish().await;
}

#[tokio::test]
async fn delivered_at_once_or_not_the_customer_is_told_once_a_session_whatever_is_said_in_hours() {
    let world = office()
        .set("BRIDGE_DESK__AFTER_HOURS", "deliver")
        .set("BRIDGE_WECHAT__ACKNOWLEDGE", "never")
        .set("BRIDGE_TEXTS__LOCALE", "zh")
        .start()
        .await;
    let (phone, customer) = (world.follower("c"), openid("c"));
    let away = "现在不是服务时间，我们将于明天09:00开始服务，届时会回复您的留言。";
    assert_eq!(phone.say("urgent").await.text(), Some(away));
    assert_eq!(await_texts(&world.agent(), &customer, 1).await, ["来自微信公众号的咨询：urgent"]);
    assert_eq!(phone.say("very").await.text(), None);
    world.clock.advance(HOUR_MS);
    assert_eq!(phone.say("hello?").await.text(), Some(away), "another session");
    world.clock.advance(NIGHT_MS - HOUR_MS);
    assert_eq!(phone.say("good morning").await.text(), None);
    await_texts(&world.agent(), &customer, 4).await;
    world.finish().await;
}

#[tokio::test]
async fn a_session_that_spans_closing_or_opening_is_told_of_both() {
    let world = office().set("BRIDGE_WECHAT__ACKNOWLEDGE", "session").start().await;
    let (phone, customer) = (world.follower("d"), openid("d"));
    // 08:50 on Thursday.
    world.clock.advance(NIGHT_MS - 10 * MINUTE_MS);
    let early = phone.say("early").await;
    assert!(early.text().is_some_and(|text| text.contains("We open today at 09:00")), "{early:?}");
    world.clock.advance(10 * MINUTE_MS);
    assert_eq!(phone.say("open?").await.text(), Some(TRANSFERRING));
    assert_eq!(phone.say("good").await.text(), None);
    await_inquiries(&world, &customer, &["early", "open?", "good"]).await;
    world.clock.advance(8 * HOUR_MS + 59 * MINUTE_MS);
    assert_eq!(phone.say("still there?").await.text(), Some(TRANSFERRING), "a new session");
    world.clock.advance(MINUTE_MS);
    assert_eq!(phone.say("late").await.text(), Some(AWAY));
    assert_eq!(phone.say("later").await.text(), None);
    // A clock that is set back to the hours opens the desk.
    world.clock.advance(-MINUTE_MS);
    await_inquiries(&world, &customer, &["early", "open?", "good", "still there?", "late", "later"]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_held_answer_goes_before_the_text_which_follows_with_the_next_reply() {
    let world = Setup::default()
        .at(Millis(EVENING.0 - 3 * HOUR_MS))
        .set("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00")
        .set("BRIDGE_WECHAT__REPLY", "passive")
        .start()
        .await;
    let (phone, customer) = (greeted(&world, "e").await, openid("e"));
    world.agent().say(&customer, "Yes.").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    world.clock.advance(2 * HOUR_MS);
    assert_eq!(phone.say("and?").await.text(), Some("Yes."));
    assert_eq!(phone.say("thanks").await.text(), Some(AWAY));
    await_states(&world, &customer, &["delivered"]).await;
    world.clock.advance(NIGHT_MS + HOUR_MS);
    await_inquiries(&world, &customer, &["hello", "and?", "thanks"]).await;
    world.finish().await;
}

#[tokio::test]
async fn who_takes_the_conversation_over_at_night_gets_what_waits_and_a_customer_who_leaves_is_heard() {
    let mut world = office().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let second = world.im.agent("user2").unwrap();
    let (phone, customer) = (world.wechat.customer(&openid("f")), openid("f"));
    phone.follow().await;
    assert!(is_imported(&world, &customer).await);
    phone.say("waits").await;
    second.say(&customer, "/to user2").await.unwrap();
    await_notice(&second, &customer, "now yours").await;
    assert!(texts(&second, &customer).iter().all(|text| !text.contains("waits")), "the desk is closed");

    let (leaving, left) = (world.wechat.customer(&openid("g")), openid("g"));
    leaving.follow().await;
    assert!(is_imported(&world, &left).await);
    leaving.say("too slow").await;
    leaving.unfollow().await;
    assert!(is_deleted(&world, &left).await);
    let received = [world.agent(), second.clone()].map(|agent| texts(&agent, &left)).concat();
    assert_eq!(received.iter().filter(|text| text.ends_with("too slow")).count(), 1, "{received:?}");

    // Without hours nothing waits for them any more.
    world.set("BRIDGE_DESK__HOURS", "");
    world.restart().await;
    let arrived = eventually(SOON, async || {
        texts(&second, &customer).last().is_some_and(|text| text == &format!("{INQUIRY}waits"))
    });
    assert!(arrived.await, "{:?}", texts(&second, &customer));
    let at_first = texts(&world.agent(), &customer);
    assert!(!at_first.iter().any(|text| text.ends_with("waits")), "{at_first:?}");
    world.finish().await;
}
