//! Commands about what is said: canned replies, notes, the history, and messages that failed or are held; and the notices
//! that the customer's budget is nearly used.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use crate::observe::{
    CUSTOM_SEND, await_notice, await_sends, await_states, greeted, notices, states, stored,
};
use crate::recalls::{recall, recall_by};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, assert_success, await_shown, await_texts, eventually, openid,
    texts,
};

const HOUR: i64 = 3_600_000;
const HOURS: &str = "We are open from 9 to 18.";

async fn world_of_two() -> (World, [AgentClient; 2]) {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let agents = ["user1", "user2"].map(|agent| world.im.agent(agent).unwrap());
    (world, agents)
}

/// How many notes are stored.
fn stored_notes(world: &World) -> i64 {
    world.database().value("SELECT count(*) FROM message WHERE kind = 4", &[])
}

#[tokio::test]
async fn a_canned_reply_goes_to_the_customer_like_a_typed_one() {
    let world = Setup::default()
        .set("BRIDGE_REPLIES__HOURS", HOURS)
        .set("BRIDGE_REPLIES__RETURN", "Send it back within 14 days.")
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "canned").await, world.agent(), openid("canned"));
    agent.say(&customer, "/r").await.unwrap();
    let listed = await_notice(&agent, &customer, "Canned replies").await;
    assert!(listed[0].contains("\nhours: We are open from 9 to 18.\nreturn: Send it back"), "{listed:?}");
    agent.say(&customer, "/r hour").await.unwrap();
    await_notice(&agent, &customer, "there is no canned reply “hour”. Did you mean /r hours?").await;
    assert_eq!(states(&world, &customer).await, [""; 0], "a list and a mistake are no messages");

    agent.say(&customer, "one moment").await.unwrap();
    let sent = agent.say(&customer, "／R Hours").await.unwrap();
    world.im.repeat(&sent).await.unwrap();
    agent.say(&customer, "anything else?").await.unwrap();
    await_states(&world, &customer, &["delivered"; 3]).await;
    assert_eq!(await_sends(&world, &customer, 3).await, ["one moment", HOURS, "anything else?"]);
    assert_eq!(stored(&world, &customer).await[1].agent.as_deref(), Some("user1"));
    assert_eq!(phone.sends_left(), 2);

    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    let held = agent.say(&customer, "/r return").await.unwrap();
    await_notice(&agent, &customer, "“Send it back within 14 days.” is held").await;
    recall(&world, &customer, &held.msg_key).await;
    await_states(&world, &customer, &["delivered", "delivered", "delivered", "recalled"]).await;
    assert_eq!(phone.say("and?").await.text(), Some(TRANSFERRING));
    world.finish().await;
}

#[tokio::test]
async fn a_note_is_shown_at_the_next_hand_over_and_never_to_the_customer() {
    let (mut world, [first, second]) = world_of_two().await;
    let (phone, customer) = (world.follower("noted"), openid("noted"));
    phone.say("hello").await;
    await_texts(&first, &customer, 1).await;
    let sent = first.say(&customer, "/note wants an invoice,\nis in a hurry").await.unwrap();
    world.im.repeat(&sent).await.unwrap();
    await_notice(&first, &customer, "Noted.").await;
    phone.say("size M?").await;
    await_texts(&first, &customer, 3).await;
    first.say(&customer, "/to user2").await.unwrap();
    let expected = [
        &format!("{INQUIRY}hello"),
        "[bridge] note by user1: wants an invoice,\nis in a hurry",
        &format!("{INQUIRY}size M?"),
        "[bridge] This conversation is now yours (assigned by user1).",
    ];
    assert_eq!(await_texts(&second, &customer, expected.len()).await, expected);
    // Its author has it already.
    second.say(&customer, "/to user1").await.unwrap();
    await_notice(&first, &customer, "now yours (assigned by user2)").await;
    assert!(!texts(&first, &customer).iter().any(|text| text.contains("note by")));
    assert_eq!(stored_notes(&world), 1, "once, although its callback came twice");
    assert!(!phone.texts().concat().contains("invoice"));
    assert_eq!(states(&world, &customer).await, [""; 0]);

    // It goes with the customer, and with the messages of its age.
    let (gone, leaving) = (world.follower("gone"), openid("gone"));
    gone.say("hello").await;
    assert!(eventually(SOON, async || !texts(&second, &leaving).is_empty()).await);
    second.say(&leaving, "/note left soon").await.unwrap();
    let wrong = second.say(&leaving, "/note about somebody else").await.unwrap();
    assert_eq!(stored_notes(&world), 3);
    second.say(&leaving, "/history").await.unwrap();
    await_notice(&second, &leaving, "note by user2: about somebody else").await;
    recall_by(&world, "user2", &leaving, &wrong.msg_key).await;
    second.say(&leaving, "/to user1").await.unwrap();
    await_notice(&first, &leaving, "now yours (assigned by user2)").await;
    let seen = texts(&first, &leaving).concat();
    assert!(seen.contains("left soon") && !seen.contains("somebody else"), "{seen}");
    assert_success(&gone.unfollow().await);
    assert!(eventually(SOON, async || stored_notes(&world) == 1).await);
    world.clock.advance(31 * 24 * HOUR);
    world.restart().await;
    assert!(eventually(SOON, async || stored_notes(&world) == 0).await);
    world.finish().await;
}

