//! The line: customers who come while no agent is free wait, and are served in order.

mod opening;

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use crate::observe::{await_notice, await_states, counter_value, notices};
use crate::staying_faults::operate;
use crate::unfollow::{is_deleted, is_imported};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid, texts,
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn queued(ahead: usize) -> String {
    format!("All our agents are busy. Customers ahead of you: {ahead}. Please wait, it will be your turn.")
}

fn agents<const N: usize>(world: &World) -> [AgentClient; N] {
    std::array::from_fn(|at| world.im.agent(&format!("user{}", at + 1)).unwrap())
}

/// The customer's words that the agent has got, in order.
fn inquiries(agent: &AgentClient, name: &str) -> Vec<String> {
    let all = texts(agent, &openid(name));
    all.iter().filter_map(|text| text.strip_prefix(INQUIRY).map(str::to_owned)).collect()
}

async fn await_inquiries(agent: &AgentClient, name: &str, expected: &[&str]) {
    let arrived = eventually(SOON, async || inquiries(agent, name) == expected).await;
    assert!(arrived, "{expected:?} of {name} at {}: {:?}", agent.user_id(), inquiries(agent, name));
}

async fn line_length(world: &World) -> u64 {
    world.ready().await["backlog"]["line"]["length"].as_u64().unwrap()
}

async fn await_line(world: &World, length: u64) {
    let reached = eventually(SOON, async || line_length(world).await == length).await;
    assert!(reached, "the line has not {length} customers: {}", world.ready().await);
}

