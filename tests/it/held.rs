//! Held answers: why they are held, which notice the agent gets, and how the customer's next
//! message releases them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncWriteExt as _;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::wechat::{Draft, Field, Refusal, Via, WindowRule};

use crate::observe::{
    CUSTOM_SEND, SENDMSG, await_notice, await_sends, await_states, calls, greeted, notices,
    notices_but_budget, shown, states,
};
use crate::world::{SOON, Setup, TRANSFERRING, World, await_shown, eventually, openid};

const HOUR: i64 = 3_600_000;

/// A text of `bytes` bytes that begins with its number.
fn sized(number: usize, bytes: usize) -> String {
    format!("{:x<bytes$}", format!("m{number:02} "))
}

#[tokio::test]
async fn the_sixth_answer_is_held_and_held_answers_are_released_in_order_within_the_budget() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    let answers: Vec<String> = (1..=17).map(|n| sized(n, 900)).collect();
    for text in &answers[..5] {
        agent.say(&customer, text).await.unwrap();
    }
    await_sends(&world, &customer, 5).await;
    agent.say(&customer, &answers[5]).await.unwrap();
    await_notice(&agent, &customer, "m06").await;
    for text in &answers[6..] {
        agent.say(&customer, text).await.unwrap();
    }
    let expected_states = |delivered, held| [vec!["delivered"; delivered], vec!["held"; held]].concat();
    await_states(&world, &customer, &expected_states(5, 12)).await;
    await_notice(&agent, &customer, "m17").await;
    let notice_texts = notices_but_budget(&agent, &customer);
    for text in &answers[5..] {
        let about = notice_texts.iter().filter(|notice| notice.contains(&text[..4])).count();
        assert_eq!(about, 1, "one notice about {}: {notice_texts:?}", &text[..4]);
    }

    let first = phone.say("hello?").await;
    assert_eq!(
        first.text(),
        Some(format!("{}\n{}", answers[5], answers[6]).as_str()),
        "the free reply first"
    );
    assert_eq!(await_sends(&world, &customer, 10).await, [&answers[..5], &answers[7..12]].concat());
    await_states(&world, &customer, &expected_states(12, 5)).await;
    assert_eq!(phone.sends_left(), 0);

    let second = phone.say("and the rest?").await;
    assert_eq!(second.text(), Some(format!("{}\n{}", answers[12], answers[13]).as_str()));
    await_states(&world, &customer, &expected_states(17, 0)).await;
    let arrived: Vec<String> =
        phone.texts().join("\n").lines().filter(|line| line.starts_with('m')).map(str::to_owned).collect();
    assert_eq!(arrived, answers, "everything once, in order");
    assert_eq!(
        notices_but_budget(&agent, &customer),
        notice_texts,
        "a delivered message causes no further notice"
    );
    world.finish().await;
}

#[tokio::test]
async fn answers_held_in_a_short_time_share_notices() {
    let world = World::start().await;
    let (_, agent, customer) = (greeted(&world, "b").await, world.agent(), openid("b"));
    world.clock.advance(48 * HOUR);
    world.im.faults().script(SENDMSG, 100, Fault::Delay(Duration::from_millis(300)));
    for n in 1..=20 {
        agent.say(&customer, &format!("number {n:02}")).await.unwrap();
    }
    await_notice(&agent, &customer, "number 20").await;
    world.im.faults().clear();
    let notice_texts = notices(&agent, &customer);
    assert!(notice_texts.len() < 20, "{} notices", notice_texts.len());
    for n in 1..=20 {
        let number = format!("number {n:02}");
        assert_eq!(
            notice_texts.iter().map(|notice| notice.matches(&number).count()).sum::<usize>(),
            1,
            "{notice_texts:?}"
        );
    }
    world.finish().await;
}

