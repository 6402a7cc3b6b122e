//! Several agents: assignment of new customers, commands, and transfer of conversations.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use crate::observe::{CUSTOM_SEND, SENDMSG, await_notice, await_states, calls, notices};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid, texts,
};

const IMPORTMSG: &str = "openim/importmsg";

async fn world(agents: &str) -> World {
    Setup::default().set("BRIDGE_IM__AGENTS", agents).start().await
}

fn agent_clients<const N: usize>(world: &World, agents: [&str; N]) -> [AgentClient; N] {
    agents.map(|agent| world.im.agent(agent).unwrap())
}

fn inquiries(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|words| format!("{INQUIRY}{words}")).collect()
}

/// Lets a new customer write and returns the agent who receives the message.
async fn assigned_agent(world: &World, clients: &[AgentClient], name: &str) -> String {
    world.follower(name).say("hello").await;
    let mut assigned = None;
    eventually(SOON, async || {
        assigned = clients.iter().find(|client| !texts(client, &openid(name)).is_empty());
        assigned.is_some()
    })
    .await;
    assigned.unwrap().user_id().to_owned()
}

#[tokio::test]
async fn a_new_customer_goes_to_the_agent_with_the_fewest_and_in_rotation_among_equals() {
    let mut world = world("user1,user2,user3").await;
    let clients = agent_clients(&world, ["user1", "user2", "user3"]);
    let close = async |name: &str, at: usize| {
        clients[at].say(&openid(name), "/close").await.unwrap();
        await_notice(&clients[at], &openid(name), "Closed").await;
    };
    for (at, name) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(assigned_agent(&world, &clients, name).await, clients[at].user_id(), "all are equal");
        close(name, at).await;
    }
    world.restart().await;
    for (name, agent) in [("c", "user3"), ("d", "user1"), ("e", "user2")] {
        assert_eq!(assigned_agent(&world, &clients, name).await, agent, "in rotation, also after a restart");
    }
    close("d", 0).await;
    assert_eq!(assigned_agent(&world, &clients, "f").await, "user1", "user1 has the fewest");
    close("c", 2).await;
    close("e", 1).await;
    assert_eq!(assigned_agent(&world, &clients, "g").await, "user2", "the next in rotation");
    world.finish().await;
}

#[tokio::test]
async fn commands_are_answered_in_the_conversation_and_never_reach_the_customer() {
    let world = world("user1,user2").await;
    let [agent, other] = agent_clients(&world, ["user1", "user2"]);
    let (phone, customer) = (world.follower("a"), openid("a"));
    phone.say("hello").await;
    await_texts(&agent, &customer, 1).await;

    agent.say(&customer, "/who").await.unwrap();
    let told =
        await_notice(&agent, &customer, "user1's conversation. Messages left: 5, for 48 h 0 min (until ");
    assert!(told.await[0].lines().next().unwrap().ends_with(" UTC). Held: 0."));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45047));
    agent.say(&customer, "one more thing").await.unwrap();
    await_notice(&agent, &customer, "“one more thing” is held").await;
    other.say(&customer, "/WHO").await.unwrap();
    let expected =
        "Messages left: 0, WeChat allows no more messages until the customer writes again. Held: 1.";
    await_notice(&other, &customer, expected).await;
    agent.say(&customer, "/help").await.unwrap();
    await_notice(&agent, &customer, "//TEXT: sends /TEXT to the customer").await;
    agent.say(&customer, "/to").await.unwrap();
    agent.say(&customer, "/to nobody").await.unwrap();
    await_notice(&agent, &customer, "no such agent or group. Agents: user1, user2").await;
    agent.say(&customer, "/to user1").await.unwrap();
    await_notice(&agent, &customer, "user1 already has this conversation").await;
    assert_eq!(phone.say("yes?").await.text(), Some("one more thing"));
    agent.say(&customer, "/sizes are in the list").await.unwrap();
    await_notice(&agent, &customer, "Not sent: there is no command /sizes").await;
    agent.say(&customer, "、whose is it").await.unwrap();
    await_notice(&agent, &customer, "Did you mean /who?").await;
    agent.say(&customer, "\u{200b}／help").await.unwrap();
    agent.say(&customer, "//sizes are in the list").await.unwrap();
    await_shown(&phone, "/sizes are in the list").await;
    agent.say(&customer, "/::)").await.unwrap();
    await_shown(&phone, "/::)").await;
    await_states(&world, &customer, &["delivered", "delivered", "delivered"]).await;
    let expected = [TRANSFERRING, "one more thing", "/sizes are in the list", "/::)"];
    assert_eq!(
        phone.texts().iter().filter(|text| *text != "yes?" && *text != "hello").collect::<Vec<_>>(),
        expected
    );
    world.finish().await;
}

