//! Calls whose answer was lost: a send to WeChat is never repeated, and a send to IM only after
//! IM's history was read.

use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::Outcome;

use crate::observe::{
    CUSTOM_SEND, SENDMSG, await_notice, await_states, calls, counter_value, greeted, lost_responses, notices,
    states,
};
use crate::world::{INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, openid, texts};

const HISTORY: &str = "openim/admin_getroammsg";

#[tokio::test]
async fn a_send_to_wechat_whose_answer_was_lost_becomes_unknown_with_a_notice_and_is_never_repeated() {
    let world = World::start().await;
    let agent = world.agent();
    for (n, (case, fault)) in lost_responses().into_iter().enumerate() {
        let name = format!("u{n}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        let was_processed = !matches!(fault, Fault::DropBefore | Fault::BadGateway);
        let mut events = world.wechat.events();
        world.wechat.faults().script(CUSTOM_SEND, 1, fault);
        agent.say(&customer, "perhaps").await.unwrap();
        await_notice(&agent, &customer, "“perhaps” may or may not have arrived").await;
        assert_eq!(states(&world, &customer).await, ["unknown"], "{case}");
        agent.say(&customer, "surely").await.unwrap();
        await_shown(&phone, "surely").await;
        phone.say("and?").await;
        await_states(&world, &customer, &["unknown", "delivered"]).await;
        assert_eq!(calls(&mut events, CUSTOM_SEND), 2, "{case}: once each");
        let arrived = phone.texts().iter().filter(|text| *text == "perhaps").count();
        assert_eq!(arrived, usize::from(was_processed), "{case}");
        assert_eq!(notices(&agent, &customer).len(), 1, "{case}");
    }
    world.finish().await;
}

#[tokio::test]
async fn the_notice_is_in_the_configured_locale_and_the_error_is_stored_for_the_operator() {
    for (locale, own_words) in [("ko", "WeChat과의 연결이 끊어졌습니다"), ("zh", "与微信的连接中断")]
    {
        let world = Setup::default().set("BRIDGE_TEXTS__LOCALE", locale).start().await;
        let (_, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::DropAfter);
        agent.say(&customer, "perhaps").await.unwrap();
        await_notice(&agent, &customer, own_words).await;
        let notice_texts = notices(&agent, &customer).concat();
        let foreign = notice_texts.replace("[bridge]", "").replace("perhaps", "").replace("WeChat", "");
        assert!(!foreign.contains(|letter: char| letter.is_ascii_alphabetic()), "{notice_texts}");
        let last_error: String =
            world.database().value("SELECT last_error FROM message WHERE direction = 1", &[]);
        assert!(last_error.starts_with("WeChat gave no readable answer: "), "{last_error}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_send_to_im_whose_answer_was_lost_is_looked_up_and_arrives_once() {
    let world = World::start().await;
    let agent = world.agent();
    for (n, (case, fault)) in lost_responses().into_iter().enumerate() {
        let name = format!("v{n}");
        let (phone, customer) = (greeted(&world, &name).await, openid(&name));
        let was_processed = !matches!(fault, Fault::DropBefore | Fault::BadGateway);
        let before = world.im.ledger();
        world.im.faults().script(SENDMSG, 1, fault);
        phone.say("perhaps").await;
        phone.say("surely").await;
        let expected = ["hello", "perhaps", "surely"].map(|text| format!("{INQUIRY}{text}"));
        assert_eq!(await_texts(&agent, &customer, 3).await, expected, "{case}");
        let after = world.im.ledger();
        let calls = |api| after.call_count(api) - before.call_count(api);
        assert_eq!(calls(SENDMSG), if was_processed { 2 } else { 3 }, "{case}");
        assert_eq!(calls(HISTORY), 1, "{case}");
        let once =
            after.sends().filter(|send| send.from == customer).all(|send| send.outcome == Outcome::Delivered);
        assert!(once, "{case}");
    }
    world.finish().await;
}

#[tokio::test]
async fn while_the_history_cannot_be_read_a_send_is_not_repeated() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "w").await, world.agent(), openid("w"));
    world.im.faults().script(SENDMSG, 1, Fault::DropAfter);
    world.im.faults().script(HISTORY, 3, Fault::Code(60008));
    phone.say("once").await;
    phone.say("then").await;
    await_texts(&agent, &customer, 3).await;
    assert_eq!(world.im.ledger().call_count(HISTORY), 4);
    assert_eq!(texts(&agent, &customer).iter().filter(|text| text.ends_with("once")).count(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_long_history_is_read_to_its_end_each_page_a_call_of_its_own() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "w").await, world.agent(), openid("w"));
    // IM limits a page to 13 KB.
    for _ in 0..30 {
        phone.say(&"x".repeat(2_000)).await;
    }
    await_texts(&agent, &customer, 31).await;
    world.im.faults().script(SENDMSG, 1, Fault::DropBefore);
    phone.say("once").await;
    await_texts(&agent, &customer, 32).await;
    assert_eq!(texts(&agent, &customer).last().unwrap(), &format!("{INQUIRY}once"));
    let pages = world.im.ledger().call_count(HISTORY) as u64;
    assert!(pages >= 5, "{pages}");
    let read = "wechat_im_bridge_calls_total{platform=\"im\",api=\"admin_getroammsg\",outcome=\"ok\"}";
    assert_eq!(counter_value(&world, read).await, pages);
    world.finish().await;
}

