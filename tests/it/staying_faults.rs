//! Faults that stay: one message, one customer or one API that never works again. Every message ends, and
//! the next one leaves.

use std::time::Duration;

use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;

use crate::child;
use crate::observe::{
    CUSTOM_SEND, SENDMSG, await_notice, await_states, counter_value, greeted, notices, states, stored,
};
use crate::world::{INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, openid, texts};

const HISTORY: &str = "openim/admin_getroammsg";
const IMPORT: &str = "account_import";
/// In the texts of messages that a scripted fault strikes.
const POISON: &str = "poison";

/// The states of the customer's own messages, in order.
fn question_states(world: &World, customer: &str) -> Vec<u8> {
    let sql = "SELECT state FROM message WHERE openid = ?1 AND direction = 0 AND kind = 0 ORDER BY id";
    world.database().column(sql, &[json!(customer)])
}

const WAITING: &[u8] = &[0, 1];
const DELIVERED: &[u8] = &[2];
const REFUSED: &[u8] = &[4];
const UNKNOWN: &[u8] = &[5];

async fn await_question(world: &World, customer: &str, index: usize, expected: &[u8], case: &str) {
    let reached =
        async || question_states(world, customer).get(index).is_some_and(|state| expected.contains(state));
    assert!(eventually(SOON, reached).await, "{case}: {:?}", question_states(world, customer));
}

/// Runs a command of the binary beside the running bridge, and returns its output if it succeeded.
pub async fn operate(world: &World, words: &[&str]) -> String {
    let (succeeded, stdout, stderr) = try_operate(world, words).await;
    assert!(succeeded, "{words:?}: {stderr}");
    stdout
}

async fn try_operate(world: &World, words: &[&str]) -> (bool, String, String) {
    let config = world.folder.path().join("config.toml");
    std::fs::write(&config, world.config_toml()).unwrap();
    let mut command = tokio::process::Command::from(child::bridge());
    let output = command.args(words).arg("--config").arg(&config).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Advances the clock in steps, until the condition holds.
async fn advance_until(world: &World, step_ms: i64, mut condition: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..60 {
        if eventually(Duration::from_millis(1_500), &mut condition).await {
            return true;
        }
        world.clock.advance(step_ms);
    }
    false
}

#[tokio::test]
async fn a_message_that_http_refuses_for_ever_is_refused_and_the_next_one_leaves_at_once() {
    let world = World::start().await;
    let agent = world.agent();
    for status in [403, 404, 413] {
        let name = format!("h{status}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        world.im.faults().script_for_ever(SENDMSG, POISON, Fault::Status(status));
        world.wechat.faults().script_for_ever(CUSTOM_SEND, POISON, Fault::Status(status));
        phone.say(POISON).await;
        phone.say("fine").await;
        let note = "[bridge] #";
        let arrived = await_texts(&agent, &customer, 3).await;
        assert!(arrived.contains(&format!("{INQUIRY}fine")), "{arrived:?}");
        await_question(&world, &customer, 1, REFUSED, "to IM").await;
        await_question(&world, &customer, 2, DELIVERED, "to IM").await;
        await_notice(&agent, &customer, &format!("HTTP {status}")).await;
        // The notice about the answer quotes it.
        world.im.faults().clear();

        agent.say(&customer, POISON).await.unwrap();
        agent.say(&customer, "fine too").await.unwrap();
        await_shown(&phone, "fine too").await;
        await_states(&world, &customer, &["refused", "delivered"]).await;
        await_notice(&agent, &customer, "was not sent and will not be").await;
        assert!(notices(&agent, &customer).iter().all(|notice| notice.starts_with(note)));
        world.im.faults().clear();
        world.wechat.faults().clear();
    }
    world.finish().await;
}

/// With the default settings and real time, because the number of sends in it is promised.
#[tokio::test]
async fn a_send_that_im_never_answers_is_repeated_with_growing_pauses_and_ends_as_unknown() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "p").await, world.agent(), openid("p"));
    world.im.faults().script_for_ever(SENDMSG, POISON, Fault::BadGateway);
    let started = tokio::time::Instant::now();
    phone.say(POISON).await;
    phone.say("next").await;
    tokio::time::sleep_until(started + Duration::from_secs(20)).await;
    let sends = world.im.faults().taken(SENDMSG).len();
    assert!((3..=6).contains(&sends), "{sends} sends in 20 s");
    assert!(WAITING.contains(&question_states(&world, &customer)[1]));
    let ended = async || question_states(&world, &customer)[1..] == [5, 2];
    assert!(advance_until(&world, 30_000, ended).await, "{:?}", question_states(&world, &customer));
    assert_eq!(world.im.faults().taken(SENDMSG).len(), 8, "one send in each round");
    assert!(texts(&agent, &customer).contains(&format!("{INQUIRY}next")));
    await_notice(&agent, &customer, "may not have reached you").await;
    assert_eq!(notices(&agent, &customer).len(), 1, "{:?}", notices(&agent, &customer));
    world.finish().await;
}