#[tokio::test]
async fn the_history_shows_in_order_what_everybody_said_also_before_this_conversation() {
    let (world, [first, second]) = world_of_two().await;
    let (phone, customer) = (world.follower("past"), openid("past"));
    phone.say("hello").await;
    await_texts(&first, &customer, 1).await;
    first.say(&customer, "good day").await.unwrap();
    await_shown(&phone, "good day").await;
    first.say(&customer, "/note pays late").await.unwrap();
    await_notice(&first, &customer, "Noted.").await;
    first.say(&customer, "/close").await.unwrap();
    await_notice(&first, &customer, "Closed").await;
    // IM's history of it is gone by then.
    world.clock.advance(9 * 24 * HOUR);
    // The customer goes back to the agent who served last.
    phone.say("me again").await;
    await_texts(&first, &customer, 1).await;
    phone.send_location(22.5, 114.0, 10, "Station Rd 5").await;
    await_texts(&first, &customer, 2).await;
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(40003));
    second.say(&customer, "never sent").await.unwrap();
    await_notice(&second, &customer, "“never sent” was not sent").await;

    let expected = [
        "customer: hello",
        "user1: good day",
        "note by user1: pays late",
        "customer: me again",
        "customer: Station Rd 5",
        "22.5,114",
    ];
    for agent in [&second, &first] {
        agent.say(&customer, "/history").await.unwrap();
        let told = await_notice(agent, &customer, "What was said before (times are UTC):\n").await;
        let told = told.iter().find(|notice| notice.contains("What was said before")).unwrap();
        let lines: Vec<&str> = told.lines().skip(1).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            let said = line.split_once(" UTC ").map_or(*line, |(_, said)| said);
            assert_eq!(said, expected, "{lines:?}");
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_retry_sends_the_failed_messages_of_the_conversation_again_in_order() {
    let world = Setup::default().set("BRIDGE_WECHAT__QUOTA_MESSAGES", "20").start().await;
    let (phone, agent, customer) = (greeted(&world, "again").await, world.agent(), openid("again"));
    agent.say(&customer, "/retry").await.unwrap();
    await_notice(&agent, &customer, "There is nothing to send again").await;
    for (words, fault) in
        [("perhaps", Fault::DropBefore), ("refused", Fault::Code(40003)), ("recalled", Fault::DropBefore)]
    {
        world.wechat.faults().script(CUSTOM_SEND, 1, fault);
        let sent = agent.say(&customer, words).await.unwrap();
        await_notice(&agent, &customer, &format!("“{words}”")).await;
        if words == "recalled" {
            recall(&world, &customer, &sent.msg_key).await;
        }
    }
    agent.say(&customer, " ").await.unwrap();
    agent.say(&customer, "arrived").await.unwrap();
    await_shown(&phone, "arrived").await;
    await_states(&world, &customer, &["unknown", "refused", "unknown", "refused", "delivered"]).await;

    let sent = agent.say(&customer, "/retry").await.unwrap();
    world.im.repeat(&sent).await.unwrap();
    await_notice(&agent, &customer, "2 messages are sent again").await;
    await_states(&world, &customer, &["delivered", "delivered", "unknown", "refused", "delivered"]).await;
    assert_eq!(await_sends(&world, &customer, 3).await, ["arrived", "perhaps", "refused"]);

    // What failed in an earlier conversation is left alone.
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(40003));
    agent.say(&customer, "long ago").await.unwrap();
    await_notice(&agent, &customer, "“long ago”").await;
    world.clock.advance(2 * HOUR);
    phone.say("me again").await;
    let before = notices(&agent, &customer).concat().matches("nothing to send again").count();
    agent.say(&customer, "/retry").await.unwrap();
    let told = || notices(&agent, &customer).concat().matches("nothing to send again").count();
    assert!(eventually(SOON, async || told() == before + 1).await, "{:?}", notices(&agent, &customer));
    world.finish().await;
}