#[tokio::test]
async fn answers_are_held_when_wechat_reports_that_the_budget_is_used_up() {
    let world = Setup::default().wechat(|wechat| wechat.window_rule = WindowRule::Shared).start().await;
    let (phone, agent, customer) = (greeted(&world, "c").await, world.agent(), openid("c"));
    for n in 0..5 {
        agent.say(&customer, &format!("sent {n}")).await.unwrap();
    }
    await_sends(&world, &customer, 5).await;
    phone.say("thanks").await;
    agent.say(&customer, "unannounced").await.unwrap();
    await_notice(&agent, &customer, "unannounced").await;
    let mut events = world.wechat.events();
    agent.say(&customer, "behind").await.unwrap();
    await_notice(&agent, &customer, "behind").await;
    assert_eq!(world.wechat.ledger().refusal_count(45047), 1);
    assert_eq!(calls(&mut events, CUSTOM_SEND), 0, "held without a call");
    assert_eq!(phone.say("and?").await.text(), Some("unannounced\nbehind"));
    await_states(&world, &customer, &["delivered"; 7]).await;
    world.finish().await;
}

#[tokio::test]
async fn answers_are_held_when_wechat_reports_a_closed_window() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    agent.say(&customer, "held").await.unwrap();
    let notice_texts = await_notice(&agent, &customer, "held").await;
    assert!(notice_texts[0].contains("has not written for too long"), "{notice_texts:?}");
    assert_eq!(states(&world, &customer).await, ["held"]);
    assert_eq!(phone.tap_menu("CLICK", "key").await.text(), Some("held"), "any action releases it");
    await_states(&world, &customer, &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn an_answer_right_after_a_reply_is_delayed_so_that_the_reply_arrives_first() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "b").await, world.agent(), openid("b"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    agent.say(&customer, "first").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    phone.say("hello?").await;
    await_states(&world, &customer, &["delivered"]).await;
    agent.say(&customer, "second").await.unwrap();
    await_states(&world, &customer, &["delivered", "delivered"]).await;
    assert_eq!(phone.texts()[phone.texts().len() - 2..], ["first", "second"]);
    let sql = "SELECT max(attempt_at) - min(settled_at) FROM message WHERE openid = ?1 AND direction = 1";
    let later: i64 = world.database().value(sql, &[json!(customer)]);
    assert!(later >= 300, "after {later} ms");
    world.finish().await;
}

#[tokio::test]
async fn answers_are_held_without_a_call_when_the_window_is_known_to_be_closed() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "e").await, world.agent(), openid("e"));
    world.clock.advance(48 * HOUR);
    let mut events = world.wechat.events();
    agent.say(&customer, "too late").await.unwrap();
    await_notice(&agent, &customer, "too late").await;
    assert_eq!(states(&world, &customer).await, ["held"]);
    assert_eq!(calls(&mut events, CUSTOM_SEND), 0);
    assert_eq!(phone.say("back").await.text(), Some("too late"));
    agent.say(&customer, "in time").await.unwrap();
    await_shown(&phone, "in time").await;
    await_states(&world, &customer, &["delivered"; 2]).await;
    world.finish().await;
}

/// How often WeChat has refused a send because the account may not push.
fn refused_sends(world: &World) -> usize {
    let ledger = world.wechat.ledger();
    let is_send = |refusal: &&Arc<Refusal>| refusal.path.ends_with(CUSTOM_SEND) && refusal.code == 48001;
    ledger.refusals.iter().filter(is_send).count()
}

#[tokio::test]
async fn an_account_that_may_not_push_replies_passively_and_tries_again_after_a_day() {
    let mut world = Setup::default().wechat(|wechat| wechat.personal = true).start().await;
    let (phone, agent, customer) = (greeted(&world, "f").await, world.agent(), openid("f"));
    agent.say(&customer, "first").await.unwrap();
    await_notice(&agent, &customer, "first").await;
    assert_eq!(states(&world, &customer).await, ["held"]);
    assert_eq!(refused_sends(&world), 1);
    assert_eq!(world.ready().await["wechat"]["reply"], "passive");
    assert_eq!(phone.say("?").await.text(), Some("first"));

    world.restart().await;
    assert_eq!(world.ready().await["wechat"]["reply"], "passive");
    agent.say(&customer, "second").await.unwrap();
    await_notice(&agent, &customer, "second").await;
    assert_eq!(refused_sends(&world), 1, "it is remembered");
    assert_eq!(phone.say("?").await.text(), Some("second"));
    await_states(&world, &customer, &["delivered"; 2]).await;

    world.clock.advance(25 * HOUR);
    agent.say(&customer, "third").await.unwrap();
    await_notice(&agent, &customer, "third").await;
    assert_eq!(refused_sends(&world), 2, "tried once after a day");
    assert_eq!(world.ready().await["wechat"]["reply"], "passive");
    assert_eq!(phone.say("?").await.text(), Some("third"));
    await_states(&world, &customer, &["delivered"; 3]).await;

    world.clock.advance(25 * HOUR);
    world.wechat.set_personal(false);
    agent.say(&customer, "fourth").await.unwrap();
    await_shown(&phone, "fourth").await;
    assert_eq!(shown(&phone, Via::CustomSend), ["fourth"]);
    assert_ne!(world.ready().await["wechat"]["reply"], "passive");
    world.finish().await;
}

