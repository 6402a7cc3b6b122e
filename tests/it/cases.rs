//! Inputs from public reports that broke other bridges: each file of `files/cases` is sent as it is, over real HTTP.
//!
//! `i…` are bodies of IM's callbacks, `p…` bodies of WeChat's pushes, `r…` answers of a platform to our call, `g…`
//! configurations. Only the placeholders in double braces are replaced, and the numbers that IM draws for each message.

use std::path::{Path, PathBuf};

use serde_json::json;
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::wechat::{Field, Phone};

use crate::customer_media::{MP4, await_elements, get, local_url, with_public_url};
use crate::observe::{
    CUSTOM_SEND, await_notice, await_sends, await_states, counter_value, greeted, notices, stored,
};
use crate::raw_http::{self, callback_path};
use crate::world::{
    INQUIRY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid, texts,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/files/cases")
}

/// The text of a case, with its placeholders replaced.
fn case(file: &str, placeholders: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let filled =
        placeholders.iter().fold(text, |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value));
    assert!(!filled.contains("{{"), "{file} has a placeholder left");
    filled
}

/// Replaces the number or text of a member of a JSON document, in place: the document may be no valid JSON.
fn with_member(document: &str, name: &str, value: &str) -> String {
    let tag = format!("\"{name}\": ");
    let Some((before, after)) = document.split_once(&tag) else { return document.to_owned() };
    let quoted = after.starts_with('"');
    let end = if quoted {
        after[1..].find('"').unwrap() + 2
    } else {
        after.find(|c: char| !c.is_ascii_digit()).unwrap()
    };
    let value = if quoted { format!("\"{value}\"") } else { value.to_owned() };
    format!("{before}{tag}{value}{}", &after[end..])
}

/// A callback of this moment, with numbers of its own.
fn callback(world: &World, file: &str, customer: &str, seq: u32) -> String {
    let now = world.clock.now().seconds();
    let body = case(file, &[("OPENID", customer)]);
    let body = with_member(&body, "MsgSeq", &seq.to_string());
    let body = with_member(&body, "MsgRandom", &(seq + 7).to_string());
    let body = with_member(&body, "MsgTime", &now.to_string());
    let body = with_member(&body, "MsgKey", &format!("{seq}_{}_{now}", seq + 7));
    with_member(&body, "EventTime", &format!("{now}000"))
}

async fn post_callback(world: &World, command: &str, body: &str) {
    let path = callback_path(world, &[("CallbackCommand", command)]);
    let answer = raw_http::post(&world.public(), &path, body).await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#)
    );
}

const AFTER_SEND: &str = "C2C.CallbackAfterSendMsg";

/// A customer who may be answered, and to whom the case's message has been sent.
async fn answered(file: &str, name: &str) -> (World, Phone, String) {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, name).await, openid(name));
    post_callback(&world, AFTER_SEND, &callback(&world, file, &customer, 1)).await;
    (world, phone, customer)
}