#[tokio::test]
async fn a_repeated_command_is_applied_once_and_answered_in_the_configured_language() {
    for (locale, words) in [("ko", "담당: user1"), ("zh", "由user1负责")] {
        let world = Setup::default().set("BRIDGE_TEXTS__LOCALE", locale).start().await;
        let (agent, customer) = (world.agent(), openid("a"));
        world.follower("a").say("hello").await;
        await_texts(&agent, &customer, 1).await;
        let sent = agent.say(&customer, "/who").await.unwrap();
        world.im.repeat(&sent).await.unwrap();
        await_notice(&agent, &customer, words).await;
        world.im.repeat(&sent).await.unwrap();
        agent.say(&customer, "/help").await.unwrap();
        await_notice(&agent, &customer, "/close").await;
        assert_eq!(notices(&agent, &customer).iter().filter(|notice| notice.contains(words)).count(), 1);
        world.finish().await;
    }
}

#[tokio::test]
async fn after_a_close_the_next_message_begins_a_new_conversation() {
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_WECHAT__ACKNOWLEDGE", "session")
        .start()
        .await;
    let [first, second] = agent_clients(&world, ["user1", "user2"]);
    let (phone, customer) = (world.follower("a"), openid("a"));
    assert_eq!(phone.say("hello").await.text(), Some(TRANSFERRING));
    assert_eq!(phone.say("anyone?").await.text(), None, "the session goes on");
    await_texts(&first, &customer, 2).await;
    first.say(&customer, "/close").await.unwrap();
    await_notice(&first, &customer, "Closed").await;
    first.say(&customer, "/who").await.unwrap();
    await_notice(&first, &customer, "No agent has this conversation").await;
    assert_eq!(phone.say("another thing").await.text(), Some(TRANSFERRING), "a new session");
    let seen = await_texts(&second, &customer, 4).await;
    assert_eq!(seen[..2], inquiries(&["hello", "anyone?"]), "what was said: {seen:?}");
    assert_eq!(seen[3..], inquiries(&["another thing"]), "assigned anew: {seen:?}");
    first.say(&customer, "from the first all the same").await.unwrap();
    await_shown(&phone, "from the first all the same").await;
    world.finish().await;
}

