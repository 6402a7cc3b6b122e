//! Who else writes and leaves: programs in an agent's name, accounts that are no agents, customers who leave; and what
//! makes agents' clients open and show the conversation.

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::im::{AgentClient, SendRecord};
use wechat_im_bridge::internals::sandbox::wechat::Field;

use crate::observe::{await_notice, await_sends, await_states, counter_value, greeted, notices};
use crate::pushes::event;
use crate::raw_http::{self, callback_path};
use crate::unfollow::is_deleted;
use crate::world::{
    INQUIRY, SOON, Setup, World, assert_success, await_shown, eventually, is_first_line, openid, texts,
};

const HOUR: i64 = 3_600_000;

/// How often a notice with `part` reached the agent's side of the conversation; several may share one message.
fn told(agent: &AgentClient, customer: &str, part: &str) -> usize {
    notices(agent, customer).iter().map(|notice| notice.matches(part).count()).sum()
}

/// Waits until everything that the bridge has accepted has been sent.
async fn settled(world: &World) {
    let settled = eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 0).await;
    assert!(settled, "{}", world.ready().await);
}
const BACKFILLED: &str = "wechat_im_bridge_backfilled_total";

fn ignored(reason: &str) -> String {
    format!("wechat_im_bridge_ignored_callbacks_total{{reason=\"{reason}\"}}")
}

fn message(world: &World, from: &str, to: &str, seq: i64, words: &str) -> String {
    let time = world.clock.now().seconds();
    json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": from, "To_Account": to, "MsgSeq": seq,
        "MsgRandom": 7, "MsgTime": time, "MsgKey": format!("{seq}_7_{time}"),
        "SendMsgResult": 0, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": words}}],
    })
    .to_string()
}

async fn post_by_rest(world: &World, body: &str) {
    let path = callback_path(world, &[("OptPlatform", "RESTAPI")]);
    assert_eq!(raw_http::post(&world.public(), &path, body).await.status, 200);
}

#[tokio::test]
async fn an_answer_by_rest_is_moved_once_and_our_own_messages_never() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "rest").await, openid("rest"));
    let answer = message(&world, "user1", &customer, 1, "from the bot");
    post_by_rest(&world, &answer).await;
    post_by_rest(&world, &answer).await;
    await_shown(&phone, "from the bot").await;
    assert_eq!(counter_value(&world, &ignored("repeat")).await, 1);
    let before = texts(&world.agent(), &customer).len();
    post_by_rest(&world, &message(&world, &customer, "user1", 2, "our own")).await;
    post_by_rest(&world, &message(&world, "user0", &customer, 3, "a campaign")).await;
    assert_eq!(counter_value(&world, &ignored("not_an_agent")).await, 2);
    await_states(&world, &customer, &["delivered"]).await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["from the bot"]);
    assert_eq!(texts(&world.agent(), &customer).len(), before);
    world.finish().await;
}

#[tokio::test]
async fn answers_by_rest_can_be_switched_off() {
    let world = Setup::default().set("BRIDGE_IM__REST_ANSWERS", "false").start().await;
    let (_phone, customer) = (greeted(&world, "off").await, openid("off"));
    post_by_rest(&world, &message(&world, "user1", &customer, 1, "from the bot")).await;
    assert_eq!(counter_value(&world, &ignored("rest_api")).await, 1);
    assert!(await_sends(&world, &customer, 0).await.is_empty());
    await_states(&world, &customer, &[]).await;
    world.finish().await;
}

