//! Bursts: while few of a customer's sends are left, lines that an agent types shortly after one another go as one
//! message. Each line keeps a number, a state and a trace of its own.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::wechat::{Phone, Via};

use crate::observe::{
    CUSTOM_SEND, await_notice, await_sends, await_states, calls, greeted, notices, notices_but_budget, shown,
    states, stored,
};
use crate::recalls::{edit, recall};
use crate::world::{Setup, World, await_shown, openid};

/// So long that nothing leaves by itself within a test, in milliseconds.
const WAIT_MS: i64 = 15_000;

fn merging() -> Setup {
    let wait = WAIT_MS.to_string();
    Setup::default().set("BRIDGE_DESK__MERGE_BELOW", "3").set("BRIDGE_DESK__MERGE_WAIT_MS", wait)
}

async fn say(world: &World, name: &str, lines: &[&str]) {
    for line in lines {
        world.agent().say(&openid(name), line).await.unwrap();
    }
}

/// A customer whose last message allows two more sends. The first three did not wait.
async fn with_two_left(world: &World, name: &str) -> Phone {
    let phone = greeted(world, name).await;
    say(world, name, &["one", "two", "three"]).await;
    assert_eq!(await_sends(world, &openid(name), 3).await, ["one", "two", "three"]);
    await_notice(&world.agent(), &openid(name), "2 more messages").await;
    phone
}

