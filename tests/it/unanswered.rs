//! Questions that nobody answers: the agent is reminded before the window closes, once for each window; and after
//! `desk.first_answer_s` somebody else is told.

use serde_json::json;
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::im::AgentClient;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::observe::{await_notice, await_states, greeted, notices};
use crate::world::{INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, openid, texts};

const HOUR: i64 = 3_600_000;
const REMINDER: &str = "The customer has no answer yet.";

fn reminders(world: &World, name: &str) -> Vec<String> {
    let all = notices(&world.agent(), &openid(name));
    all.into_iter().filter(|notice| notice.contains(REMINDER)).collect()
}

/// Waits until the bridge has looked at everything that is due by now.
async fn attended(world: &World) {
    let looked = eventually(SOON, async || {
        let sql = "SELECT count(*) FROM question WHERE due_at <= ?1";
        world.database().value::<i64>(sql, &[json!(world.clock.now().0)]) == 0
    });
    assert!(looked.await, "a question is due and not looked at");
}

async fn ask(world: &World, phone: &Phone, count: usize) {
    phone.say("anybody there?").await;
    await_texts(&world.agent(), phone.openid(), count).await;
}

#[tokio::test]
async fn the_agent_is_reminded_once_before_each_window_of_an_unanswered_customer_closes() {
    let mut world = World::start().await;
    let phone = greeted(&world, "late").await;
    world.clock.advance(46 * HOUR);
    attended(&world).await;
    assert_eq!(reminders(&world, "late"), Vec::<String>::new());
    world.clock.advance(HOUR + 60_000);
    let told = await_notice(&world.agent(), &openid("late"), REMINDER).await;
    assert!(told[0].starts_with("[bridge] ") && told[0].contains("for 0 h 59 min"), "{told:?}");
    // Neither a restart nor a clock that is set back and forth repeats it.
    world.restart().await;
    for passed in [10 * 60_000, -2 * HOUR, 2 * HOUR] {
        world.clock.advance(passed);
        attended(&world).await;
    }
    assert_eq!(reminders(&world, "late").len(), 1);
    // The customer writes on: a new window, which has its own reminder.
    ask(&world, &phone, 3).await;
    world.clock.advance(24 * HOUR);
    ask(&world, &phone, 4).await;
    world.clock.advance(23 * HOUR + 30 * 60_000);
    attended(&world).await;
    assert_eq!(reminders(&world, "late").len(), 1, "the second message has moved the end of the window");
    world.clock.advance(24 * HOUR);
    assert!(eventually(SOON, async || reminders(&world, "late").len() == 2).await);
    // What is over is over.
    world.clock.advance(24 * HOUR);
    attended(&world).await;
    assert_eq!(reminders(&world, "late").len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn nobody_is_reminded_of_what_was_answered_or_closed_or_cannot_be_pushed() {
    let world = World::start().await;
    let (answered, closed) = (openid("answered"), openid("closed"));
    greeted(&world, "answered").await;
    greeted(&world, "closed").await;
    greeted(&world, "asked").await;
    world.agent().say(&answered, "yes").await.unwrap();
    await_states(&world, &answered, &["delivered"]).await;
    world.agent().say(&closed, "/close").await.unwrap();
    await_notice(&world.agent(), &closed, "Closed").await;
    world.clock.advance(47 * HOUR + 60_000);
    await_notice(&world.agent(), &openid("asked"), REMINDER).await;
    attended(&world).await;
    assert_eq!([reminders(&world, "answered").len(), reminders(&world, "closed").len()], [0, 0]);
    // A customer who leaves leaves nothing behind.
    world.wechat.customer(&openid("asked")).unfollow().await;
    let sql = "SELECT count(*) FROM question WHERE openid = ?1";
    assert_eq!(world.database().value::<i64>(sql, &[json!(openid("asked"))]), 0);
    world.finish().await;

    for (variable, value) in [("BRIDGE_WECHAT__REPLY", "passive"), ("BRIDGE_DESK__REMIND_BEFORE_S", "0")] {
        let world = Setup::default().set(variable, value).start().await;
        greeted(&world, "asked").await;
        world.clock.advance(47 * HOUR + 60_000);
        attended(&world).await;
        assert_eq!(reminders(&world, "asked").len(), 0, "{variable}");
        world.finish().await;
    }
}

const STEP: i64 = 300_000;

fn escalating(agents: &str) -> Setup {
    let setup = Setup::default().set("BRIDGE_IM__AGENTS", agents).set("BRIDGE_DESK__SUPERVISOR", "boss");
    setup.set("BRIDGE_DESK__FIRST_ANSWER_S", "300")
}

fn clients<const N: usize>(world: &World, accounts: [&str; N]) -> [AgentClient; N] {
    accounts.map(|account| {
        let _ = world.im.import(account);
        world.im.agent(account).unwrap()
    })
}

/// How many messages each of them has in this customer's conversation.
fn counts<const N: usize>(clients: &[AgentClient; N], customer: &str) -> [usize; N] {
    clients.each_ref().map(|client| texts(client, customer).len())
}

#[tokio::test]
async fn a_question_goes_to_another_agent_and_then_to_the_supervisor_who_can_answer_it() {
    let mut world = escalating("user1,user2").start().await;
    let all = clients(&world, ["user1", "user2", "boss"]);
    let [first, second, boss] = &all;
    let (phone, customer) = (world.follower("up"), openid("up"));
    phone.say("hello?").await;
    await_texts(first, &customer, 1).await;
    world.clock.advance(STEP);
    await_notice(first, &customer, "[bridge] The customer has waited 0 h 5 min for an answer.").await;
    world.restart().await;
    attended(&world).await;
    assert_eq!(counts(&all, &customer), [2, 0, 0], "each step once");

    world.clock.advance(STEP);
    let line =
        "This conversation is now yours, after user1. The customer has waited 0 h 10 min for an answer.";
    await_notice(second, &customer, line).await;
    assert_eq!(texts(second, &customer)[0], format!("{INQUIRY}hello?"), "with its history");
    await_notice(first, &customer, "This is user2's conversation from now on.").await;
    // Who writes on still waits for the same answer.
    phone.say("anybody?").await;
    await_texts(second, &customer, 3).await;

    // Nobody but who has the conversation may answer, besides the agents.
    boss.say(&customer, "too early").await.unwrap();
    await_notice(boss, &customer, "your account is not one of the bridge's agents").await;
    world.clock.advance(STEP);
    await_notice(boss, &customer, "This conversation is now yours, after user2.").await;
    await_notice(second, &customer, "This is boss's conversation from now on.").await;
    phone.say("hello??").await;
    assert!(eventually(SOON, async || texts(boss, &customer).contains(&format!("{INQUIRY}hello??"))).await);
    let before = counts(&all, &customer);
    world.clock.advance(STEP);
    attended(&world).await;
    assert_eq!(counts(&all, &customer), before, "that was the last step");
    boss.say(&customer, "Sorry, here I am.").await.unwrap();
    await_shown(&phone, "Sorry, here I am.").await;
    assert!(!phone.texts().contains(&"too early".to_owned()));
    world.finish().await;
}

#[tokio::test]
async fn without_another_agent_the_supervisor_gets_the_question_at_once_and_an_answer_ends_it() {
    let world = escalating("user1").start().await;
    let all = clients(&world, ["user1", "boss"]);
    for name in ["alone", "served"] {
        world.follower(name).say("hello?").await;
        await_texts(&all[0], &openid(name), 1).await;
    }
    world.agent().say(&openid("served"), "Good morning!").await.unwrap();
    await_states(&world, &openid("served"), &["delivered"]).await;
    world.clock.advance(STEP);
    await_notice(&all[0], &openid("alone"), "The customer has waited").await;
    world.clock.advance(STEP);
    await_notice(&all[1], &openid("alone"), "This conversation is now yours, after user1.").await;
    attended(&world).await;
    assert_eq!(counts(&all, &openid("served")), [1, 0]);
    world.finish().await;
}

#[tokio::test]
async fn an_agent_who_is_away_gets_no_question_of_another() {
    let world = escalating("user1,user2").start().await;
    let all = clients(&world, ["user1", "user2", "boss"]);
    let [first, second, boss] = &all;
    world.follower("away").say("hello?").await;
    await_texts(first, &openid("away"), 1).await;
    second.sign_out().await.unwrap();
    world.clock.advance(STEP);
    await_notice(first, &openid("away"), "The customer has waited").await;
    world.clock.advance(STEP - 50_000);
    // IM's word counts for less than two minutes, so it is asked again by then.
    let asked_again = async || {
        let known: String = world.database().value("SELECT value FROM kv WHERE key = 'presence'", &[]);
        let known: serde_json::Value = serde_json::from_str(&known).unwrap();
        let learned_at = known["user2"][1].as_i64().unwrap_or_default();
        known["user2"][0] == false && world.clock.now().0 - learned_at < 20_000
    };
    assert!(eventually(SOON, asked_again).await);
    world.clock.advance(50_000);
    await_notice(boss, &openid("away"), "This conversation is now yours, after user1.").await;
    assert_eq!(texts(second, &openid("away")), Vec::<String>::new());
    world.finish().await;
}

/// Wednesday, 2026-09-30, 17:57 in Shanghai.
const THREE_MINUTES_BEFORE_SIX: Millis = Millis(1_790_762_220_000);

#[tokio::test]
async fn at_night_the_clock_of_the_first_answer_stands_still() {
    let world = escalating("user1")
        .at(THREE_MINUTES_BEFORE_SIX)
        .set("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00")
        .start()
        .await;
    greeted(&world, "late").await;
    let (agent, customer) = (world.agent(), openid("late"));
    world.clock.advance(HOUR);
    attended(&world).await;
    assert_eq!(notices(&agent, &customer), Vec::<String>::new());
    world.clock.advance(14 * HOUR + 4 * 60_000);
    attended(&world).await;
    assert_eq!(notices(&agent, &customer), Vec::<String>::new(), "09:01");
    world.clock.advance(61_000);
    await_notice(&agent, &customer, "The customer has waited 15 h").await;
    world.finish().await;
}
