//! WeChat repeats a push whose answer was late or lost: the repeat gets the same answer and
//! causes no second message.

use wechat_im_bridge::internals::sandbox::wechat::{Field, Mode};

use crate::pushes::{body, event};
use crate::raw_http::{self, text_message};
use crate::surface::in_mode;
use crate::unfollow::is_imported;
use crate::world::{INQUIRY, TRANSFERRING, World, await_texts, openid};

#[tokio::test]
async fn a_repeat_gets_the_first_answer_again_at_once_later_and_after_a_restart() {
    for mode in [("plain", Mode::Plain), ("safe", Mode::Safe)] {
        let mut world = in_mode(mode).start().await;
        let phone = world.wechat.customer(&openid("twice"));
        let firsts = [phone.follow().await, phone.say("once").await, phone.tap_menu("CLICK", "K").await];
        let same_again = async |world: &World, when: &str| {
            for first in &firsts {
                let again = world.wechat.repeat(first).await;
                match (&first.reply, &again.reply) {
                    (Some(first), Some(again)) => assert_eq!(first.raw_xml, again.raw_xml, "{when}"),
                    (first, again) => assert_eq!(first, again, "{when}"),
                }
                let is_encrypted = mode.1 == Mode::Safe && first.reply.is_some();
                assert_eq!(
                    body(first) != body(&again),
                    is_encrypted,
                    "only what is encrypted differs: {when}"
                );
            }
        };
        same_again(&world, "at once").await;
        world.clock.advance(3_600_000);
        same_again(&world, "an hour later").await;
        world.restart().await;
        same_again(&world, "after a restart").await;
        let tap = "[bridge] The customer tapped K in the menu.";
        let expected = [format!("{INQUIRY}once"), tap.to_owned()];
        assert_eq!(await_texts(&world.agent(), &openid("twice"), 2).await, expected);
        assert!(world.metrics().await.contains("repeated_total{source=\"push\"} 3"));
        assert!(is_imported(&world, &openid("twice")).await);
        assert_eq!(world.im.ledger().call_count("im_open_login_svc/account_import"), 1);
        world.finish().await;
    }
}

#[tokio::test]
async fn simultaneous_repeats_get_one_answer_and_cause_one_message() {
    let world = World::start().await;
    let phone = world.follower("same");
    for n in 0..5 {
        let draft = phone.draft_text(&format!("at once {n}"));
        let copies = world.wechat.deliver_copies(&draft, 8).await;
        assert!(copies.iter().all(|copy| body(copy) == body(&copies[0])));
        assert_eq!(copies[0].text(), Some(TRANSFERRING));
    }
    let arrived = await_texts(&world.agent(), &openid("same"), 5).await;
    assert_eq!(arrived.len(), 5);
    let metrics = world.metrics().await;
    assert!(metrics.contains("accepted_total{source=\"push\"} 5"), "{metrics}");
    assert!(metrics.contains("repeated_total{source=\"push\"} 35"), "{metrics}");
    world.finish().await;
}

#[tokio::test]
async fn events_are_distinguished_by_sender_time_event_and_key() {
    let world = World::start().await;
    let tap = async |name: &str, event_name: &str, time: &str, key: &str| {
        let fields = vec![Field::number("CreateTime", time), Field::text("EventKey", key)];
        body(&world.follower(name).push_xml(event(event_name, fields)).await).to_vec()
    };
    let (now, later) = (raw_http::started_s().to_string(), (raw_http::started_s() + 1).to_string());
    for (name, event_name, time, key) in [
        ("one", "CLICK", &now, "A"),
        ("two", "CLICK", &now, "A"),
        ("one", "SCAN", &now, "A"),
        ("one", "CLICK", &later, "A"),
        ("one", "CLICK", &now, "B"),
        ("one", "CLICK", &now, "A"),
    ] {
        assert_eq!(tap(name, event_name, time, key).await, b"success");
    }
    let metrics = world.metrics().await;
    assert!(metrics.contains("accepted_total{source=\"push\"} 5"), "{metrics}");
    assert!(metrics.contains("repeated_total{source=\"push\"} 1"), "{metrics}");
    world.finish().await;
}

#[tokio::test]
async fn messages_are_distinguished_by_sender_and_msgid() {
    let world = World::start().await;
    for (name, id, content) in [("p", 1, "a"), ("q", 1, "b"), ("p", 2, "a"), ("p", 1, "changed")] {
        let path = format!("/?{}", raw_http::query(&world));
        let answer = raw_http::post(&world.public(), &path, text_message(&openid(name), id, content)).await;
        assert_eq!(answer.status, 200);
    }
    let arrived = await_texts(&world.agent(), &openid("p"), 2).await;
    assert_eq!(arrived, [format!("{INQUIRY}a"), format!("{INQUIRY}a")]);
    assert_eq!(await_texts(&world.agent(), &openid("q"), 1).await, [format!("{INQUIRY}b")]);
    world.finish().await;
}