#[tokio::test]
async fn someone_who_is_no_agent_is_told_so_once_an_hour_and_reaches_nobody() {
    let mut world = World::start().await;
    let (phone, customer) = (greeted(&world, "stray").await, openid("stray"));
    let stray = world.im.agent("user9").unwrap();
    for words in ["hello?", "anybody?"] {
        stray.say(&customer, words).await.unwrap();
    }
    let no_agent = "not one of the bridge's agents";
    await_notice(&stray, &customer, no_agent).await;
    settled(&world).await;
    assert_eq!(told(&stray, &customer, no_agent), 1, "{:?}", notices(&stray, &customer));
    world.clock.advance(HOUR);
    stray.say(&customer, "still nobody?").await.unwrap();
    assert!(eventually(SOON, async || notices(&stray, &customer).len() == 2).await);
    assert_eq!(counter_value(&world, &ignored("not_an_agent")).await, 3);
    assert!(notices(&world.agent(), &customer).is_empty());
    // One whom IM does not know has no conversation that could show a notice, and blocks nobody's messages.
    world.im.send_raw_callback(&message(&world, "nobody", &customer, 1, "hi"), |_| {}).await;
    phone.say("next").await;
    let next = format!("{INQUIRY}next");
    assert!(eventually(SOON, async || texts(&world.agent(), &customer).contains(&next)).await);
    assert!(world.im.account("nobody").is_none(), "no account is invented");

    world.set("BRIDGE_IM__AGENTS", "user1,user9");
    world.restart().await;
    world.clock.advance(61_000);
    stray.say(&customer, "now I may").await.unwrap();
    await_shown(&phone, "now I may").await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["now I may"], "what was refused stays refused");
    assert_eq!(counter_value(&world, BACKFILLED).await, 0);
    world.finish().await;
}

#[tokio::test]
async fn an_unfollow_is_told_to_the_agent_with_what_became_of_held_answers() {
    for (how, keep) in [("unfollow", false), ("unfollow", true), ("revoke", false)] {
        let setup = Setup::default().set("BRIDGE_WECHAT__REPLY", "passive");
        let setup = if keep { setup.set("BRIDGE_IM__ON_UNSUBSCRIBE", "keep") } else { setup };
        let world = setup.start().await;
        let (phone, agent, customer) = (greeted(&world, "left").await, world.agent(), openid("left"));
        for words in ["one", "two"] {
            agent.say(&customer, words).await.unwrap();
        }
        await_states(&world, &customer, &["held", "held"]).await;
        if how == "unfollow" {
            assert_success(&phone.unfollow().await);
        } else {
            let platform = world.follower("platform");
            let about = vec![Field::text("OpenID", customer.as_str()), Field::text("AppID", "wx")];
            assert_success(&platform.push_xml(event("user_authorization_revoke", about)).await);
        }
        let last = await_notice(&agent, &customer, "has left").await.pop().unwrap();
        assert!(last.contains("2 messages"), "{last}");
        settled(&world).await;
        assert_eq!(told(&agent, &customer, "has left"), 1);
        if keep {
            for (count, wait_ms) in [(2, HOUR), (3, 0)] {
                for _ in 0..2 {
                    agent.say(&customer, "are you there?").await.unwrap();
                }
                let arrived = async || told(&agent, &customer, "has left") == count;
                assert!(eventually(SOON, arrived).await, "{:?}", notices(&agent, &customer));
                settled(&world).await;
                assert_eq!(told(&agent, &customer, "has left"), count, "{:?}", notices(&agent, &customer));
                world.clock.advance(wait_ms);
            }
        } else {
            assert!(is_deleted(&world, &customer).await);
        }
        let emptied = eventually(SOON, async || {
            let sql = "SELECT count(*) FROM message WHERE openid = ?1";
            world.database().try_value::<i64>(sql, &[json!(customer)]) == Ok(0)
        });
        assert!(emptied.await, "nothing is kept of someone who left by {how}");
        world.finish().await;
    }
}