#[tokio::test]
async fn a_rate_limited_history_does_not_mark_the_platform_as_down() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "w").await, openid("w"));
    world.im.faults().script(SENDMSG, 1, Fault::DropAfter);
    world.im.faults().script(HISTORY, 10_000, Fault::Code(60007));
    phone.say("once").await;
    // The wait is stored and grows: it does not end with the next call that IM answers.
    let waits = async || {
        let sql = "SELECT count(*) FROM message WHERE openid = ?1 AND last_error LIKE '%60007%'
                   AND due_at > 0 AND attempts > 3";
        world.database().value::<u32>(sql, &[json!(customer)]) == 1
    };
    assert!(eventually(SOON, waits).await);
    world.im.faults().clear();
    await_texts(&world.agent(), &customer, 2).await;
    world.finish().await;
}

#[tokio::test]
async fn a_send_that_cannot_be_looked_up_shows_the_reason_and_is_given_up_after_thirty_days() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "x").await, world.agent(), openid("x"));
    world.im.faults().script(SENDMSG, 1, Fault::DropAfter);
    world.im.faults().script(HISTORY, 10_000, Fault::Code(60008));
    phone.say("lost").await;
    let last = |column: &str| -> Option<String> {
        let sql = format!(
            "SELECT CAST({column} AS TEXT) FROM message WHERE openid = ?1 AND kind = 0 ORDER BY id DESC LIMIT 1"
        );
        world.database().value(&sql, &[json!(customer)])
    };
    let says_why = async || last("last_error").is_some_and(|why| why.contains("60008"));
    assert!(eventually(SOON, says_why).await, "{:?}", last("last_error"));
    assert_eq!(last("state").as_deref(), Some("1"));
    world.clock.advance(31 * 24 * 3600 * 1000);
    assert!(eventually(SOON, async || last("state").as_deref() == Some("5")).await, "it still waits");
    phone.say("next").await;
    // IM does not keep messages that long.
    await_notice(&agent, &customer, "may not have reached you").await;
    let mut arrived = await_texts(&agent, &customer, 2).await;
    arrived.retain(|text| !text.starts_with("[bridge] "));
    assert_eq!(arrived, [format!("{INQUIRY}next")]);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_takes_over_ten_seconds_counts_as_lost() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "x").await, world.agent(), openid("x"));
    let late = Fault::Delay(Duration::from_secs(12));
    world.wechat.faults().script(CUSTOM_SEND, 1, late.clone());
    world.im.faults().script(SENDMSG, 1, late);
    phone.say("to the agent").await;
    agent.say(&customer, "to the customer").await.unwrap();
    let wait = Duration::from_secs(20);
    assert!(eventually(wait, async || states(&world, &customer).await == ["unknown"]).await);
    // By then the call to IM, which began earlier, is settled too.
    let notified = agent.wait_for(|_| notices(&agent, &customer).len() == 1, Duration::from_secs(4)).await;
    assert!(notified.is_ok(), "{:?}", texts(&agent, &customer));
    assert_eq!(texts(&agent, &customer).iter().filter(|text| text.ends_with("to the agent")).count(), 1);
    assert_eq!(world.wechat.ledger().sent_texts(&customer), ["to the customer"]);
    world.finish().await;
}

#[tokio::test]
async fn a_message_that_was_never_sent_waits_and_is_delivered_when_wechat_is_back() {
    // A port on which no server listens yet, and which nobody else can take.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let world = Setup::default()
        .set("BRIDGE_WECHAT__API_BASE", format!("http://{address}"))
        // However far the clock is moved below, this agent is told nothing of the wait.
        .set("BRIDGE_OUTBOX__TELL_WAITING_S", "86400")
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "y").await, world.agent(), openid("y"));
    agent.say(&customer, "patience").await.unwrap();
    let is_shown = eventually(SOON, async || {
        world.clock.advance(5_000);
        world.ready().await["wechat"]["ok"] == false
    });
    assert!(is_shown.await, "{}", world.ready().await);
    assert_eq!(states(&world, &customer).await, ["waiting"]);
    let listener = reserved.listen(64).unwrap();
    let target = world.wechat.base_url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    // The wait before the next attempt has grown with every failed one.
    let is_delivered = eventually(SOON, async || {
        world.clock.advance(1_000);
        phone.texts().iter().any(|shown| shown == "patience")
    });
    assert!(is_delivered.await, "{:?} {}", phone.texts(), world.ready().await);
    assert!(notices(&agent, &customer).is_empty());
    world.finish().await;
}
