//! Groups of agents: which group a customer comes to, whom its customers wait for, and how a new follower is asked.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::observe::{CUSTOM_SEND, await_notice, await_states};
use crate::staying_faults::operate;
use crate::unfollow::{is_deleted, is_imported};
use crate::world::{INQUIRY, SOON, Setup, TRANSFERRING, World, eventually, openid, texts};

const HOUR_MS: i64 = 3_600_000;
const GROUPS: &str = r#"[
    {name="Sales", agents=["user1"], scenes=["shop42"], menu=["BUY"], words=["price"]},
    {name="售后", agents=["user2", "user3"], scenes=["box"], menu=["REPAIR"], words=["refund", "退货"]},
]"#;

fn with_groups(agents: &str) -> Setup {
    Setup::default().set("BRIDGE_IM__AGENTS", agents).set("BRIDGE_DESK__GROUP", GROUPS.replace('\n', " "))
}

fn agents<const N: usize>(world: &World) -> [AgentClient; N] {
    std::array::from_fn(|at| world.im.agent(&format!("user{}", at + 1)).unwrap())
}

/// The customer's words that the agent has got, in order.
fn inquiries(agent: &AgentClient, name: &str) -> Vec<String> {
    let all = texts(agent, &openid(name));
    all.iter().filter_map(|text| text.strip_prefix(INQUIRY).map(str::to_owned)).collect()
}

/// Waits until the last of these words reaches one of the agents, and says at which place that one stands.
async fn whose(agents: &[AgentClient], name: &str, words: &str) -> usize {
    let place =
        || agents.iter().position(|agent| inquiries(agent, name).last().is_some_and(|last| last == words));
    let arrived = eventually(SOON, async || place().is_some()).await;
    assert!(arrived, "{words:?} of {name} reaches nobody");
    place().unwrap()
}

fn queued(ahead: usize) -> String {
    format!("All our agents are busy. Customers ahead of you: {ahead}. Please wait, it will be your turn.")
}

async fn follows(world: &World, name: &str, scene: Option<&str>) -> Phone {
    let phone = world.wechat.customer(&openid(name));
    match scene {
        Some(scene) => phone.follow_by_scene(scene).await,
        None => phone.follow().await,
    };
    assert!(is_imported(world, &openid(name)).await);
    phone
}

#[tokio::test]
async fn a_scene_a_menu_key_or_words_lead_to_a_group_which_is_kept_until_another_one_or_the_end() {
    let mut world = with_groups("user1,user2,user3").start().await;
    let all: [AgentClient; 3] = agents(&world);
    let a = follows(&world, "a", Some("SHOP42")).await;
    world.restart().await;
    a.say("hello").await;
    assert_eq!(whose(&all, "a", "hello").await, 0);
    let line = "[bridge] New customer. Group: Sales. QR code: SHOP42.";
    let said = all[0].conversation(&openid("a"));
    assert!(said.iter().any(|message| message.text() == line), "{said:?}");
    all[0].say(&openid("a"), "/who").await.unwrap();
    await_notice(&all[0], &openid("a"), "Group: Sales.").await;

    let b = follows(&world, "b", None).await;
    b.tap_menu("CLICK", "REPAIR").await;
    b.say("it is broken").await;
    let of_b = whose(&all, "b", "it is broken").await;
    assert_ne!(of_b, 0);
    // The other one is less busy, and Sales is not asked.
    let c = world.follower("c");
    c.say("我要退货").await;
    let of_c = whose(&all, "c", "我要退货").await;
    assert!(of_c != 0 && of_c != of_b);

    // Within a conversation words change nothing, and a scan only the next one.
    c.say("what price?").await;
    assert_eq!(whose(&all, "c", "what price?").await, of_c);
    b.scan("shop42").await;
    await_notice(&all[of_b], &openid("b"), "scanned the QR code shop42").await;
    b.say("anyone?").await;
    assert_eq!(whose(&all, "b", "anyone?").await, of_b);
    world.clock.advance(HOUR_MS);
    c.say("what price?!").await;
    b.say("hello again").await;
    assert_eq!(whose(&all, "c", "what price?!").await, 0);
    assert_eq!(whose(&all, "b", "hello again").await, 0);
    await_notice(&all[0], &openid("c"), "This conversation is now yours.").await;
    let shown = all[0].conversation(&openid("c"));
    assert!(shown.iter().any(|message| message.text().contains("我要退货")), "{shown:?}");
    // The agent who served last, if of the group.
    world.clock.advance(HOUR_MS);
    c.say("one more refund").await;
    assert_ne!(whose(&all, "c", "one more refund").await, 0);
    let trace = operate(&world, &["trace", &openid("c")]).await;
    assert!(trace.contains("group") && trace.contains("Sales"), "{trace}");

    let kept = || {
        let sql = "SELECT count(*) FROM customer WHERE desk_group IS NOT NULL";
        world.database().value::<i64>(sql, &[])
    };
    assert_eq!(kept(), 3);
    a.unfollow().await;
    assert!(eventually(SOON, async || kept() == 2).await, "it is erased with the customer");
    assert!(is_deleted(&world, &openid("a")).await);
    world.finish().await;
}