/// The case's message reaches the customer as `expected`, and causes no notice.
async fn arrives_as(file: &str, name: &str, expected: &str) {
    let (world, _, customer) = answered(file, name).await;
    assert_eq!(await_sends(&world, &customer, 1).await, [expected]);
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

/// The case's message does not reach the customer: the agent's next one is the first.
async fn moves_nothing(file: &str, name: &str) {
    let (world, phone, customer) = answered(file, name).await;
    assert!(stored(&world, &customer).await.is_empty(), "it was stored");
    let left = phone.sends_left();
    world.agent().say(&customer, "the next one").await.unwrap();
    assert_eq!(await_sends(&world, &customer, 1).await, ["the next one"]);
    assert_eq!(phone.sends_left(), left - 1);
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

/// Pushes a case in the name of a customer, and returns the body of the answer.
async fn push(world: &World, file: &str, customer: &str, more: &[(&str, &str)]) -> String {
    let (account, now) =
        (world.wechat.settings().account_id.clone(), world.clock.now().seconds().to_string());
    let mut placeholders = vec![
        ("OPENID", customer),
        ("ACCOUNT", account.as_str()),
        ("NOW", now.as_str()),
        ("MSGID", "24300000000000001"),
    ];
    placeholders.extend_from_slice(more);
    let path = format!("/?{}", raw_http::query(world));
    let answer = raw_http::post(&world.public(), &path, case(file, &placeholders)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().to_owned()
}

/// The case's push reaches the agent as `expected`.
async fn reaches_the_agent_as(file: &str, name: &str, expected: &str) {
    let world = World::start().await;
    let _phone = world.follower(name);
    let answer = push(&world, file, &openid(name), &[]).await;
    assert!(answer.contains(TRANSFERRING), "{answer}");
    let texts = await_texts(&world.agent(), &openid(name), 1).await;
    assert_eq!(texts, [format!("{INQUIRY}{expected}")]);
    world.finish().await;
}

/// The case's push is an event: `success`, a step in the trace, and nothing for the agent.
async fn is_an_event(file: &str, name: &str, event: &str) {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, name).await, openid(name));
    assert_eq!(push(&world, file, &customer, &[]).await, "success");
    let step = "SELECT count(*) FROM step WHERE openid = ?1 AND event = ?2";
    let steps: i64 = world.database().value(step, &[json!(customer), json!(event)]);
    assert_eq!(steps, 1, "{event} is in the customer's trace");
    phone.say("after it").await;
    let seen = await_texts(&world.agent(), &customer, 2).await;
    assert_eq!(seen, [format!("{INQUIRY}hello"), format!("{INQUIRY}after it")]);
    world.finish().await;
}

#[test]
fn every_case_has_a_test() {
    let source = include_str!("cases.rs");
    let files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| !source.contains(&format!("\"{file}\"")))
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

#[tokio::test]
async fn i01_a_typing_signal_moves_nothing_and_costs_nothing() {
    moves_nothing("i01-typing-online-only.json", "i01").await;
}

#[tokio::test]
async fn i03_plugin_0_what_tencents_own_plugin_hides_is_no_text() {
    moves_nothing("i03-plugin-0.json", "i030").await;
}

#[tokio::test]
async fn i03_plugin_1_what_tencents_own_plugin_hides_is_no_text() {
    moves_nothing("i03-plugin-1.json", "i031").await;
}

#[tokio::test]
async fn i03_plugin_2_what_tencents_own_plugin_hides_is_no_text() {
    moves_nothing("i03-plugin-2.json", "i032").await;
}

#[tokio::test]
async fn i04_a_call_is_told_to_the_agent_and_never_shown_as_json() {
    let (world, _, customer) = answered("i04-call-signalling.json", "i04").await;
    await_notice(&world.agent(), &customer, "cannot be called").await;
    world.agent().say(&customer, "the next one").await.unwrap();
    assert_eq!(await_sends(&world, &customer, 1).await, ["the next one"]);
    world.finish().await;
}

#[tokio::test]
async fn i06_a_sticker_is_a_word() {
    arrives_as("i06-face.json", "i06", "[sticker]").await;
}

#[tokio::test]
async fn i07_half_an_emoji_costs_no_text() {
    arrives_as("i07-lone-surrogate.json", "i07", "your parcel is on its way \u{fffd}").await;
}

#[tokio::test]
async fn i08_raw_control_characters_cost_no_text() {
    let expected = "[0;32mI (31492) boot ok[0m\nsecond line\tend";
    arrives_as("i08-raw-control-chars.json", "i08", expected).await;
}

/// The table of the reports expects the state `refused`. The contract has a state of its own: `recalled`.
#[tokio::test]
async fn i09_a_recalled_message_that_is_held_is_never_delivered() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "i09").await, openid("i09"));
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45015));
    let sent = world.agent().say(&customer, "the old price").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    let body = case("i09-recall-of-held.json", &[("OPENID", &customer), ("MSGKEY", &sent.msg_key)]);
    post_callback(&world, "C2C.CallbackAfterMsgWithDraw", &body).await;
    await_states(&world, &customer, &["recalled"]).await;
    assert_eq!(phone.say("how much is it?").await.text(), Some(TRANSFERRING));
    world.agent().say(&customer, "the new price").await.unwrap();
    await_shown(&phone, "the new price").await;
    assert!(!phone.texts().iter().any(|text| text.contains("the old price")), "{:?}", phone.texts());
    world.finish().await;
}

#[tokio::test]
async fn i12_a_file_without_an_address_is_told_to_the_agent() {
    let (world, _, customer) = answered("i12-file-without-url.json", "i12f").await;
    await_notice(&world.agent(), &customer, "sent no address for the file").await;
    assert!(await_sends(&world, &customer, 1).await[0].starts_with("[file]"));
    world.finish().await;
}