#[tokio::test]
async fn a_transfer_keeps_the_order_and_loses_nothing() {
    let world = world("user1,user2").await;
    let [first, second] = agent_clients(&world, ["user1", "user2"]);
    let (phone, customer) = (world.follower("a"), openid("a"));
    phone.say("hello").await;
    await_texts(&first, &customer, 1).await;
    first.say(&customer, "good day").await.unwrap();
    await_shown(&phone, "good day").await;
    phone.send_location(22.5, 114.0, 10, "Station Rd 5").await;
    await_texts(&first, &customer, 2).await;

    // IM accepts nothing for a while, so the customer's messages wait when the transfer happens.
    world.im.faults().script(SENDMSG, 100, Fault::Code(60008));
    phone.say("waits 1").await;
    phone.say("waits 2").await;
    // One that is just being sent stays with its agent, so the next attempt is put off.
    let put_off = async |until: i64| {
        let sql = "UPDATE message SET due_at = ?2 WHERE openid = ?1 AND attempts > 0 AND state = 0";
        world.database().execute(sql, &[json!(customer), json!(until)])
    };
    let far_off = world.clock.now().plus(3_600_000).0;
    assert!(eventually(SOON, async || put_off(far_off).await == 1).await);
    let mut exchanges = world.im.events();
    first.say(&customer, "/to user2").await.unwrap();
    phone.say("waits 3").await;
    world.im.faults().clear();
    assert!(put_off(0).await >= 1);
    phone.say("after").await;

    let notice = "[bridge] This conversation is now yours (assigned by user1).";
    let mut expected = inquiries(&["hello"]);
    expected.extend(["[bridge] user1: good day", "Station Rd 5\n22.5,114", notice].map(str::to_owned));
    expected.extend(inquiries(&["waits 1", "waits 2", "waits 3", "after"]));
    assert_eq!(await_texts(&second, &customer, expected.len()).await, expected);
    let ledger = world.im.ledger();
    let arrived: Vec<(&str, String)> =
        ledger.deliveries().filter(|send| send.to == "user2").map(|send| (send.api, send.text())).collect();
    assert_eq!(
        arrived.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>(),
        expected,
        "in the order of arrival too"
    );
    assert_eq!(arrived.iter().filter(|(api, _)| *api == IMPORTMSG).count(), 3);
    await_notice(&first, &customer, "This is user2's conversation from now on.").await;
    assert_eq!(texts(&first, &customer).iter().filter(|text| text.contains("waits")).count(), 0);
    let mut callbacks = 0;
    while let Ok(exchange) = exchanges.try_recv() {
        callbacks += usize::from(exchange.path == "/imcallback");
    }
    assert_eq!(callbacks, 1, "only the command itself caused a callback");

    // The customer gets the answers of both agents, and the transfer back shows no message twice.
    first.say(&customer, "by the way").await.unwrap();
    second.say(&customer, "my turn").await.unwrap();
    await_shown(&phone, "my turn").await;
    second.say(&customer, "/to user1").await.unwrap();
    await_notice(&first, &customer, "now yours (assigned by user2)").await;
    phone.say("back?").await;
    assert!(
        eventually(SOON, async || texts(&first, &customer).last() == inquiries(&["back?"]).first()).await
    );
    let seen = texts(&first, &customer);
    for words in ["waits 1", "waits 2", "waits 3", "after", "[bridge] user2: my turn", "back?"] {
        let times = seen.iter().filter(|text| text.ends_with(words)).count();
        assert_eq!(times, 1, "{words:?} in {seen:?}");
    }
    assert!(!seen.iter().any(|text| text.contains("user1: good day") || text.contains("by the way")));
    world.finish().await;
}

#[tokio::test]
async fn a_failed_import_is_repeated_and_shown_once() {
    let world = world("user1,user2").await;
    let [first, second] = agent_clients(&world, ["user1", "user2"]);
    let (phone, customer) = (world.follower("a"), openid("a"));
    for words in ["one", "two", "three"] {
        phone.say(words).await;
    }
    await_texts(&first, &customer, 3).await;
    world.im.faults().script(IMPORTMSG, 1, Fault::Code(60008));
    world.im.faults().script(IMPORTMSG, 1, Fault::DropAfter);
    world.im.faults().script(IMPORTMSG, 1, Fault::NotJson);
    second.say(&customer, "/to user2").await.unwrap();
    let seen = await_texts(&second, &customer, 4).await;
    assert_eq!(seen[..3], inquiries(&["one", "two", "three"]));
    assert!(seen[3].contains("now yours (assigned by user2)") && seen.len() == 4, "{seen:?}");
    await_notice(&first, &customer, "user2's conversation from now on").await;
    world.finish().await;
}

#[tokio::test]
async fn a_lost_callback_of_an_unassigned_agent_is_backfilled_too() {
    let world = world("user1,user2").await;
    let [first, second] = agent_clients(&world, ["user1", "user2"]);
    let (phone, customer) = (world.follower("a"), openid("a"));
    let mut events = world.wechat.events();
    phone.say("hello").await;
    await_texts(&first, &customer, 1).await;
    world.lose_callbacks(2);
    second.say(&customer, "may I?").await.unwrap();
    second.say(&customer, "/who").await.unwrap();
    world.clock.advance(61_000);
    await_shown(&phone, "may I?").await;
    await_notice(&second, &customer, "user1's conversation").await;
    assert_eq!(calls(&mut events, CUSTOM_SEND), 1);
    world.finish().await;
}