#[tokio::test]
async fn customers_messages_ask_for_typing_and_open_the_conversation_from_a_notification() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "tap").await, openid("tap"));
    let long = format!("\"quotes\" and\nlines {}", "客".repeat(200));
    phone.say(&long).await;
    crate::world::await_texts(&world.agent(), &customer, 2).await;
    let nick = world.im.account(&customer).unwrap().nick;
    let ledger = world.im.ledger();
    let is_own = |send: &&SendRecord| send.from == customer && !is_first_line(&send.text());
    let sends: Vec<_> = ledger.sends().filter(is_own).collect();
    for send in &sends {
        let custom: Value = serde_json::from_str(send.field("CloudCustomData").as_str().unwrap()).unwrap();
        assert_eq!(custom["messageFeature"], json!({"needTyping": 1, "version": 1}));
        assert!(custom["bridge"]["message"].is_number());
        let push = send.field("OfflinePushInfo");
        assert_eq!(push["Title"], json!(nick));
        assert!(push["Desc"].as_str().unwrap().len() + push["Ext"].as_str().unwrap().len() <= 3_000);
        let mut ext: Value = serde_json::from_str(push["Ext"].as_str().unwrap()).unwrap();
        let content = ext["entity"]["content"].take();
        let expected = json!({"entity": {"version": 1, "chatType": 1, "action": 1, "sender": customer,
            "nickname": nick, "faceUrl": "", "content": null}});
        assert_eq!(ext, expected);
        assert_eq!(content, push["Desc"]);
    }
    assert_eq!(sends[0].field("OfflinePushInfo")["Desc"], format!("{INQUIRY}hello"));
    let cut = sends[1].field("OfflinePushInfo")["Desc"].as_str().unwrap().to_owned();
    assert!(cut.starts_with(&format!("{INQUIRY}\"quotes\" and lines 客")) && cut.ends_with('…'), "{cut}");
    drop(ledger);
    world.finish().await;
}

#[tokio::test]
async fn readiness_names_the_callback_that_is_switched_off() {
    let mut world = Setup::default().im(|im| im.webhooks.after_send = false).start().await;
    world.expect_error("IM does not call back");
    let (phone, agent, customer) = (greeted(&world, "off").await, world.agent(), openid("off"));
    let ready = world.ready().await;
    assert_eq!((&ready["status"], &ready["im"]["ok"]), (&json!("ok"), &json!(true)), "{ready}");
    for (name, switch) in [
        ("after_send", "C2C.CallbackAfterSendMsg"),
        ("recall", "C2C.CallbackAfterMsgWithDraw"),
        ("edit", "C2C.CallbackAfterModifyMsg"),
    ] {
        let callback = &ready["im"]["callbacks"][name];
        assert_eq!(callback["seen"], false, "{ready}");
        assert!(callback["advice"].as_str().unwrap().contains(switch), "{ready}");
    }
    world.clock.advance(2_000);
    agent.say(&customer, "found later").await.unwrap();
    world.clock.advance(61_000);
    await_shown(&phone, "found later").await;
    let ready = world.ready().await;
    assert_eq!((&ready["status"], &ready["im"]["ok"]), (&json!("degraded"), &json!(false)), "{ready}");
    assert!(ready["im"]["advice"].as_str().unwrap().contains("C2C.CallbackAfterSendMsg"), "{ready}");
    assert!(ready["im"]["since"].is_number() && ready["im"]["why"].is_string(), "{ready}");

    world.im.change(|im| im.webhooks.after_send = true);
    agent.say(&customer, "announced").await.unwrap();
    await_shown(&phone, "announced").await;
    let ready = world.ready().await;
    assert_eq!(ready["status"], "ok", "{ready}");
    assert_eq!(ready["im"]["callbacks"]["after_send"], json!({"seen": true}));
    let stored = eventually(SOON, async || {
        let sql = "SELECT count(*) FROM kv WHERE key = 'callback_seen:after_send'";
        world.database().try_value::<i64>(sql, &[]) == Ok(1)
    });
    assert!(stored.await);
    world.restart().await;
    assert_eq!(world.ready().await["im"]["callbacks"]["after_send"]["seen"], true, "over a restart");
    // From now on a single lost callback is no fault of the console.
    world.clock.advance(2_000);
    world.lose_callbacks(1);
    agent.say(&customer, "lost one").await.unwrap();
    world.clock.advance(61_000);
    await_shown(&phone, "lost one").await;
    assert_eq!(world.ready().await["status"], "ok");
    world.finish().await;
}
