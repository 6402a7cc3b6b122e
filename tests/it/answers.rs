//! An agent's answer: which callbacks are accepted, how a text is split, and the result of each
//! return code (CONTRACT, section 5).

use futures_util::future::join_all;
use serde_json::json;
use unicode_segmentation::UnicodeSegmentation as _;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::Direction;
use wechat_im_bridge::internals::sandbox::wechat::Via;

use crate::child;
use crate::observe::{
    CUSTOM_SEND, await_notice, await_sends, await_states, calls, counter_value, greeted, notices,
    notices_but_budget, shown, states, stored,
};
use crate::world::{SOON, Setup, World, await_shown, eventually, openid};

const OK: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

#[tokio::test]
async fn only_an_agents_delivered_message_to_a_known_customer_is_accepted() {
    let world = Setup::default().set("BRIDGE_IM__REST_ANSWERS", "false").start().await;
    let phone = greeted(&world, "a").await;
    let genuine = |key: &str| {
        json!({
            "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("a"),
            "MsgSeq": 1, "MsgRandom": 2, "MsgTime": crate::raw_http::started_s(), "MsgKey": key, "SendMsgResult": 0,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "ignored"}}],
        })
    };
    let with = |name: &str, value: serde_json::Value| {
        let mut body = genuine(name);
        body[name] = value;
        body
    };
    let ignored = [
        ("not_delivered", with("SendMsgResult", json!(80001)), "Web"),
        ("rest_api", genuine("by a server"), "RESTAPI"),
        ("not_a_customer", with("To_Account", json!(openid("nobody"))), "Web"),
        ("not_an_agent", with("From_Account", json!("stranger")), "Web"),
        ("other_command", with("CallbackCommand", json!("C2C.CallbackBeforeSendMsg")), "Web"),
        ("other_command", with("CallbackCommand", json!("C2C.CallbackAfterMsgReport")), "Web"),
        ("unknown_message", with("CallbackCommand", json!("C2C.CallbackAfterMsgWithDraw")), "Web"),
        ("unknown_message", with("CallbackCommand", json!("C2C.CallbackAfterModifyMsg")), "Web"),
    ];
    for (reason, body, platform) in ignored {
        let sample = format!("wechat_im_bridge_ignored_callbacks_total{{reason=\"{reason}\"}}");
        let before = counter_value(&world, &sample).await;
        let answer =
            world.im.send_raw_callback(&body.to_string(), |query| query.set("OptPlatform", platform)).await;
        assert_eq!((answer.status, answer.body.as_str()), (Some(200), OK), "{reason}");
        assert_eq!(counter_value(&world, &sample).await, before + 1, "{reason}");
    }
    let mut without_result = genuine("without a result");
    without_result.as_object_mut().unwrap().remove("SendMsgResult");
    without_result["MsgBody"][0]["MsgContent"]["Text"] = json!("moved");
    assert_eq!(world.im.send_raw_callback(&without_result.to_string(), |_| {}).await.body, OK);
    await_shown(&phone, "moved").await;
    await_states(&world, &openid("a"), &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_repeated_callback_causes_one_message() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "b").await, world.agent());
    let sent = agent.say(&openid("b"), "once").await.unwrap();
    let repeats = join_all((0..5).map(|_| world.im.repeat(&sent))).await;
    assert!(repeats.into_iter().flatten().all(|answer| answer.body == OK));
    agent.say(&openid("b"), "last").await.unwrap();
    await_shown(&phone, "last").await;
    assert_eq!(shown(&phone, Via::CustomSend), ["once", "last"]);
    let sample = "wechat_im_bridge_ignored_callbacks_total{reason=\"repeat\"}";
    assert_eq!(counter_value(&world, sample).await, 5);
    world.finish().await;
}

#[tokio::test]
async fn a_long_answer_is_split_into_parts_of_2000_bytes_between_graphemes() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "c").await, world.agent());
    let long: String = "👩‍👩‍👧‍👦好e\u{301}".repeat(200);
    agent.say(&openid("c"), &long).await.unwrap();
    agent.say(&openid("c"), "behind").await.unwrap();
    await_shown(&phone, "behind").await;
    let mut parts = shown(&phone, Via::CustomSend);
    assert_eq!(parts.pop().as_deref(), Some("behind"));
    assert_eq!(parts.concat(), long);
    assert!(parts.len() == long.len().div_ceil(2_000) && parts.iter().all(|part| part.len() <= 2_000));
    let parts_graphemes: Vec<&str> = parts.iter().flat_map(|part| part.graphemes(true)).collect();
    assert_eq!(parts_graphemes, long.graphemes(true).collect::<Vec<_>>());
    let sent = u32::try_from(parts.len()).unwrap() + 1;
    assert_eq!(phone.sends_left(), 5 - sent, "each part is counted");
    world.finish().await;
}

#[tokio::test]
async fn parts_over_the_budget_are_held_and_continue_where_they_stopped() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
    for n in 1..=3 {
        agent.say(&customer, &format!("short {n}")).await.unwrap();
    }
    let long = (0..1_000).map(|n| format!("word{n:03} ")).collect::<Vec<_>>().concat();
    agent.say(&customer, &long).await.unwrap();
    await_notice(&agent, &customer, "word").await;
    await_states(&world, &customer, &["delivered", "delivered", "delivered", "held"]).await;
    assert_eq!(await_sends(&world, &customer, 5).await.len(), 5);
    phone.say("go on").await;
    let all = eventually(SOON, async || {
        let screen = phone.texts();
        let begin = screen.iter().position(|text| text.starts_with("word000")).unwrap();
        screen[begin..].concat() == long
    });
    assert!(all.await, "{:#?}", phone.texts());
    await_states(&world, &customer, &["delivered"; 4]).await;
    assert_eq!(notices_but_budget(&agent, &customer).len(), 1, "{:?}", notices(&agent, &customer));
    world.finish().await;
}