#[tokio::test]
async fn whatever_swallows_a_send_to_im_it_ends_after_its_rounds() {
    let world = Setup::default().set("BRIDGE_OUTBOX__UNKNOWN_AFTER", "2").start().await;
    let agent = world.agent();
    for (n, fault) in
        [Fault::DropBefore, Fault::BadGateway, Fault::Status(408), Fault::Status(425), Fault::Status(429)]
            .into_iter()
            .enumerate()
    {
        let name = format!("s{n}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        world.im.faults().script_for_ever(SENDMSG, POISON, fault.clone());
        let before = world.im.faults().taken(SENDMSG).len();
        phone.say(POISON).await;
        phone.say("next").await;
        let case = format!("{fault:?}");
        await_question(&world, &customer, 1, UNKNOWN, &case).await;
        await_question(&world, &customer, 2, DELIVERED, &case).await;
        assert_eq!(world.im.faults().taken(SENDMSG).len() - before, 2, "{case}");
        await_notice(&agent, &customer, "may not have reached you").await;
        world.im.faults().clear();
    }
    world.finish().await;
}

#[tokio::test]
async fn while_the_history_does_not_answer_no_round_counts() {
    let world = Setup::default().set("BRIDGE_OUTBOX__UNKNOWN_AFTER", "1").start().await;
    let (phone, customer) = (greeted(&world, "d").await, openid("d"));
    world.im.faults().script_for_ever(SENDMSG, POISON, Fault::DropBefore);
    world.im.faults().script_for_ever(HISTORY, "", Fault::BadGateway);
    phone.say(POISON).await;
    let asked = async || world.im.faults().taken(HISTORY).len() >= 3;
    assert!(advance_until(&world, 10_000, asked).await);
    assert!(WAITING.contains(&question_states(&world, &customer)[1]));
    world.im.faults().clear();
    world.clock.advance(60_000);
    await_texts(&world.agent(), &customer, 2).await;
    world.finish().await;
}

#[tokio::test]
async fn a_history_that_is_refused_ends_the_send_after_its_rounds_without_a_repeat() {
    let world = Setup::default().set("BRIDGE_OUTBOX__UNKNOWN_AFTER", "2").start().await;
    let (phone, customer) = (greeted(&world, "r").await, openid("r"));
    world.im.faults().script_for_ever(SENDMSG, POISON, Fault::DropBefore);
    world.im.faults().script_for_ever(HISTORY, "", Fault::Status(403));
    phone.say(POISON).await;
    phone.say("next").await;
    await_question(&world, &customer, 1, UNKNOWN, "refused").await;
    await_question(&world, &customer, 2, DELIVERED, "the next").await;
    assert_eq!(world.im.faults().taken(SENDMSG).len(), 1);
    world.finish().await;
}

/// Every verdict of WeChat, for ever.
#[tokio::test]
async fn an_answer_that_wechat_refuses_or_does_not_acknowledge_for_ever_ends_or_waits_as_it_must() {
    let world = World::start().await;
    let agent = world.agent();
    let cases = [
        (Fault::Code(-1), "waiting"),
        (Fault::Code(45009), "waiting"),
        (Fault::Code(45011), "waiting"),
        (Fault::Code(45015), "held"),
        (Fault::Code(45047), "held"),
        (Fault::Code(48004), "held"),
        (Fault::Code(40003), "refused"),
        (Fault::Code(43004), "refused"),
        (Fault::Code(99999), "refused"),
        (Fault::Status(401), "refused"),
        (Fault::Status(403), "refused"),
        (Fault::Status(408), "unknown"),
        (Fault::Status(425), "unknown"),
        (Fault::Status(429), "unknown"),
        (Fault::Status(500), "unknown"),
        (Fault::BadGateway, "unknown"),
        (Fault::DropBefore, "unknown"),
        (Fault::DropAfter, "unknown"),
        (Fault::NotJson, "unknown"),
        (Fault::HalfBody, "unknown"),
    ];
    for (n, (fault, expected)) in cases.into_iter().enumerate() {
        let name = format!("w{n}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        world.wechat.faults().script_for_ever(CUSTOM_SEND, POISON, fault.clone());
        let before = world.wechat.faults().taken(CUSTOM_SEND).len();
        agent.say(&customer, POISON).await.unwrap();
        let struck = async || world.wechat.faults().taken(CUSTOM_SEND).len() > before;
        assert!(eventually(SOON, struck).await, "{fault:?}");
        await_states(&world, &customer, &[expected]).await;
        if matches!(expected, "refused" | "unknown") {
            agent.say(&customer, "next").await.unwrap();
            await_shown(&phone, "next").await;
            assert_eq!(notices(&agent, &customer).len(), 1, "{fault:?}: {:?}", notices(&agent, &customer));
            assert_eq!(world.wechat.faults().taken(CUSTOM_SEND).len() - before, 1, "{fault:?}: one call");
        } else {
            // The operator ends it.
            let id = stored(&world, &customer).await[0].id.to_string();
            operate(&world, &["messages", "discard", &id]).await;
            await_states(&world, &customer, &["refused"]).await;
        }
        world.wechat.faults().clear();
    }
    world.finish().await;
}

/// Every verdict of IM, for ever.
#[tokio::test]
async fn a_question_that_im_refuses_for_ever_ends_or_waits_as_it_must() {
    let world = Setup::default().set("BRIDGE_OUTBOX__UNKNOWN_AFTER", "1").start().await;
    let cases = [
        (Fault::Code(60008), WAITING),
        (Fault::Code(60007), WAITING),
        (Fault::Code(90012), REFUSED),
        (Fault::Code(80001), REFUSED),
        (Fault::Code(99999), REFUSED),
        (Fault::Status(401), REFUSED),
        (Fault::Status(500), UNKNOWN),
        (Fault::DropAfter, DELIVERED),
        (Fault::NotJson, DELIVERED),
        (Fault::HalfBody, DELIVERED),
    ];
    for (n, (fault, expected)) in cases.into_iter().enumerate() {
        let name = format!("i{n}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        world.im.faults().script_for_ever(SENDMSG, POISON, fault.clone());
        let before = world.im.faults().taken(SENDMSG).len();
        phone.say(POISON).await;
        let struck = async || world.im.faults().taken(SENDMSG).len() > before;
        assert!(eventually(SOON, struck).await, "{fault:?}");
        await_question(&world, &customer, 1, expected, &format!("{fault:?}")).await;
        if expected == WAITING {
            let discarded = operate(&world, &["messages", "discard", "--customer", &customer, "--yes"]).await;
            assert_eq!(discarded, "discarded 1 message\n", "{fault:?}");
        }
        phone.say("next").await;
        await_question(&world, &customer, 2, DELIVERED, &format!("{fault:?}")).await;
        world.im.faults().clear();
    }
    world.finish().await;
}

#[tokio::test]
async fn a_customer_whose_account_cannot_be_made_has_the_messages_refused_after_a_day() {
    let world = World::start().await;
    let (agent, customer) = (world.agent(), openid("acc"));
    let phone = world.wechat.customer(&customer);
    world.im.faults().script_for_ever(IMPORT, &customer, Fault::Code(70500));
    phone.follow().await;
    phone.say("hello").await;
    let tried = async || world.im.faults().taken(IMPORT).len() >= 2;
    assert!(eventually(SOON, tried).await);
    world.clock.advance(86_000_000);
    let tried = async || world.im.faults().taken(IMPORT).len() >= 4;
    assert!(advance_until(&world, 60_000, tried).await);
    let listed = operate(&world, &["messages", "list", "--json", "--customer", &customer]).await;
    assert!(listed.contains("\"kind\":\"account\"") && listed.contains("\"state\":\"waiting\""), "{listed}");
    let refused = async || question_states(&world, &customer) == [4];
    assert!(advance_until(&world, 300_000, refused).await, "{:?}", question_states(&world, &customer));
    world.im.faults().clear();
    phone.say("again").await;
    let seen = async || texts(&agent, &customer).contains(&format!("{INQUIRY}again"));
    assert!(advance_until(&world, 60_000, seen).await, "{:?}", texts(&agent, &customer));
    await_notice(&agent, &customer, "account could not be made").await;
    world.finish().await;
}

#[tokio::test]
async fn a_discard_during_a_hanging_attempt_holds_and_the_outcome_of_the_attempt_is_dropped() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "g").await, world.agent(), openid("g"));
    let hang = Fault::Delay(Duration::from_secs(4));
    world.im.faults().script_for_ever(SENDMSG, POISON, hang.clone());
    world.wechat.faults().script_for_ever(CUSTOM_SEND, POISON, hang);
    phone.say(POISON).await;
    agent.say(&customer, POISON).await.unwrap();
    let hanging = async || {
        !world.im.faults().taken(SENDMSG).is_empty() && !world.wechat.faults().taken(CUSTOM_SEND).is_empty()
    };
    assert!(eventually(SOON, hanging).await);
    let discarded = operate(&world, &["messages", "discard", "--state", "waiting", "--yes"]).await;
    assert_eq!(discarded, "discarded 2 messages\n");
    assert_eq!(states(&world, &customer).await, ["refused"]);
    assert_eq!(question_states(&world, &customer), [2, 4]);
    phone.say("next").await;
    agent.say(&customer, "next").await.unwrap();
    await_shown(&phone, "next").await;
    await_question(&world, &customer, 2, DELIVERED, "next").await;
    await_states(&world, &customer, &["refused", "delivered"]).await;
    assert_eq!(question_states(&world, &customer)[..2], [2, 4]);
    let noticed =
        async || notices(&agent, &customer).concat().matches("discarded by the operator").count() == 2;
    assert!(eventually(SOON, noticed).await, "{:?}", notices(&agent, &customer));
    let dropped = "SELECT count(*) FROM step WHERE detail LIKE 'the outcome no longer counts%'";
    let dropped: u32 = world.database().value(dropped, &[]);
    assert_eq!(dropped, 2);
    world.finish().await;
}