#[tokio::test]
async fn an_account_that_may_not_push_refuses_in_push_mode() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__REPLY", "push")
        .wechat(|wechat| wechat.personal = true)
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "g").await, world.agent(), openid("g"));
    agent.say(&customer, "not allowed").await.unwrap();
    let notice_texts = await_notice(&agent, &customer, "not allowed").await;
    assert!(notice_texts[0].contains("48001"), "{notice_texts:?}");
    assert_eq!(states(&world, &customer).await, ["refused"]);
    let ready = world.ready().await;
    assert!(ready["wechat"]["advice"].as_str().unwrap().contains("wechat.reply"), "{ready}");
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    world.finish().await;
}

async fn passive_world() -> World {
    Setup::default().set("BRIDGE_WECHAT__REPLY", "passive").start().await
}

#[tokio::test]
async fn passive_mode_never_pushes_and_a_repeat_gets_the_same_bytes() {
    let world = passive_world().await;
    let mut events = world.wechat.events();
    let (phone, agent, customer) = (greeted(&world, "h").await, world.agent(), openid("h"));
    for text in ["one", "two"] {
        agent.say(&customer, text).await.unwrap();
        await_notice(&agent, &customer, text).await;
    }
    let pushed = phone.say("?").await;
    assert_eq!(pushed.text(), Some("one\ntwo"));
    agent.say(&customer, "three").await.unwrap();
    await_notice(&agent, &customer, "three").await;
    for _ in 0..3 {
        let again = world.wechat.repeat(&pushed).await;
        assert_eq!(again.attempts[0].body, pushed.attempts[0].body);
    }
    await_states(&world, &customer, &["delivered", "delivered", "held"]).await;
    assert_eq!(phone.say("?").await.text(), Some("three"));
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING), "each is delivered once");
    await_states(&world, &customer, &["delivered"; 3]).await;
    assert_eq!(calls(&mut events, CUSTOM_SEND), 0);
    assert_eq!(world.wechat.ledger().tokens.stable, 0, "not even a token");
    world.finish().await;
}

/// Sends the request of this push and resets the connection before an answer can be written.
pub async fn send_and_reset(world: &World, draft: &Draft) {
    let (timestamp, nonce) = (world.clock.now().seconds().to_string(), "4711");
    let mut parts = [world.wechat.settings().token.clone(), timestamp.clone(), nonce.to_owned()];
    parts.sort();
    let signature = hex::encode(Sha1::digest(parts.concat()));
    let head = format!(
        "POST /?signature={signature}&timestamp={timestamp}&nonce={nonce} HTTP/1.1\r\nHost: bridge\r\nContent-Length: {}\r\n\r\n",
        draft.body().len()
    );
    let address = world.public().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_zero_linger().unwrap();
    stream.write_all(&[head.as_bytes(), draft.body()].concat()).await.unwrap();
    // A stream that is dropped without lingering resets its connection.
}

#[tokio::test]
async fn a_reply_whose_connection_was_reset_is_repeated_and_delivered_once() {
    let world = passive_world().await;
    let (phone, agent, customer) = (greeted(&world, "i").await, world.agent(), openid("i"));
    agent.say(&customer, "item").await.unwrap();
    await_notice(&agent, &customer, "item").await;
    let draft = phone.draft(vec![Field::text("MsgType", "text"), Field::text("Content", "?")]);
    send_and_reset(&world, &draft).await;
    // The answer stays attached to the reply that could not be written.
    await_states(&world, &customer, &["waiting"]).await;
    let first = world.wechat.deliver(&draft).await;
    assert_eq!(first.text(), Some("item"));
    await_states(&world, &customer, &["delivered"]).await;
    for _ in 0..2 {
        let again = world.wechat.deliver(&draft).await;
        assert_eq!(again.attempts[0].body, first.attempts[0].body, "identical bytes");
    }
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    assert_eq!(phone.texts().iter().filter(|text| *text == "item").count(), 1);
    await_states(&world, &customer, &["delivered"]).await;
    assert_eq!(notices(&agent, &customer).len(), 1);
    world.finish().await;
}