#[tokio::test]
async fn i12_a_recording_without_an_address_is_told_to_the_agent() {
    let (world, _, customer) = answered("i12-sound-without-url.json", "i12s").await;
    await_notice(&world.agent(), &customer, "sent no address for the file").await;
    assert_eq!(await_sends(&world, &customer, 1).await.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn i14_a_merged_forward_shows_its_title_and_digest() {
    let expected = "Group chat history\nA: what do you think of it?\nB: looks good to me";
    arrives_as("i14-merged-forward.json", "i14", expected).await;
}

#[tokio::test]
async fn i26_a_link_card_is_its_text_and_its_link() {
    arrives_as("i26-text-link.json", "i26", "Welcome to our shop\nhttps://example.com/help").await;
}

#[tokio::test]
async fn p01_a_files_name_and_size_reach_the_agent() {
    let expected = "[file] offer-2026.pdf (48 KB); WeChat does not hand it out; see mp.weixin.qq.com, or ask for a picture";
    reaches_the_agent_as("p01-file-message.xml", "p01", expected).await;
}

#[tokio::test]
async fn p04a_pasted_xml_is_the_text_as_typed() {
    let expected = "<xml><status><![CDATA[paid]]></status><note>please check</note></xml>";
    reaches_the_agent_as("p04a-nested-cdata-wellformed.xml", "p04a", expected).await;
}

#[tokio::test]
async fn p04c_the_end_of_a_section_in_code_is_text() {
    reaches_the_agent_as("p04c-cdata-end-in-code.xml", "p04c", "if (a[b[0]]>c) why?").await;
}

#[tokio::test]
async fn p07_a_push_without_a_receiver_is_delivered() {
    reaches_the_agent_as("p07-no-tousername.xml", "p07", "who gets this?").await;
}

#[tokio::test]
async fn p08_a_device_that_is_bound_is_an_event() {
    is_an_event("p08-device_event-bind.xml", "p08b", "device_event").await;
}

#[tokio::test]
async fn p08_a_device_that_subscribes_is_an_event() {
    is_an_event("p08-device_event-subs.xml", "p08s", "device_event").await;
}

#[tokio::test]
async fn p08_a_devices_text_is_an_event() {
    is_an_event("p08-device_text-x.xml", "p08t", "device_text").await;
}

#[tokio::test]
async fn p12c_a_voice_message_without_a_file_says_so_and_shows_its_words() {
    let expected = "[voice message]\nwhere is my parcel\n(WeChat's push names no file for it)";
    reaches_the_agent_as("p12c-voice-without-mediaid.xml", "p12c", expected).await;
}

/// The table of the reports asks for a hint to set the data format to XML. The contract goes further: JSON is read as
/// any other push, so there is nothing to hint at.
#[tokio::test]
async fn p15_a_json_push_is_read_as_any_other() {
    reaches_the_agent_as("p15-json-push-plain.json", "p15", "666").await;
}

#[tokio::test]
async fn p17_one_msgid_with_another_time_is_no_repeat() {
    let world = World::start().await;
    let (_phone, customer) = (world.follower("p17"), openid("p17"));
    let now = world.clock.now().seconds();
    let (first, second) = (now.to_string(), (now + 1).to_string());
    for (at, words) in [(&first, "one"), (&second, "two"), (&first, "one"), (&second, "two")] {
        push(&world, "p17-constant-msgid.xml", &customer, &[("AT", at), ("WORDS", words)]).await;
    }
    push(&world, "p07-no-tousername.xml", &customer, &[]).await;
    let texts = await_texts(&world.agent(), &customer, 3).await;
    assert_eq!(texts, ["one", "two", "who gets this?"].map(|words| format!("{INQUIRY}{words}")));
    world.finish().await;
}

#[tokio::test]
async fn r01_the_life_of_a_token_may_be_a_text() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "r01").await, openid("r01"));
    world.wechat.expire_tokens();
    let answer = case("r01-expires-in-string.json", &[]);
    world.wechat.faults().script("cgi-bin/stable_token", 1, Fault::Answer(answer.into()));
    world.agent().say(&customer, "with which token?").await.unwrap();
    await_shown(&phone, "with which token?").await;
    // The simulated platform did not make the token of the case: its refusal shows that the bridge used it.
    assert!(world.wechat.ledger().refusal_count(40001) >= 1, "the token of the case was not used");
    world.finish().await;
}