#[tokio::test]
async fn a_retry_during_a_hanging_attempt_sends_the_message_again() {
    let world = World::start().await;
    let (_phone, agent, customer) = (greeted(&world, "t").await, world.agent(), openid("t"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Delay(Duration::from_secs(3)));
    agent.say(&customer, "twice").await.unwrap();
    let hanging = async || !world.wechat.faults().taken(CUSTOM_SEND).is_empty();
    assert!(eventually(SOON, hanging).await);
    let id = stored(&world, &customer).await[0].id.to_string();
    assert_eq!(operate(&world, &["messages", "retry", &id]).await, "retried 1 message\n");
    assert_eq!(states(&world, &customer).await, ["waiting"]);
    await_states(&world, &customer, &["delivered"]).await;
    assert_eq!(world.wechat.ledger().sent_texts(&customer), ["twice", "twice"]);
    let (succeeded, _, stderr) = try_operate(&world, &["messages", "retry", &id]).await;
    assert!(!succeeded && stderr.contains("has been delivered"), "{stderr}");
    operate(&world, &["messages", "retry", &id, "--yes"]).await;
    let again = async || world.wechat.ledger().sent_texts(&customer).len() == 3;
    assert!(eventually(SOON, again).await);
    world.expect_doubles();
    world.finish().await;
}

#[tokio::test]
async fn bulk_commands_change_what_their_filters_match_and_only_with_yes() {
    let world = World::start().await;
    let agent = world.agent();
    for (name, fault) in [("k1", Fault::Code(45015)), ("k2", Fault::Code(43004)), ("k3", Fault::Code(43004))]
    {
        greeted(&world, name).await;
        world.wechat.faults().script(CUSTOM_SEND, 1, fault);
        agent.say(&openid(name), "later").await.unwrap();
        let expected = if name == "k1" { "held" } else { "refused" };
        await_states(&world, &openid(name), &[expected]).await;
    }
    let list = operate(&world, &["messages", "list", "--json", "--code", "43004"]).await;
    assert_eq!(list.lines().count(), 2, "{list}");
    let newest = operate(&world, &["messages", "list", "--json", "--limit", "1"]).await;
    assert!(newest.lines().count() == 1 && newest.contains(&openid("k3")), "{newest}");
    let groups = operate(&world, &["messages", "list", "--group", "--json", "--agent", "user1"]).await;
    assert!(groups.contains("\"code\":43004,\"count\":2"), "{groups}");
    assert_eq!(operate(&world, &["messages", "list", "--agent", "nobody"]).await, "no messages\n");
    let bulk = ["messages", "retry", "--code", "43004", "--since", "1h"];
    let (succeeded, stdout, stderr) = try_operate(&world, &bulk).await;
    assert!(!succeeded && stdout.is_empty() && stderr.contains("2 messages would be changed"), "{stderr}");
    assert_eq!(states(&world, &openid("k2")).await, ["refused"]);
    let retried = operate(&world, &[&bulk[..], &["--yes"]].concat()).await;
    assert_eq!(retried, "retried 2 messages\n");
    for name in ["k2", "k3"] {
        await_states(&world, &openid(name), &["delivered"]).await;
    }
    assert_eq!(states(&world, &openid("k1")).await, ["held"]);
    assert_eq!(
        operate(&world, &["messages", "discard", "--state", "held", "--yes"]).await,
        "discarded 1 message\n"
    );
    world.finish().await;
}

#[tokio::test]
async fn an_agent_is_told_once_that_a_message_waits_and_once_that_it_went() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "z").await, world.agent(), openid("z"));
    world.wechat.faults().script_for_ever(CUSTOM_SEND, "slow", Fault::Code(-1));
    agent.say(&customer, "slow one").await.unwrap();
    agent.say(&customer, "behind it").await.unwrap();
    let tried = async || !world.wechat.faults().taken(CUSTOM_SEND).is_empty();
    assert!(eventually(SOON, tried).await);
    world.clock.advance(50_000);
    let tried = async || world.wechat.faults().taken(CUSTOM_SEND).len() >= 3;
    assert!(eventually(SOON, tried).await);
    assert_eq!(notices(&agent, &customer), [] as [&str; 0]);
    world.clock.advance(11_000);
    let told = async || {
        let told = notices(&agent, &customer).concat();
        told.contains("“slow one” has not left yet") && told.contains("“behind it” has not left yet")
    };
    assert!(eventually(SOON, told).await, "{:?}", notices(&agent, &customer));
    assert!(notices(&agent, &customer).concat().contains("-1 "), "{:?}", notices(&agent, &customer));
    world.clock.advance(600_000);
    let tried = async || world.wechat.faults().taken(CUSTOM_SEND).len() >= 5;
    assert!(eventually(SOON, tried).await);
    world.wechat.faults().clear();
    world.clock.advance(61_000);
    await_shown(&phone, "behind it").await;
    let went = async || {
        let told = notices(&agent, &customer).concat();
        told.contains("“slow one” has been delivered now")
            && told.contains("“behind it” has been delivered now")
    };
    assert!(eventually(SOON, went).await, "{:?}", notices(&agent, &customer));
    let told = notices(&agent, &customer).concat();
    assert_eq!(
        (told.matches("not left yet").count(), told.matches("delivered now").count()),
        (2, 2),
        "{told}"
    );
    world.finish().await;
}