/// Taps the link at the end of a reply, as WeChat's client does. `None` if the reply has no link.
async fn tap(phone: &wechat_im_bridge::internals::sandbox::wechat::Phone, reply: &str) -> Option<String> {
    let (_, link) = reply.lines().last()?.split_once("<a href=\"weixin://bizmsgmenu?")?;
    let (query, rest) = link.split_once("\">").unwrap();
    assert!(rest.ends_with("</a>"), "{reply}");
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let [(content, text), (menu, id)] = query.as_slice() else { panic!("{query:?}") };
    assert_eq!((content.as_str(), menu.as_str()), ("msgmenucontent", "msgmenuid"));
    let fields = vec![
        Field::text("MsgType", "text"),
        Field::text("Content", text.as_str()),
        Field::number("bizmsgmenuid", id.as_str()),
    ];
    Some(phone.push_xml(fields).await.text().unwrap().to_owned())
}

#[tokio::test]
async fn a_passive_reply_says_that_there_is_more_and_one_tap_fetches_it() {
    for (locale, word) in [("en", "There is more"), ("ko", "더 있습니다"), ("zh", "更多消息")] {
        let world = Setup::default()
            .set("BRIDGE_WECHAT__REPLY", "passive")
            .set("BRIDGE_TEXTS__LOCALE", locale)
            .start()
            .await;
        let phone = world.follower("j");
        phone.say("hello").await;
        let (agent, customer) = (world.agent(), openid("j"));
        assert!(eventually(SOON, async || world.im.account(&customer).is_some()).await);
        let long = (0..700).map(|n| format!("word{n:03} ")).collect::<Vec<_>>().concat();
        let answers = [sized(1, 900), sized(2, 900), sized(3, 100), long, sized(5, 10)];
        for text in &answers {
            agent.say(&customer, text).await.unwrap();
        }
        await_states(&world, &customer, &["held"; 5]).await;
        let mut replies = vec![phone.say("?").await.text().unwrap().to_owned()];
        assert!(replies[0].starts_with(&format!("{}\n{}\n", answers[0], answers[1])), "{replies:?}");
        while let Some(next) = tap(&phone, replies.last().unwrap()).await {
            replies.push(next);
        }
        let mut arrived = String::new();
        let (last, before) = replies.split_last().unwrap();
        for reply in before {
            assert!(reply.len() <= 2_000, "{}", reply.len());
            let (text, line) = reply.rsplit_once('\n').unwrap();
            assert!(line.contains(word), "{line}");
            arrived.push_str(text);
        }
        arrived.push_str(last);
        assert_eq!(arrived.replace('\n', ""), answers.concat());
        assert_eq!(phone.say("?").await.text().unwrap(), world.config().texts.transferring);
        await_states(&world, &customer, &["delivered"; 5]).await;
        world.finish().await;
    }
}

#[tokio::test]
async fn an_answer_held_for_longer_than_the_retention_is_refused_with_a_notice() {
    let mut world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "k").await, world.agent(), openid("k"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    agent.say(&customer, "patience").await.unwrap();
    await_notice(&agent, &customer, "patience").await;
    world.clock.advance(31 * 24 * HOUR);
    world.restart().await;
    let has_notice =
        eventually(SOON, async || notices(&agent, &customer).iter().any(|notice| notice.contains("30 days")))
            .await;
    assert!(has_notice, "{:?}", notices(&agent, &customer));
    await_states(&world, &customer, &["refused"]).await;
    assert_eq!(phone.say("?").await.text(), Some(TRANSFERRING));
    assert_eq!(world.ready().await["backlog"]["held"], json!(0));
    world.finish().await;
}