#[tokio::test]
async fn a_drop_gives_up_what_is_held_and_tells_each_author() {
    let (world, [first, second]) = world_of_two().await;
    let (phone, customer) = (world.follower("full"), openid("full"));
    phone.say("hello").await;
    await_texts(&first, &customer, 1).await;
    first.say(&customer, "/drop").await.unwrap();
    await_notice(&first, &customer, "Nothing is held here.").await;
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    for (agent, words) in [(&first, "one"), (&second, "two"), (&first, "three")] {
        agent.say(&customer, words).await.unwrap();
        await_notice(agent, &customer, &format!("“{words}” is held")).await;
    }
    first.say(&customer, "/drop").await.unwrap();
    await_notice(&first, &customer, "3 held messages are dropped").await;
    await_notice(&second, &customer, "“two” was not sent and will not be: dropped by an agent.").await;
    assert!(!notices(&first, &customer).concat().contains("dropped by an agent"), "its author knows");
    await_states(&world, &customer, &["refused"; 3]).await;
    first.say(&customer, "/retry").await.unwrap();
    await_notice(&first, &customer, "There is nothing to send again").await;
    assert_eq!(phone.say("still there?").await.text(), Some(TRANSFERRING));
    assert_eq!(world.ready().await["backlog"]["held"], json!(0));
    world.finish().await;
}

#[tokio::test]
async fn names_in_the_agents_language_work_and_emoji_go_to_the_customer() {
    let world = Setup::default().set("BRIDGE_TEXTS__LOCALE", "zh").start().await;
    let (phone, agent, customer) = (greeted(&world, "zh").await, world.agent(), openid("zh"));
    for (typed, told) in [
        ("/查询", "由user1负责"),
        ("/备注客户要发票", "已备注"),
        ("／历史", "user1的备注：客户要发票"),
        ("、快捷", "[replies]"),
        ("/重发", "没有需要重发的消息"),
        ("/丢弃", "没有暂存的消息"),
        ("/备住", "是否要输入/备注"),
        ("/帮助", "/history（/历史）"),
    ] {
        agent.say(&customer, typed).await.unwrap();
        await_notice(&agent, &customer, told).await;
    }
    agent.say(&customer, "/微笑").await.unwrap();
    await_shown(&phone, "/微笑").await;
    await_states(&world, &customer, &["delivered"]).await;
    world.finish().await;
}

/// How many of the agent's notices say that two sends are left, and that the last one is used.
fn told_of_budget(agent: &AgentClient, customer: &str) -> (usize, usize) {
    let all = notices(agent, customer).concat();
    (
        all.matches("2 more messages may be sent until ").count(),
        all.matches("That was the last message").count(),
    )
}

#[tokio::test]
async fn the_conversations_agent_is_told_once_that_two_sends_are_left_and_that_none_is() {
    let (mut world, [first, second]) = world_of_two().await;
    let (phone, customer) = (world.follower("budget"), openid("budget"));
    let told = |count| {
        let (first, customer) = (&first, &customer);
        eventually(SOON, async move || told_of_budget(first, customer) == count)
    };
    let mut sent = 0;
    for window in 0..2 {
        phone.say("hello").await;
        await_texts(&first, &customer, 1).await;
        // WeChat counts no message that it refuses.
        for (words, fault) in [("a", None), ("b", None), ("no", Some(Fault::Code(40003))), ("c", None)] {
            if let Some(fault) = fault {
                world.wechat.faults().script(CUSTOM_SEND, 1, fault);
            }
            assert_eq!(told_of_budget(&first, &customer), (window, window), "before {words:?}");
            second.say(&customer, words).await.unwrap();
            sent += usize::from(words != "no");
            await_sends(&world, &customer, sent).await;
            assert!(eventually(SOON, async || !states(&world, &customer).await.contains(&"waiting")).await);
        }
        assert!(told((window + 1, window)).await, "{:?}", notices(&first, &customer));
        let all = notices(&first, &customer);
        assert!(all.iter().any(|notice| notice.contains(" UTC, for 48 h 0 min.")), "{all:?}");
        world.restart().await;
        for words in ["d", "e"] {
            first.say(&customer, words).await.unwrap();
            sent += 1;
            await_sends(&world, &customer, sent).await;
        }
        assert!(told((window + 1, window + 1)).await, "{:?}", notices(&first, &customer));
        first.say(&customer, "f").await.unwrap();
        assert!(eventually(SOON, async || states(&world, &customer).await.contains(&"held")).await);
        first.say(&customer, "/drop").await.unwrap();
        assert!(eventually(SOON, async || !states(&world, &customer).await.contains(&"held")).await);
    }
    assert_eq!(told_of_budget(&first, &customer), (2, 2));
    assert_eq!(told_of_budget(&second, &customer), (0, 0), "it is the other one's conversation");
    world.finish().await;
}