#[tokio::test]
async fn a_stored_message_that_cannot_be_read_is_set_aside_and_its_lane_goes_on() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "q").await, world.agent(), openid("q"));
    world.wechat.faults().script_for_ever(CUSTOM_SEND, POISON, Fault::Code(-1));
    agent.say(&customer, POISON).await.unwrap();
    agent.say(&customer, "next").await.unwrap();
    let tried = async || !world.wechat.faults().taken(CUSTOM_SEND).is_empty();
    assert!(eventually(SOON, tried).await);
    world.expect_error("a stored message cannot be read");
    let corrupt =
        "UPDATE message SET calls = '[{\"FromTheFuture\":1}]', due_at = 0 WHERE calls LIKE '%poison%'";
    assert_eq!(world.database().execute(corrupt, &[]), 1);
    await_shown(&phone, "next").await;
    await_states(&world, &customer, &["unreadable", "delivered"]).await;
    let listed = operate(&world, &["messages", "list", "--state", "unreadable", "--json"]).await;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let counted = "wechat_im_bridge_ended_total{direction=\"to_wechat\",state=\"unreadable\"}";
    assert_eq!(counter_value(&world, counted).await, 1);
    assert_eq!(
        operate(&world, &["messages", "discard", "--state", "unreadable", "--yes"]).await,
        "discarded 1 message\n"
    );
    world.finish().await;
}