#[tokio::test]
async fn customers_wait_for_their_groups_agents_and_each_agent_serves_who_came_first() {
    let groups = GROUPS.replace('\n', " ").replace(", \"user3\"", "");
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_DESK__CAPACITY", "1")
        .set("BRIDGE_DESK__GROUP", groups)
        .start()
        .await;
    let [sales, support] = agents(&world);
    let both = [sales.clone(), support.clone()];
    let say = async |name: &str, scene: Option<&str>| {
        let phone = follows(&world, name, scene).await;
        let reply = phone.say(name).await;
        (phone, reply.text().unwrap_or_default().to_owned())
    };
    let (_s1, reply) = say("s1", Some("shop42")).await;
    assert_eq!((reply.as_str(), whose(&both, "s1", "s1").await), (TRANSFERRING, 0));
    assert_eq!(say("s2", Some("shop42")).await.1, queued(0));
    // Nobody waits for the other group.
    let (_t1, reply) = say("t1", Some("box")).await;
    assert_eq!((reply.as_str(), whose(&both, "t1", "t1").await), (TRANSFERRING, 1));
    // Whoever has no group waits for both, behind one customer.
    assert_eq!(say("n", None).await.1, queued(1));
    assert_eq!(say("t2", Some("box")).await.1, queued(1));
    let (s3, reply) = say("s3", Some("shop42")).await;
    assert_eq!(reply, queued(2));
    support.say(&openid("t1"), "/close").await.unwrap();
    assert_eq!(whose(&both, "n", "n").await, 1);
    sales.say(&openid("s1"), "/close").await.unwrap();
    assert_eq!(whose(&both, "s2", "s2").await, 0);
    // Who waits and chooses another group waits there, in the same place.
    s3.tap_menu("CLICK", "REPAIR").await;
    support.say(&openid("n"), "/close").await.unwrap();
    assert_eq!(whose(&both, "t2", "t2").await, 1);
    sales.say(&openid("s2"), "/close").await.unwrap();
    let (_s4, reply) = say("s4", Some("shop42")).await;
    assert_eq!((reply.as_str(), whose(&both, "s4", "s4").await), (TRANSFERRING, 0));
    assert!(inquiries(&sales, "s3").is_empty() && inquiries(&support, "s3").is_empty());
    support.say(&openid("t2"), "/close").await.unwrap();
    assert_eq!(whose(&both, "s3", "s3").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn an_agent_hands_over_to_the_best_of_a_group_who_is_there() {
    let world = with_groups("user1,user2,user3").set("BRIDGE_DESK__CAPACITY", "1").start().await;
    let all: [AgentClient; 3] = agents(&world);
    let phone = follows(&world, "a", Some("shop42")).await;
    phone.say("my box is broken").await;
    assert_eq!(whose(&all, "a", "my box is broken").await, 0);
    let customer = openid("a");
    all[0].say(&customer, "/to repairs").await.unwrap();
    await_notice(
        &all[0],
        &customer,
        "There is no such agent or group. Agents: user1, user2, user3; groups: Sales, 售后",
    )
    .await;
    all[0].say(&customer, "/to sales").await.unwrap();
    await_notice(&all[0], &customer, "no other agent of Sales is there").await;
    all[1].sign_out().await.unwrap();
    all[0].say(&customer, "/转接售后").await.unwrap();
    await_notice(&all[0], &customer, "This is user3's conversation from now on.").await;
    await_notice(&all[2], &customer, "assigned by user1").await;
    let shown = all[2].conversation(&customer);
    assert!(shown.iter().any(|message| message.text().contains("my box is broken")), "{shown:?}");
    phone.say("thanks").await;
    assert_eq!(whose(&all, "a", "thanks").await, 2);
    // The customer is the group's now: not even its agent's absence leads elsewhere.
    all[2].say(&customer, "/close").await.unwrap();
    await_notice(&all[2], &customer, "Closed.").await;
    all[2].sign_out().await.unwrap();
    assert_eq!(phone.say("me again").await.text(), Some(queued(0).as_str()));
    all[1].sign_in().await.unwrap();
    assert_eq!(whose(&all, "a", "me again").await, 1);
    // Nobody is there: nothing changes. An agent by name is another matter, and leads to the agent's group.
    all[1].say(&customer, "/to 售后").await.unwrap();
    await_notice(&all[1], &customer, "no other agent of 售后 is there").await;
    all[1].say(&customer, "/to user1").await.unwrap();
    await_notice(&all[0], &customer, "assigned by user2").await;
    let group: String = world.database().value("SELECT desk_group FROM customer", &[]);
    assert_eq!(group, "Sales");
    world.finish().await;
}

/// The ids of the items of the menu, as the bridge makes them.
fn menu_ids(world: &World) -> Vec<String> {
    let sql = "SELECT calls FROM message WHERE kind = 6 ORDER BY id LIMIT 1";
    let calls: serde_json::Value = serde_json::from_str(&world.database().value::<String>(sql, &[])).unwrap();
    let items = calls[0]["MenuToCustomer"]["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_new_follower_is_asked_and_the_tap_leads_to_the_group_and_is_no_question() {
    let mut world = with_groups("user1,user2,user3").set("BRIDGE_DESK__ASK", "true").start().await;
    let all: [AgentClient; 3] = agents(&world);
    let phone = follows(&world, "a", None).await;
    let is_asked = || phone.screen().iter().any(|shown| shown.kind == "msgmenu");
    assert!(eventually(SOON, async || is_asked()).await, "{:?}", phone.screen());
    assert_eq!(phone.screen().pop().unwrap().text, "What can we help you with? Please tap one:\nSales\n售后");
    assert_eq!(phone.sends_left(), 2, "it is one of the three of the follow");
    let ids = menu_ids(&world);
    let reply = phone.tap_msgmenu(&ids[1], "售后").await;
    assert_eq!(reply.text(), Some("You have chosen 售后. Please write to us, and an agent will answer."));
    world.restart().await;
    phone.say("hello").await;
    let agent = whose(&all, "a", "hello").await;
    assert_ne!(agent, 0);
    // Within the conversation the agent reads of it, and keeps the customer.
    phone.tap_msgmenu(&ids[0], "Sales").await;
    await_notice(&all[agent], &openid("a"), "The customer tapped Sales in the menu.").await;
    phone.say("still here?").await;
    assert_eq!(whose(&all, "a", "still here?").await, agent);
    world.clock.advance(HOUR_MS);
    phone.say("hello again").await;
    assert_eq!(whose(&all, "a", "hello again").await, 0);

    // Whoever comes by a scene is not asked; an old menu does no harm.
    let known = follows(&world, "b", Some("shop42")).await;
    world.set("BRIDGE_DESK__GROUP", "[]");
    world.restart().await;
    let unasked = follows(&world, "c", None).await;
    let gone = known.tap_msgmenu(&ids[1], "售后").await;
    let text = "This choice is not offered any more. Please write to us, and an agent will answer.";
    assert_eq!(gone.text(), Some(text));
    known.say("words").await;
    whose(&all, "b", "words").await;
    let received = all.iter().flat_map(|agent| inquiries(agent, "b")).collect::<Vec<_>>();
    assert_eq!(received, ["words"], "no tap is a question");
    for phone in [&known, &unasked] {
        assert!(phone.screen().iter().all(|shown| shown.kind != "msgmenu"));
    }
    world.finish().await;
}

#[tokio::test]
async fn the_question_is_asked_now_or_never() {
    let world = with_groups("user1,user2,user3").set("BRIDGE_DESK__ASK", "true").start().await;
    let all: [AgentClient; 3] = agents(&world);
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45_015));
    let phone = follows(&world, "a", None).await;
    let refused = async || {
        let listed = operate(&world, &["messages", "list", "--all", "--json"]).await;
        listed.lines().any(|line| line.contains("group_menu") && line.contains("refused"))
    };
    assert!(eventually(SOON, refused).await);
    phone.say("hello").await;
    let agent = whose(&all, "a", "hello").await;
    all[agent].say(&openid("a"), "good day").await.unwrap();
    await_states(&world, &openid("a"), &["delivered"]).await;
    assert!(phone.screen().iter().all(|shown| shown.kind != "msgmenu"), "{:?}", phone.screen());
    world.finish().await;
}

/// Agents of two groups come and go, conversations end, customers of both groups and of none write.
#[tokio::test]
async fn whatever_agents_do_nobody_waits_while_an_agent_of_the_group_is_free_and_nobody_gets_a_strange_one() {
    const CAPACITY: usize = 2;
    const GROUPS: [&[usize]; 3] = [&[0, 1], &[1, 2], &[0, 1, 2]];
    let groups = r#"[{name="a", agents=["user1", "user2"], scenes=["a"]}, {name="b", agents=["user2", "user3"], scenes=["b"]}]"#;
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2,user3")
        .set("BRIDGE_DESK__CAPACITY", CAPACITY.to_string())
        .set("BRIDGE_DESK__STICKY_S", "60")
        .set("BRIDGE_DESK__GROUP", groups)
        .start()
        .await;
    let clients: [AgentClient; 3] = agents(&world);
    let mut is_there = [true; 3];
    let mut random = StdRng::seed_from_u64(20_261_128);
    let names: Vec<String> = (0..12).map(|n| format!("n{n:02}")).collect();
    let group_of = |name: &str| name[1..].parse::<usize>().unwrap() % 3;
    for name in &names {
        follows(&world, name, ["a", "b"].get(group_of(name)).copied()).await;
    }
    let mut written: HashMap<&str, Vec<String>> = HashMap::new();
    let rows = |sql: &str| world.database().rows(sql, &[]).unwrap();
    let loads = || {
        rows(
            "SELECT v.agent, v.openid FROM customer c, conversation v
              WHERE v.id = c.conversation AND v.agent IS NOT NULL",
        )
    };
    let customer = |shown: &serde_json::Value| {
        let shown = shown.as_str().unwrap();
        names.iter().position(|name| openid(name) == shown).unwrap()
    };
    for step in 0..60 {
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
                agent.say(row[1].as_str().unwrap(), "/close").await.unwrap();
            }
            _ => {
                let name = names.choose(&mut random).unwrap();
                let words = format!("{name} at {step}");
                world.wechat.customer(&openid(name)).say(&words).await;
                written.entry(name).or_default().push(words);
            }
        }
        let holds = eventually(SOON, async || {
            let rows_of_agents = loads();
            let place = |row: &[serde_json::Value]| {
                clients.iter().position(|client| row[0] == client.user_id()).unwrap()
            };
            let load = |at: usize| rows_of_agents.iter().filter(|row| place(row) == at).count();
            assert!((0..3).all(|at| load(at) <= CAPACITY), "step {step}: {rows_of_agents:?}");
            for row in &rows_of_agents {
                let group = GROUPS[group_of(&names[customer(&row[1])])];
                assert!(group.contains(&place(row)), "step {step}: {row:?}");
            }
            let waiting = rows("SELECT DISTINCT openid FROM message WHERE state = 10");
            waiting.iter().all(|row| {
                let group = GROUPS[group_of(&names[customer(&row[0])])];
                !group.iter().any(|at| is_there[*at] && load(*at) < CAPACITY)
            })
        });
        assert!(holds.await, "step {step}: somebody waits while an agent of the group is free");
    }
    for client in &clients {
        client.sign_in().await.unwrap();
    }
    let all_served = eventually(SOON, async || {
        for row in loads() {
            let agent = clients.iter().find(|client| row[0] == client.user_id()).unwrap();
            agent.say(row[1].as_str().unwrap(), "/close").await.unwrap();
        }
        rows("SELECT 1 FROM message WHERE state = 10").is_empty()
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