#[tokio::test]
async fn a_refused_answer_is_sent_once_causes_a_notice_and_costs_no_budget() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "e").await, world.agent(), openid("e"));
    let codes = [40003, 43004, 43019, 48002, 70000, 45162, 45002];
    for code in codes {
        let mut events = world.wechat.events();
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(code));
        agent.say(&customer, &format!("refused with {code}")).await.unwrap();
        let notice_texts = await_notice(&agent, &customer, &format!("refused with {code}")).await;
        assert!(notice_texts.last().unwrap().contains(&format!("{code} ")), "the reason: {notice_texts:?}");
        assert_eq!(calls(&mut events, CUSTOM_SEND), 1, "{code}");
    }
    for n in 0..5 {
        agent.say(&customer, &format!("sent {n}")).await.unwrap();
    }
    await_shown(&phone, "sent 4").await;
    let expected: Vec<&str> = [["refused"; 7].as_slice(), &["delivered"; 5]].concat();
    await_states(&world, &customer, &expected).await;
    assert!(stored(&world, &customer).await[0].last_error.as_deref().unwrap().starts_with("40003"));
    assert_eq!(notices_but_budget(&agent, &customer).len(), codes.len(), "{:?}", notices(&agent, &customer));
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_may_succeed_later_waits_and_is_delivered_once() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "f").await, world.agent(), openid("f"));
    for (n, code) in [-1, 45009, 45011].into_iter().enumerate() {
        world.wechat.faults().script(CUSTOM_SEND, 2, Fault::Code(code));
        let text = format!("after {code}");
        agent.say(&customer, &text).await.unwrap();
        await_shown(&phone, &text).await;
        assert_eq!(world.wechat.ledger().refusal_count(code), 2);
        await_states(&world, &customer, &vec!["delivered"; n + 1]).await;
    }
    assert!(notices_but_budget(&agent, &customer).is_empty());
    assert_eq!(phone.sends_left(), 2, "refused attempts cost nothing");
    agent.say(&customer, "four").await.unwrap();
    agent.say(&customer, "five").await.unwrap();
    await_shown(&phone, "five").await;
    world.finish().await;
}

#[tokio::test]
async fn a_restricted_account_holds_answers_and_the_reply_delivers_them() {
    for code in [48004, 50002] {
        let world = World::start().await;
        let (phone, agent, customer) = (greeted(&world, "g").await, world.agent(), openid("g"));
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(code));
        agent.say(&customer, "held").await.unwrap();
        await_notice(&agent, &customer, "held").await;
        assert_eq!(states(&world, &customer).await, ["held"], "{code}");
        assert!(world.ready().await["wechat"]["advice"].as_str().unwrap().contains("mp.weixin.qq.com"));
        assert_eq!(phone.say("and?").await.text(), Some("held"));
        await_states(&world, &customer, &["delivered"]).await;
        world.finish().await;
    }
}

#[tokio::test]
async fn notices_are_in_the_configured_locale_come_from_the_customer_and_cause_no_callbacks() {
    let held = [("ko", "보류되었습니다", "보내지 못했으며"), ("zh", "已暂存", "未能发送")];
    for (locale, held, refused) in held {
        let world = Setup::default().set("BRIDGE_TEXTS__LOCALE", locale).start().await;
        let phone = world.follower("h");
        phone.say("hello").await;
        let (agent, customer) = (world.agent(), openid("h"));
        let imported = eventually(SOON, async || world.im.account(&customer).is_some()).await;
        assert!(imported);
        let mut events = world.im.events();
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(43004));
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
        agent.say(&customer, "one").await.unwrap();
        await_notice(&agent, &customer, refused).await;
        agent.say(&customer, "two").await.unwrap();
        let notice_texts = await_notice(&agent, &customer, held).await;
        assert!(notice_texts.iter().all(|notice| notice.starts_with("[bridge] ")), "{notice_texts:?}");
        let callbacks = std::iter::from_fn(|| events.try_recv().ok())
            .filter(|exchange| exchange.direction == Direction::Sent)
            .count();
        assert_eq!(callbacks, 2, "the two answers, and no notice");
        let ledger = world.im.ledger();
        assert!(ledger.sends().all(|send| send.from == customer && send.to == "user1"));
        world.finish().await;
    }
}

#[tokio::test]
async fn the_agent_is_notified_when_the_operator_discards_an_answer() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "i").await, world.agent(), openid("i"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    agent.say(&customer, "never mind").await.unwrap();
    await_notice(&agent, &customer, "is held").await;
    let id = stored(&world, &customer).await[0].id.to_string();
    let config = world.folder.path().join("config.toml");
    std::fs::write(&config, world.config_toml()).unwrap();
    let discarded = tokio::process::Command::from(child::bridge())
        .args(["messages", "discard", &id, "--config"])
        .arg(&config)
        .output()
        .await
        .unwrap();
    assert!(discarded.status.success(), "{discarded:?}");
    let notice_texts = await_notice(&agent, &customer, "discarded by the operator").await;
    assert!(notice_texts.last().unwrap().contains("never mind"), "{notice_texts:?}");
    assert_eq!(states(&world, &customer).await, ["refused"]);
    assert_ne!(phone.say("and?").await.text(), Some("never mind"));
    world.finish().await;
}