/// The states of a customer's messages behind the first three.
fn behind_three(states: &[&'static str]) -> Vec<&'static str> {
    [&["delivered"; 3], states].concat()
}

/// The numbers of a customer's messages behind the first three, as a notice about all of them begins.
async fn numbers(world: &World, name: &str) -> String {
    let stored = stored(world, &openid(name)).await;
    stored[3..].iter().map(|row| format!("#{} ", row.id)).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn six_short_lines_with_two_sends_left_arrive_whole_in_one_of_them() {
    let world = merging().start().await;
    let (agent, customer, phone) = (world.agent(), openid("six"), with_two_left(&world, "six").await);
    let lines = ["Hello again!", "The blue one", "is sold out,", "the red one", "is not.", "Shall I?"];
    say(&world, "six", &lines).await;
    assert_eq!(states(&world, &customer).await, behind_three(&["waiting"; 6]));
    world.clock.advance(WAIT_MS);
    assert_eq!(await_sends(&world, &customer, 4).await[3..], [lines.join("\n")]);
    await_states(&world, &customer, &behind_three(&["delivered"; 6])).await;
    assert_eq!(phone.sends_left(), 1);
    assert_eq!(notices_but_budget(&agent, &customer), Vec::<String>::new());
    assert_eq!(notices(&agent, &customer).len(), 1, "of two sends left");
    let sql =
        "SELECT count(DISTINCT message) FROM step WHERE openid = ?1 AND detail LIKE '%one call with #%'";
    let traced: i64 = world.database().value(sql, &[json!(customer)]);
    assert_eq!(traced, 6);
    // The last send waits too, and the agent reads that it was the last one.
    say(&world, "six", &["It is the last."]).await;
    world.clock.advance(WAIT_MS);
    await_shown(&phone, "It is the last.").await;
    await_notice(&agent, &customer, "That was the last message").await;
    // Without a send left nothing waits: it is held at once.
    say(&world, "six", &["Too late."]).await;
    await_notice(&agent, &customer, "“Too late.” is held").await;
    world.finish().await;
}

#[tokio::test]
async fn another_agents_line_and_a_long_text_end_the_burst_and_a_question_ends_the_wait() {
    let world = merging().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let (customer, phone) = (openid("end"), with_two_left(&world, "end").await);
    say(&world, "end", &["a", "b"]).await;
    world.im.agent("user2").unwrap().say(&customer, "from another").await.unwrap();
    assert_eq!(await_sends(&world, &customer, 4).await[3], "a\nb", "at once");
    await_states(&world, &customer, &behind_three(&["delivered", "delivered", "waiting"])).await;
    // The question allows five sends again, and then nothing waits.
    phone.say("and?").await;
    await_shown(&phone, "from another").await;
    say(&world, "end", &["x", "y"]).await;
    await_sends(&world, &customer, 7).await;
    let long = "z".repeat(1_999);
    say(&world, "end", &["short", &long]).await;
    assert_eq!(await_sends(&world, &customer, 8).await[7], "short", "they do not fit into one message");
    // A line that leaves no room for another waits for none.
    assert_eq!(await_sends(&world, &customer, 9).await[8], long);
    world.finish().await;
}

#[tokio::test]
async fn all_lines_of_a_burst_end_alike_with_one_notice() {
    let world = merging().start().await;
    let agent = world.agent();
    for (n, (fault, state, words)) in [
        (Fault::Code(45015), "held", "is held: the customer has not written for too long"),
        (Fault::Code(45047), "held", "is held: WeChat allows no more messages"),
        (Fault::Code(40003), "refused", "was not sent and will not be"),
        (Fault::DropAfter, "unknown", "may or may not have arrived"),
        (Fault::DropBefore, "unknown", "may or may not have arrived"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("e{n}");
        let (customer, phone) = (openid(&name), with_two_left(&world, &name).await);
        let mut events = world.wechat.events();
        world.wechat.faults().script(CUSTOM_SEND, 1, fault);
        say(&world, &name, &["a", "b", "c"]).await;
        world.clock.advance(WAIT_MS);
        await_states(&world, &customer, &behind_three(&[state; 3])).await;
        let about_all = format!("{}“a b c” {words}", numbers(&world, &name).await);
        await_notice(&agent, &customer, &about_all).await;
        let all = notices_but_budget(&agent, &customer);
        assert_eq!((all.len(), all.concat().lines().count()), (1, 1), "{all:?}");
        assert_eq!(calls(&mut events, CUSTOM_SEND), 1);
        let arrived = phone.texts().iter().filter(|text| text.contains("a\nb\nc")).count();
        let reply = phone.say("and?").await;
        if state == "held" {
            assert_eq!(reply.text(), Some("a\nb\nc"), "in the free reply");
            await_states(&world, &customer, &["delivered"; 6]).await;
        } else {
            // Each is sent again by itself, and waits for nothing.
            say(&world, &name, &["/retry"]).await;
            assert_eq!(await_sends(&world, &customer, 6 + arrived).await[3 + arrived..], ["a", "b", "c"]);
            await_states(&world, &customer, &["delivered"; 6]).await;
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_burst_that_failed_is_sent_again_without_what_was_recalled_meanwhile() {
    let world = merging().start().await;
    let (customer, phone) = (openid("again"), with_two_left(&world, "again").await);
    let agent = world.agent();
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Delay(std::time::Duration::from_millis(1_500)));
    let mut sent = Vec::new();
    for line in ["a", "wrong", "c", "d"] {
        sent.push(agent.say(&customer, line).await.unwrap());
    }
    // Before it leaves.
    recall(&world, &customer, &sent[1].msg_key).await;
    edit(&world, &customer, &sent[2], "C", world.clock.now().0).await;
    await_states(&world, &customer, &behind_three(&["waiting", "recalled", "waiting", "waiting"])).await;
    world.clock.advance(WAIT_MS);
    // While it leaves, an operator's command and a recall come too late for the call, and each counts for its own line.
    let sql = "SELECT count(*) FROM message WHERE openid = ?1 AND direction = 1 AND state = 1";
    let is_leaving = async || world.database().value::<i64>(sql, &[json!(customer)]) == 3;
    assert!(crate::world::eventually(crate::world::SOON, is_leaving).await);
    recall(&world, &customer, &sent[3].msg_key).await;
    assert_eq!(await_sends(&world, &customer, 4).await[3], "a\nC\nd");
    await_notice(&agent, &customer, "“d” was recalled too late").await;
    await_states(&world, &customer, &behind_three(&["delivered", "recalled", "delivered", "delivered"]))
        .await;
    // A failure that passes: the same lines leave together, but for what was recalled.
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(-1));
    say(&world, "again", &["e", "f"]).await;
    world.clock.advance(WAIT_MS);
    await_shown(&phone, "e\nf").await;
    assert_eq!(phone.sends_left(), 0, "the failed call is refunded");
    world.finish().await;
}

#[tokio::test]
async fn a_burst_survives_a_restart() {
    let mut world = merging().start().await;
    let (customer, phone) = (openid("back"), with_two_left(&world, "back").await);
    say(&world, "back", &["a", "b"]).await;
    world.restart().await;
    say(&world, "back", &["c"]).await;
    assert_eq!(states(&world, &customer).await, behind_three(&["waiting"; 3]));
    world.clock.advance(WAIT_MS);
    await_shown(&phone, "a\nb\nc").await;
    world.finish().await;
}

#[tokio::test]
async fn nothing_waits_where_lines_are_not_merged_or_not_pushed() {
    let world = Setup::default().set("BRIDGE_DESK__MERGE_WAIT_MS", "60000").start().await;
    let phone = greeted(&world, "off").await;
    say(&world, "off", &["1", "2", "3", "4", "5"]).await;
    await_sends(&world, &openid("off"), 5).await;
    assert_eq!(shown(&phone, Via::CustomSend), ["1", "2", "3", "4", "5"]);
    world.finish().await;

    let world = merging().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let phone = greeted(&world, "passive").await;
    say(&world, "passive", &["a", "b"]).await;
    await_states(&world, &openid("passive"), &["held"; 2]).await;
    assert_eq!(phone.say("?").await.text(), Some("a\nb"));
    await_states(&world, &openid("passive"), &["delivered"; 2]).await;
    world.finish().await;
}
