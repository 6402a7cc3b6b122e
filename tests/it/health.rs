//! `/readyz` from outside: which evidence enters a part's record, and which alone ends it; and the requests that are
//! refused because they could be replays or another's.

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::fault::Fault;

use crate::raw_http::{self, callback_path, started_s, text_message};
use crate::surface::in_mode;
use crate::world::{INQUIRY, SOON, TRANSFERRING, World, await_texts, eventually, openid};

/// Four days, in seconds: longer than repeats are recognised.
const FOUR_DAYS_S: i64 = 4 * 24 * 3600;

/// Waits until the part is as healthy as `ok` says, and returns it.
async fn await_part(world: &World, part: &str, ok: bool) -> Value {
    let reached = eventually(SOON, async || world.ready().await[part]["ok"] == ok).await;
    let ready = world.ready().await;
    assert!(reached, "{part} is not {ok}: {ready}");
    ready[part].clone()
}

async fn metric(world: &World, series: &str) -> Option<i64> {
    let metrics = world.metrics().await;
    let mut lines =
        metrics.lines().filter_map(|line| line.strip_prefix("wechat_im_bridge_")?.rsplit_once(' '));
    lines.find(|(name, _)| *name == series).and_then(|(_, value)| value.parse().ok())
}

#[tokio::test]
async fn a_used_up_plan_stays_shown_until_that_very_api_succeeds() {
    let world = World::start().await;
    let (old, new, agent) = (world.follower("old"), world.follower("new"), world.agent());
    old.say("one").await;
    await_texts(&agent, &openid("old"), 1).await;
    world.im.faults().script("account_import", 1_000, Fault::Code(70398));
    new.say("hello").await;
    let im = await_part(&world, "im", false).await;
    let api = &im["apis"]["account_import"];
    assert!(api["why"].as_str().unwrap().contains("70398"), "{im}");
    assert!(api["advice"].as_str().unwrap().contains("package"), "{im}");
    assert!(im["since_utc"].as_str().unwrap().ends_with('Z'), "{im}");
    assert_eq!(metric(&world, "part_ok{part=\"im\"}").await, Some(0));

    old.say("two").await;
    await_texts(&agent, &openid("old"), 2).await;
    let (_, ready) = crate::world::get_json(&format!("{}/readyz", world.ops())).await;
    assert_eq!((&ready["im"]["ok"], &ready["status"]), (&json!(false), &json!("degraded")), "{ready}");

    world.im.faults().clear();
    world.clock.advance(120_000);
    await_texts(&agent, &openid("new"), 1).await;
    await_part(&world, "im", true).await;
    assert_eq!(metric(&world, "part_ok{part=\"im\"}").await, Some(1));
    world.finish().await;
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_shown_after_half_a_minute_and_old_messages_after_a_minute() {
    let world = World::start().await;
    let phone = world.follower("slow");
    phone.say("one").await;
    await_texts(&world.agent(), &openid("slow"), 1).await;
    let sent = world.im.ledger().call_count("openim/sendmsg");
    world.im.faults().script("openim/sendmsg", 1_000, Fault::DropBefore);
    world.im.faults().script("admin_getroammsg", 1_000, Fault::Code(60008));
    phone.say("two").await;
    let tried = eventually(SOON, async || world.im.ledger().call_count("openim/sendmsg") > sent).await;
    assert!(tried || world.ready().await["backlog"]["waiting"] == 1);
    assert_eq!(world.ready().await["im"]["ok"], true, "a short trouble passes by itself");
    world.clock.advance(31_000);
    let im = await_part(&world, "im", false).await;
    assert!(im["apis"]["sendmsg"]["advice"].as_str().unwrap().contains("im.api_base"), "{im}");
    assert_eq!(world.ready().await["lanes"]["ok"], true);
    world.clock.advance(31_000);
    let lanes = await_part(&world, "lanes", false).await;
    assert!(lanes["why"].as_str().unwrap().contains("oldest message"), "{lanes}");
    assert!(lanes["advice"].as_str().unwrap().contains("messages list"), "{lanes}");
    world.im.faults().clear();
    world.clock.advance(120_000);
    await_texts(&world.agent(), &openid("slow"), 2).await;
    await_part(&world, "lanes", true).await;
    await_part(&world, "im", true).await;
    world.finish().await;
}

#[tokio::test]
async fn pushes_that_are_all_refused_degrade_wechat_until_one_is_accepted() {
    let world = World::start().await;
    let phone = world.follower("typo");
    let public = world.public();
    for id in 0..50 {
        let path =
            format!("/?{}", raw_http::signed("mistypedtoken", world.clock.now().seconds(), &id.to_string()));
        assert_eq!(raw_http::post(&public, &path, text_message(&openid("typo"), id, "x")).await.status, 403);
    }
    let wechat = await_part(&world, "wechat", false).await;
    let text = wechat.to_string();
    for word in ["50 pushes", "wechat.token", "wechat.mode", "clock"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert_eq!(world.ready().await["im"]["ok"], true);
    assert_eq!(phone.say("hello").await.text(), Some(TRANSFERRING));
    await_part(&world, "wechat", true).await;
    world.finish().await;
}

#[tokio::test]
async fn callbacks_that_are_all_refused_degrade_im_once_none_was_accepted_for_five_minutes() {
    let world = World::start().await;
    let public = world.public();
    assert_eq!(raw_http::post(&public, &callback_path(&world, &[]), "{}").await.status, 200);
    let wrong = callback_path(&world, &[("Sign", "0123")]);
    for _ in 0..10 {
        assert_eq!(raw_http::post(&public, &wrong, "{}").await.status, 403);
    }
    assert_eq!(world.ready().await["im"]["ok"], true, "one was accepted just now");
    world.clock.advance(5 * 60_000);
    let im = await_part(&world, "im", false).await;
    assert!(im.to_string().contains("im.callback_token"), "{im}");
    assert_eq!(raw_http::post(&public, &callback_path(&world, &[]), "{}").await.status, 200);
    await_part(&world, "im", true).await;
    world.finish().await;
}

#[tokio::test]
async fn a_push_older_than_repeats_are_recognised_moves_nothing_and_is_counted() {
    let world = World::start().await;
    let path = format!("/?{}", raw_http::query(&world));
    let message = |at: i64, id: u64, text: &str| {
        text_message(&openid("rep"), id, text).replace(&started_s().to_string(), &at.to_string())
    };
    let old = raw_http::post(&world.public(), &path, message(started_s() - FOUR_DAYS_S, 1, "old")).await;
    assert_eq!((old.status, old.text()), (200, "success"));
    assert_eq!(metric(&world, "refused_requests_total{source=\"push\",reason=\"too_old\"}").await, Some(1));
    let new = raw_http::post(&world.public(), &path, message(started_s() - FOUR_DAYS_S / 2, 2, "new")).await;
    assert!(new.text().contains(TRANSFERRING), "{new:?}");
    assert_eq!(await_texts(&world.agent(), &openid("rep"), 1).await, [format!("{INQUIRY}new")]);
    world.finish().await;
}

#[tokio::test]
async fn a_callback_older_than_repeats_are_recognised_moves_nothing_and_is_counted() {
    let world = World::start().await;
    let phone = world.follower("rep");
    phone.say("hello").await;
    await_texts(&world.agent(), &openid("rep"), 1).await;
    let answer = |at: i64, key: &str, text: &str| {
        json!({
            "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("rep"),
            "MsgKey": key, "MsgSeq": 1, "MsgRandom": 2, "MsgTime": at, "SendMsgResult": 0,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}],
        })
        .to_string()
    };
    let path = callback_path(&world, &[]);
    for (at, key, text) in [(started_s() - FOUR_DAYS_S, "1", "old"), (started_s(), "2", "new")] {
        let called = raw_http::post(&world.public(), &path, answer(at, key, text)).await;
        assert_eq!((called.status, called.text().contains("OK")), (200, true), "{called:?}");
    }
    crate::world::await_shown(&phone, "new").await;
    assert!(!phone.texts().contains(&"old".to_owned()), "{:?}", phone.texts());
    assert_eq!(metric(&world, "ignored_callbacks_total{reason=\"too_old\"}").await, Some(1));
    world.finish().await;
}