#[tokio::test]
async fn r02b_a_return_code_may_be_a_text() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "r02").await, openid("r02"));
    let answer = case("r02b-errcode-string-45015.json", &[]);
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Answer(answer.into()));
    world.agent().say(&customer, "too late").await.unwrap();
    await_states(&world, &customer, &["held"]).await;
    await_notice(&world.agent(), &customer, "is held").await;
    assert_eq!(phone.say("hello?").await.text(), Some("too late"));
    await_states(&world, &customer, &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn r03_a_byte_order_mark_before_an_answer_is_skipped() {
    let world = World::start().await;
    let (_phone, customer) = (greeted(&world, "r03").await, openid("r03"));
    let answer = case("r03-bom.json", &[]);
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Answer(answer.into()));
    world.agent().say(&customer, "taken").await.unwrap();
    await_states(&world, &customer, &["delivered"]).await;
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

/// The address of the case is not reachable from a test, so that a file server on another port stands for it: another
/// host than WeChat's API, and none of `media.allow_hosts`.
#[tokio::test]
async fn r10_a_video_is_fetched_from_the_address_that_wechat_names() {
    let world = with_public_url().set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true").start().await;
    let (phone, customer) = (world.follower("r10"), openid("r10"));
    let elsewhere = world.im.store_file("video.mp4", MP4);
    let answer = case("r10-video-url-elsewhere.json", &[]);
    let named = answer.split('"').find(|text| text.starts_with("http")).unwrap();
    let answer = answer.replace(named, &elsewhere);
    world.wechat.faults().script("cgi-bin/media/get", 1, Fault::Answer(answer.into()));
    let video = |name: &str| Field::text(name, "video_1");
    phone
        .push_xml(vec![Field::text("MsgType", "video"), video("MediaId"), Field::number("MsgId", "7")])
        .await;
    let elements = await_elements(&world, &customer, 1).await;
    let got = get(&local_url(&world, &elements[0]["MsgContent"]["VideoUrl"])).await;
    assert_eq!((got.status, got.mime.as_str()), (200, "video/mp4"), "{elements:?}");
    assert!(got.bytes == MP4);
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn r15_one_odd_byte_in_the_history_costs_no_message() {
    // The page has fixed times, so the customer becomes known just before them.
    let world = Setup::default().at(Millis(1_795_723_440_000)).start().await;
    world.expect_error("IM does not call back");
    let (_phone, customer) = (greeted(&world, "r15").await, openid("r15"));
    let page = case("r15-history-raw-control.json", &[("OPENID", &customer)]);
    world.im.faults().script("openim/admin_getroammsg", 1, Fault::Answer(page.into()));
    world.clock.advance(61_000);
    assert_eq!(await_sends(&world, &customer, 2).await, ["line1[0m", "second, harmless"]);
    assert_eq!(counter_value(&world, "wechat_im_bridge_backfilled_total").await, 2);
    world.finish().await;
}

#[tokio::test]
async fn g03_a_list_in_the_environment_may_be_an_array() {
    let line = case("g03-agents-json-list.txt", &[]);
    let (_, list) = line.trim().split_once('=').unwrap();
    let mut world = Setup::default().set("BRIDGE_IM__AGENTS", list).without_bridge().await;
    world.im.import("user2").unwrap();
    world.start_bridge().await;
    for name in ["g03a", "g03b"] {
        world.follower(name).say("hello").await;
    }
    for agent in ["user1", "user2"] {
        let agent = world.im.agent(agent).unwrap();
        let arrived = agent.wait_for(|inbox| !inbox.is_empty(), SOON).await;
        assert!(arrived.is_ok(), "{} got nothing", agent.user_id());
    }
    world.finish().await;
}

#[tokio::test]
async fn g07_a_mistyped_agent_is_never_created_and_the_message_waits() {
    let text = case("g07-agent-mistyped.txt", &[]);
    let mistyped = text.split('"').nth(1).unwrap();
    let world = Setup::default().set("BRIDGE_IM__AGENTS", mistyped).start().await;
    world.expect_error("IM has no account");
    let (phone, customer) = (world.follower("g07"), openid("g07"));
    phone.say("is anyone there?").await;
    let named = eventually(SOON, async || {
        world.ready().await["im"]["advice"].as_str().is_some_and(|advice| advice.contains(mistyped))
    });
    assert!(named.await, "{}", world.ready().await);
    let ready = world.ready().await;
    assert_eq!((&ready["im"]["ok"], &ready["backlog"]["waiting"]), (&false.into(), &1.into()), "{ready}");
    assert!(world.im.account(mistyped).is_none(), "the bridge created the agent");
    assert!(world.im.account(&customer).is_some(), "the customer's own account is imported");
    world.im.import(mistyped).unwrap();
    let agent = world.im.agent(mistyped).unwrap();
    let arrived = eventually(SOON, async || {
        world.clock.advance(1_000);
        !texts(&agent, &customer).is_empty()
    });
    assert!(arrived.await, "the message did not go when the account appeared");
    assert_eq!(texts(&agent, &customer), [format!("{INQUIRY}is anyone there?")]);
    assert!(eventually(SOON, async || world.ready().await["im"]["ok"] == true).await);
    world.finish().await;
}