#[tokio::test]
async fn a_blank_message_of_an_agent_is_refused_with_a_notice() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "b").await, world.agent(), openid("b"));
    agent.say(&customer, " \n ").await.unwrap();
    await_notice(&agent, &customer, "it is blank").await;
    assert_eq!(states(&world, &customer).await, ["refused"]);
    agent.say(&customer, "words").await.unwrap();
    await_shown(&phone, "words").await;
    assert_eq!(notices(&agent, &customer).len(), 1);
    world.finish().await;
}

/// The agents' views are read one beside another, and one of them late. The customer must not notice.
#[tokio::test]
async fn two_agents_answers_that_are_found_late_leave_in_the_order_in_which_they_were_written() {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2,user3").start().await;
    world.expect_error("IM does not call back");
    let agents = ["user3", "user1", "user2"].map(|id| world.im.agent(id).unwrap());
    for round in 0..3 {
        let name = format!("o{round}");
        let phone = world.follower(&name);
        phone.say("hello").await;
        let customer = openid(&name);
        let imported = async || world.im.account(&customer).is_some();
        assert!(eventually(SOON, imported).await);
        world.lose_callbacks(4);
        for (n, agent) in agents.iter().cycle().take(4).enumerate() {
            world.clock.advance(1_000);
            agent.say(&customer, &format!("line {n}")).await.unwrap();
        }
        let late = Fault::Delay(Duration::from_millis(500));
        world.im.faults().script_for_ever(HISTORY, "\"user3\"", late);
        world.clock.advance(61_000);
        await_shown(&phone, "line 3").await;
        let sent = world.wechat.ledger();
        assert_eq!(sent.sent_texts(&customer), ["line 0", "line 1", "line 2", "line 3"], "{name}");
        world.im.faults().clear();
    }
    world.finish().await;
}
