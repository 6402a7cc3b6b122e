//! The line at the opening of the desk.

use std::collections::HashMap;

use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use super::{HOUR_MS, MINUTE_MS, agents, await_inquiries, await_line, inquiries, line_length, queued};
use crate::world::{SOON, Setup, World, eventually, openid};

/// Wednesday, 2026-09-30, 20:00 in Shanghai, 13 hours before the opening.
const EVENING: Millis = Millis(1_790_769_600_000);

fn office() -> Setup {
    Setup::default()
        .at(EVENING)
        .set("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00")
        .set("BRIDGE_IM__AGENTS", "user1,user2")
}

/// Lets the night pass until so long before the opening. What is known of the agents is not old then.
async fn pass_until(world: &World, before_ms: i64) {
    world.clock.advance(13 * HOUR_MS - before_ms);
    let asked = async || {
        let stored: String = world.database().value("SELECT value FROM kv WHERE key = 'presence'", &[]);
        let known: HashMap<String, (bool, i64, i64)> = serde_json::from_str(&stored).unwrap();
        known.values().all(|(_, at, _)| world.clock.now().since(Millis(*at)) < MINUTE_MS)
    };
    assert!(eventually(SOON, asked).await);
}

#[tokio::test]
async fn at_the_opening_whoever_gets_no_agent_joins_the_line_and_what_was_written_stays_in_order() {
    let world = office().start().await;
    let [first, second] = agents(&world);
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    let phone = world.follower("a");
    let away = phone.say("one").await;
    assert!(away.text().is_some_and(|text| text.contains("tomorrow at 09:00")), "{away:?}");
    assert_eq!(phone.say("two").await.text(), None, "once a session");
    assert_eq!(line_length(&world).await, 0, "nobody waits in line at night");
    pass_until(&world, 10_000).await;
    assert_eq!(line_length(&world).await, 0);
    world.clock.advance(10_000);
    await_line(&world, 1).await;
    assert_eq!(world.ready().await["backlog"]["deferred"], 0);
    assert!(phone.say("three").await.text().is_some());
    assert_eq!(phone.say("four").await.text(), None);
    first.sign_in().await.unwrap();
    await_inquiries(&first, "a", &["one", "two", "three", "four"]).await;
    world.finish().await;
}

#[tokio::test]
async fn at_the_opening_whoever_wrote_first_is_served_first() {
    let world = office().set("BRIDGE_DESK__CAPACITY", "1").start().await;
    let [first, second]: [AgentClient; 2] = agents(&world);
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    let names = ["e", "d", "c", "b", "a"];
    for name in names {
        world.follower(name).say("hello").await;
    }
    pass_until(&world, 10_000).await;
    first.sign_in().await.unwrap();
    world.clock.advance(10_000);
    // Whoever comes now does not overtake them.
    assert_eq!(world.follower("n").say("hello").await.text().map(|text| &text[..20]), Some(&queued(0)[..20]));
    for name in names.into_iter().chain(["n"]) {
        await_inquiries(&first, name, &["hello"]).await;
        let others = names.iter().filter(|other| **other < name);
        let overtaken = others.filter(|other| name != "n" && !inquiries(&first, other).is_empty());
        assert_eq!(overtaken.count(), 0, "{name} was overtaken");
        first.say(&openid(name), "/close").await.unwrap();
    }
    world.finish().await;
}

#[tokio::test]
async fn what_came_at_night_gives_no_agent_more_conversations_than_allowed() {
    let world = Setup::default()
        .at(Millis(EVENING.0 - 2 * HOUR_MS - MINUTE_MS))
        .set("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00")
        .set("BRIDGE_DESK__CAPACITY", "1")
        .start()
        .await;
    let agent = world.agent();
    world.follower("open").say("hello").await;
    await_inquiries(&agent, "open", &["hello"]).await;
    world.clock.advance(5 * MINUTE_MS);
    world.follower("open").say("still there?").await;
    for name in ["a", "b"] {
        world.clock.advance(HOUR_MS);
        world.follower(name).say("hello").await;
    }
    world.clock.advance(13 * HOUR_MS);
    // An agent keeps what was open in the evening.
    await_inquiries(&agent, "open", &["hello", "still there?"]).await;
    await_line(&world, 2).await;
    assert_eq!(world.follower("n").say("hello").await.text(), Some(queued(2).as_str()));
    for (closed, next) in [("open", "a"), ("a", "b"), ("b", "n")] {
        agent.say(&openid(closed), "/close").await.unwrap();
        await_inquiries(&agent, next, &["hello"]).await;
    }
    world.finish().await;
}