#[tokio::test]
async fn a_push_in_the_name_of_an_im_account_of_ours_is_refused_in_every_mode() {
    for mode in crate::surface::MODES {
        let world = in_mode(mode).start().await;
        for reserved in ["user0", "user1"] {
            let pushed = world.wechat.customer(reserved).say("I am an agent").await;
            assert!(
                pushed.attempts.iter().all(|attempt| attempt.status == Some(403)),
                "{mode:?}: {pushed:?}"
            );
        }
        let refused =
            metric(&world, "refused_requests_total{source=\"push\",reason=\"reserved_sender\"}").await;
        assert!(refused.is_some_and(|count| count >= 2), "{refused:?}");
        let customers: i64 = world.database().value("SELECT count(*) FROM customer", &[]);
        assert_eq!(customers, 0);
        assert_eq!(world.ready().await["wechat"]["ok"], true, "no setting is wrong");
        world.finish().await;
    }
}

/// One of WeChat's servers shows a wrong time. Pushes keep coming with the right one.
#[tokio::test]
async fn a_wrong_date_of_wechat_refuses_no_push() {
    let world = World::start().await;
    world.expect_error("this machine's clock is");
    let phone = world.follower("date");
    phone.say("one").await;
    let hour_ago = world.clock.now().seconds() - 3600;
    world.clock.remote("wechat").observe(hour_ago, world.clock.monotonic_ms());
    assert_eq!(phone.say("two").await.text(), Some(TRANSFERRING));
    // Each answer of the simulated WeChat has the right date again.
    let is_named = async || {
        world.clock.remote("wechat").observe(hour_ago, world.clock.monotonic_ms());
        let clock = &world.ready().await["clock"];
        clock["why"].as_str().is_some_and(|why| why.contains("ahead of wechat's"))
    };
    assert!(eventually(SOON, is_named).await, "{}", world.ready().await);
    await_texts(&world.agent(), &openid("date"), 2).await;
    world.finish().await;
}