#[tokio::test]
async fn with_nobody_there_customers_wait_are_told_once_and_all_arrives_when_an_agent_signs_in() {
    let mut world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let [first, second] = agents(&world);
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    let (a, b) = (world.follower("a"), world.follower("b"));
    assert_eq!(a.say("one").await.text(), Some(queued(0).as_str()));
    assert_eq!(b.say("uno").await.text(), Some(queued(1).as_str()));
    assert_eq!(a.say("two").await.text(), None, "told once");
    world.clock.advance(MINUTE_MS);
    world.restart().await;
    await_line(&world, 2).await;
    let ready = world.ready().await;
    assert_eq!((&ready["status"], &ready["backlog"]["waiting"]), (&"ok".into(), &0.into()), "{ready}");
    let oldest_s = ready["backlog"]["line"]["oldest_s"].as_i64().unwrap();
    assert!((60..90).contains(&oldest_s), "{ready}");
    assert_eq!(counter_value(&world, "wechat_im_bridge_line_customers").await, 2);
    let listed = operate(&world, &["messages", "list", "--state", "queued", "--json"]).await;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().all(|line| line.contains("no agent is there and has room")), "{listed}");
    let trace = operate(&world, &["trace", &openid("a")]).await;
    assert!(trace.contains("queued"), "{trace}");

    second.sign_in().await.unwrap();
    await_inquiries(&second, "a", &["one", "two"]).await;
    await_inquiries(&second, "b", &["uno"]).await;
    assert_eq!(a.say("three").await.text(), Some(TRANSFERRING));
    await_inquiries(&second, "a", &["one", "two", "three"]).await;
    await_line(&world, 0).await;
    assert!(inquiries(&first, "a").is_empty() && notices(&second, &openid("a")).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn no_agent_has_more_conversations_than_allowed_and_each_free_place_goes_to_who_waits_longest() {
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_DESK__CAPACITY", "1")
        .start()
        .await;
    let [first, second] = agents(&world);
    for (name, agent) in [("a", &first), ("b", &second)] {
        world.follower(name).say("hello").await;
        await_inquiries(agent, name, &["hello"]).await;
    }
    for (ahead, name) in ["c", "d", "e", "f"].into_iter().enumerate() {
        let phone = world.wechat.customer(&openid(name));
        phone.follow().await;
        assert!(is_imported(&world, &openid(name)).await);
        assert_eq!(phone.say("hello").await.text(), Some(queued(ahead).as_str()));
    }
    first.say(&openid("a"), "/who").await.unwrap();
    await_notice(&first, &openid("a"), "In line: 4, the first for ").await;
    first.say(&openid("a"), "/close").await.unwrap();
    await_inquiries(&first, "c", &["hello"]).await;
    // An agent may take more.
    second.say(&openid("d"), "/to user2").await.unwrap();
    await_inquiries(&second, "d", &["hello"]).await;
    await_line(&world, 2).await;

    // Who leaves is heard nevertheless.
    world.wechat.customer(&openid("e")).unfollow().await;
    let heard =
        eventually(SOON, async || [&first, &second].iter().any(|agent| inquiries(agent, "e") == ["hello"]));
    assert!(heard.await, "what was queued is lost");
    assert!(is_deleted(&world, &openid("e")).await);

    // Silence frees a place too.
    world.clock.advance(29 * MINUTE_MS);
    first.say(&openid("c"), "/who").await.unwrap();
    await_notice(&first, &openid("c"), "In line: 1, the first for 0 h ").await;
    world.clock.advance(2 * MINUTE_MS);
    let served =
        eventually(SOON, async || [&first, &second].iter().any(|agent| inquiries(agent, "f") == ["hello"]));
    assert!(served.await, "{}", world.ready().await);
    world.finish().await;
}

#[tokio::test]
async fn an_operator_sends_what_is_queued_to_somebody_or_gives_it_up() {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let [first, second] = agents(&world);
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    for name in ["a", "b"] {
        world.follower(name).say("hello").await;
    }
    operate(&world, &["messages", "discard", "--state", "queued", "--customer", &openid("b"), "--yes"]).await;
    await_line(&world, 1).await;
    operate(&world, &["messages", "retry", "--state", "queued", "--yes"]).await;
    await_line(&world, 0).await;
    first.sign_in().await.unwrap();
    await_inquiries(&first, "a", &["hello"]).await;
    assert!(inquiries(&first, "b").is_empty() && inquiries(&second, "b").is_empty());
    world.finish().await;
}

#[tokio::test]
async fn whoever_has_waited_for_a_day_gets_an_agent_who_has_no_room() {
    let world = Setup::default()
        .set("BRIDGE_DESK__CAPACITY", "1")
        .set("BRIDGE_WECHAT__SESSION_IDLE_S", "172800")
        .start()
        .await;
    let agent = world.agent();
    for name in ["a", "b"] {
        world.follower(name).say("hello").await;
    }
    await_inquiries(&agent, "a", &["hello"]).await;
    world.clock.advance(23 * HOUR_MS);
    agent.say(&openid("a"), "/who").await.unwrap();
    await_notice(&agent, &openid("a"), "In line: 1, the first for 23 h ").await;
    world.clock.advance(HOUR_MS);
    await_inquiries(&agent, "b", &["hello"]).await;
    world.finish().await;
}

/// Agents come and go, conversations end, customers write. In the end nobody is forgotten.
#[tokio::test]
async fn whatever_agents_do_nobody_waits_while_one_is_free_and_none_has_too_many() {
    const CAPACITY: i64 = 2;
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2,user3")
        .set("BRIDGE_DESK__CAPACITY", CAPACITY.to_string())
        .set("BRIDGE_DESK__STICKY_S", "60")
        .start()
        .await;
    let clients: [AgentClient; 3] = agents(&world);
    let mut is_there = [true; 3];
    let mut random = StdRng::seed_from_u64(20_260_930);
    let names: Vec<String> = (0..12).map(|n| format!("n{n:02}")).collect();
    let mut written: HashMap<&str, Vec<String>> = HashMap::new();
    let loads = || {
        let sql = "SELECT v.agent, v.openid FROM customer c, conversation v
                   WHERE v.id = c.conversation AND v.agent IS NOT NULL";
        world.database().rows(sql, &[]).unwrap()
    };
    for step in 0..70 {
        let at = random.random_range(0..3);
        match random.random_range(0..10) {
            0 if is_there[at] => {
                clients[at].sign_out().await.unwrap();
                is_there[at] = false;
            }
            0..=2 if !is_there[at] => {
                clients[at].sign_in().await.unwrap();
                is_there[at] = true;
            }
            3 | 4 => {
                let rows = loads();
                let Some(row) = rows.choose(&mut random) else { continue };
                let agent = clients.iter().find(|client| row[0] == client.user_id()).unwrap();
                // It fails as long as IM does not know the customer, whom the agent cannot see then.
                let _ = agent.say(row[1].as_str().unwrap(), "/close").await;
            }
            _ => {
                let name = names.choose(&mut random).unwrap();
                let words = format!("{name} at {step}");
                world.follower(name).say(&words).await;
                written.entry(name).or_default().push(words);
            }
        }
        let holds = eventually(SOON, async || {
            let rows = loads();
            let load = |at: usize| {
                i64::try_from(rows.iter().filter(|row| row[0] == clients[at].user_id()).count()).unwrap()
            };
            assert!((0..3).all(|at| load(at) <= CAPACITY), "step {step}: {rows:?}");
            let has_free = (0..3).any(|at| is_there[at] && load(at) < CAPACITY);
            let sql = "SELECT count(*) FROM message WHERE state = 10";
            !has_free || world.database().value::<i64>(sql, &[]) == 0
        });
        assert!(holds.await, "step {step}: somebody waits while an agent is free");
    }
    for client in &clients {
        client.sign_in().await.unwrap();
    }
    let all_served = eventually(SOON, async || {
        for row in loads() {
            let agent = clients.iter().find(|client| row[0] == client.user_id()).unwrap();
            agent.say(row[1].as_str().unwrap(), "/close").await.unwrap();
        }
        line_length(&world).await == 0
    });
    assert!(all_served.await, "{}", world.ready().await);
    for (name, words) in &written {
        let mut received: Vec<String> = Vec::new();
        let arrived = eventually(SOON, async || {
            let ledger = world.im.ledger();
            let sent =
                ledger.deliveries().filter(|send| send.api == "openim/sendmsg" && send.from == openid(name));
            received = sent.filter_map(|send| send.text().strip_prefix(INQUIRY).map(str::to_owned)).collect();
            received.len() >= words.len()
        });
        assert!(arrived.await, "{name}: {received:?}");
        assert_eq!(&received, words, "all of it, once and in order");
    }
    world.finish().await;
}

#[tokio::test]
async fn one_agent_with_a_limit_has_a_line_too() {
    let world = Setup::default().set("BRIDGE_DESK__CAPACITY", "1").start().await;
    let agent = world.agent();
    let (a, b) = (world.follower("a"), world.follower("b"));
    assert_eq!(a.say("hello").await.text(), Some(TRANSFERRING));
    assert_eq!(b.say("hello").await.text(), Some(queued(0).as_str()));
    await_texts(&agent, &openid("a"), 1).await;
    agent.say(&openid("a"), "good day").await.unwrap();
    await_shown(&a, "good day").await;
    agent.say(&openid("a"), "/close").await.unwrap();
    await_inquiries(&agent, "b", &["hello"]).await;
    // Who comes back waits like everybody.
    assert_eq!(a.say("one more thing").await.text(), Some(queued(0).as_str()));
    agent.say(&openid("b"), "/close").await.unwrap();
    await_inquiries(&agent, "a", &["hello", "one more thing"]).await;
    assert!(!notices(&agent, &openid("a")).iter().any(|notice| notice.contains("now yours")));
    world.finish().await;
}

#[tokio::test]
async fn whoever_gets_a_customer_out_of_the_line_reads_what_another_has_left_unanswered() {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let [first, second] = agents(&world);
    let (phone, customer) = (world.follower("a"), openid("a"));
    phone.say("hello").await;
    await_inquiries(&first, "a", &["hello"]).await;
    world.clock.advance(31 * MINUTE_MS);
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    assert_eq!(phone.say("anyone?").await.text(), Some(queued(0).as_str()));
    second.sign_in().await.unwrap();
    let expected = [
        format!("{INQUIRY}hello"),
        "[bridge] This conversation is now yours. It was user1's before, without an answer.".to_owned(),
        format!("{INQUIRY}anyone?"),
    ];
    assert_eq!(await_texts(&second, &customer, 3).await, expected);
    await_notice(&first, &customer, "This is user2's conversation from now on.").await;

    // Also if the other one has closed it.
    second.say(&customer, "/close").await.unwrap();
    await_notice(&second, &customer, "Closed").await;
    first.sign_in().await.unwrap();
    second.sign_out().await.unwrap();
    phone.say("hello?").await;
    await_inquiries(&first, "a", &["hello", "anyone?", "hello?"]).await;
    await_notice(&first, &customer, "It was user2's before, without an answer.").await;
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_takes_the_reply_only_postpones_the_place_in_line() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__REPLY", "passive")
        .set("BRIDGE_DESK__CAPACITY", "1")
        .start()
        .await;
    let agent = world.agent();
    let (a, b) = (world.follower("a"), world.follower("b"));
    a.say("hello").await;
    await_inquiries(&agent, "a", &["hello"]).await;
    agent.say(&openid("a"), "good day").await.unwrap();
    await_states(&world, &openid("a"), &["held"]).await;
    agent.say(&openid("a"), "/close").await.unwrap();
    await_notice(&agent, &openid("a"), "Closed").await;
    b.say("hello").await;
    await_inquiries(&agent, "b", &["hello"]).await;
    assert_eq!(a.say("one").await.text(), Some("good day"));
    assert_eq!(a.say("two").await.text(), Some(queued(0).as_str()));
    assert_eq!(a.say("three").await.text(), None, "told once");
    agent.say(&openid("b"), "/close").await.unwrap();
    await_inquiries(&agent, "a", &["hello", "one", "two", "three"]).await;
    world.finish().await;
}
