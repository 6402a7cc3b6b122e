//! The answer to each push and its effects: the second table of section 3 of the contract.

use std::time::Duration;

use serde_json::json;
use wechat_im_bridge::internals::sandbox::wechat::{Field, Mode, Phone, PushResult, tiny_png};

use crate::raw_http::{self, text_message};
use crate::surface::in_mode;
use crate::world::{
    AES_KEY, INQUIRY, Setup, TRANSFERRING, WELCOME, World, assert_success, await_shown, await_texts,
    is_first_line, openid, texts,
};

pub fn body(pushed: &PushResult) -> &[u8] {
    assert_eq!(pushed.attempts.len(), 1, "{pushed:?}");
    assert_eq!(pushed.attempts[0].status, Some(200), "{pushed:?}");
    &pushed.attempts[0].body
}

pub fn event(name: &str, fields: Vec<Field>) -> Vec<Field> {
    [vec![Field::text("MsgType", "event"), Field::text("Event", name)], fields].concat()
}

#[tokio::test]
async fn in_every_mode_replies_have_the_form_of_the_mode() {
    for mode in [("plain", Mode::Plain), ("compatible", Mode::Compatible), ("safe", Mode::Safe)] {
        let world = in_mode(mode).start().await;
        let (phone, agent) = (world.wechat.customer(&openid("mode")), world.agent());
        let (followed, pushed) = (phone.follow().await, phone.say("in stock?").await);
        assert_eq!((followed.text(), pushed.text()), (Some(WELCOME), Some(TRANSFERRING)), "{mode:?}");
        for (reply, words) in [(&followed, WELCOME), (&pushed, TRANSFERRING)] {
            let text = std::str::from_utf8(body(reply)).unwrap();
            let is_encrypted = text.contains("<Encrypt>");
            assert_eq!(is_encrypted, mode.1 != Mode::Plain, "{text}");
            assert_eq!(text.contains(words), !is_encrypted, "{text}");
        }
        await_texts(&agent, &openid("mode"), 1).await;
        agent.say(&openid("mode"), "yes").await.unwrap();
        await_shown(&phone, "yes").await;
        assert_success(&phone.unfollow().await);
        world.finish().await;
    }
}

#[tokio::test]
async fn in_safe_mode_only_pushes_encrypted_for_this_account_are_accepted() {
    let world = in_mode(("safe", Mode::Safe)).start().await;
    world.wechat.change(|wechat| wechat.attempts = 1).unwrap();
    let phone = world.follower("safe");
    assert_eq!(phone.say("first").await.text(), Some(TRANSFERRING));
    let original = world.wechat.settings();
    let refused = async |reason: &str| {
        let status = phone.say("refused").await.attempts[0].status;
        assert_eq!(status, Some(403), "{reason}");
        let line = format!("refused_requests_total{{source=\"push\",reason=\"{reason}\"}} 1");
        assert!(world.metrics().await.contains(&line), "{line}: {}", world.metrics().await);
        world.wechat.change(|wechat| original.as_ref().clone_into(wechat)).unwrap();
    };
    world.wechat.change(|wechat| wechat.app_id = "wxffffffffffffffff".into()).unwrap();
    refused("app_id").await;
    world.wechat.change(|wechat| wechat.encoding_aes_key = "B".repeat(43)).unwrap();
    refused("key").await;
    world.wechat.change(|wechat| wechat.account_id = "gh_another0001".into()).unwrap();
    refused("account").await;
    world.wechat.change(|wechat| wechat.token = "othertoken".into()).unwrap();
    refused("token").await;
    world.wechat.change(|wechat| wechat.mode = Mode::Plain).unwrap();
    refused("plaintext").await;
    let plain = world
        .wechat
        .push_raw(&openid("safe"), text_message(&openid("safe"), 1, "refused"), |query| {
            query.set("encrypt_type", "aes");
            query.set("msg_signature", "00");
        })
        .await;
    assert_eq!(plain.status, Some(403), "plaintext in safe mode");

    assert_eq!(phone.say("last").await.text(), Some(TRANSFERRING));
    let arrived = await_texts(&world.agent(), &openid("safe"), 2).await;
    assert_eq!(arrived, [format!("{INQUIRY}first"), format!("{INQUIRY}last")]);
    world.finish().await;
}

#[tokio::test]
async fn in_compatible_mode_msg_signature_decides_with_encrypt_and_signature_without_it() {
    let world = in_mode(("compatible", Mode::Compatible)).start().await;
    let phone = world.follower("comp");
    let draft = phone.draft_text("whole");
    let whole = String::from_utf8(draft.body().to_vec()).unwrap();
    assert!(whole.contains("<Content>") && whole.contains("<Encrypt>"));
    let status = async |body: String, name: &'static str, value: &'static str| {
        world.wechat.push_raw(&openid("comp"), body, |query| query.set(name, value)).await.status
    };
    let (before, _) = whole.split_once("<Encrypt>").unwrap();
    let plain = format!("{before}</xml>");
    assert_eq!(status(whole.clone(), "msg_signature", "00").await, Some(403), "only `signature` is right");
    // A wrong one shows before the body that the push is not from WeChat.
    assert_eq!(status(whole.clone(), "signature", "00").await, Some(403));
    let unsigned = world.wechat.push_raw(&openid("comp"), whole, |query| query.remove("signature")).await;
    assert_eq!(unsigned.status, Some(200), "`msg_signature` alone decides");
    assert_eq!(status(plain.clone(), "signature", "00").await, Some(403));
    assert_eq!(status(plain, "own", "1").await, Some(200));
    await_texts(&world.agent(), &openid("comp"), 1).await;
    world.finish().await;
}

#[tokio::test]
async fn while_token_and_key_are_changed_the_previous_ones_are_accepted_too() {
    let new_key = "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg";
    for mode in [("plain", Mode::Plain), ("safe", Mode::Safe)] {
        let world = in_mode(mode)
            .set("BRIDGE_WECHAT__TOKEN", "newtoken")
            .set("BRIDGE_WECHAT__PREVIOUS_TOKEN", "wechattoken")
            .set("BRIDGE_WECHAT__ENCODING_AES_KEY", new_key)
            .set("BRIDGE_WECHAT__PREVIOUS_ENCODING_AES_KEY", AES_KEY)
            .start()
            .await;
        let phone = world.follower("rotate");
        for (token, key) in [("wechattoken", AES_KEY), ("newtoken", AES_KEY), ("newtoken", new_key)] {
            let change = |wechat: &mut wechat_im_bridge::internals::sandbox::wechat::Settings| {
                (wechat.token, wechat.encoding_aes_key) = (token.to_owned(), key.to_owned());
            };
            world.wechat.change(change).unwrap();
            assert!(world.wechat.verify_url().await, "{token}");
            let answered = phone.say(token).await;
            assert_eq!(answered.text(), Some(TRANSFERRING), "the reply is encrypted with the push's key");
        }
        world.wechat.change(|wechat| wechat.token = "thirdtoken".into()).unwrap();
        assert!(!world.wechat.verify_url().await);
        assert_eq!(phone.say("third").await.attempts[0].status, Some(403));
        await_texts(&world.agent(), &openid("rotate"), 3).await;
        world.finish().await;
    }
}

async fn send_every_kind(phone: &Phone) -> Vec<PushResult> {
    let picture = tiny_png();
    vec![
        phone.say("text").await,
        phone.tap_msgmenu("101", "satisfied").await,
        phone.send_image(picture.clone()).await,
        phone.send_voice(&b"#!AMR\n"[..], "amr").await,
        phone.send_video(&b"video"[..], picture.clone()).await,
        phone.send_shortvideo(&b"video"[..], picture.clone()).await,
        phone.send_location(31.230_416, 121.473_701, 16, "Huangpu").await,
        phone.send_link("A title", "About it", "https://example.com/a").await,
        phone.send_mini_program("A program", "wx9", "pages/index").await,
        phone.send_unknown("hologram").await,
    ]
}

#[tokio::test]
async fn a_message_of_any_kind_is_answered_at_once_and_reaches_the_agent() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("kinds"), world.agent());
    let mut took = Vec::new();
    let pushed = send_every_kind(&phone).await;
    for pushed in &pushed {
        assert_eq!(pushed.text(), Some(TRANSFERRING));
        assert!(body(pushed).starts_with(b"<xml>"));
        took.push(pushed.attempts[0].took);
    }
    // The fastest, because each of them takes longer on a machine that is busy.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    await_texts(&agent, &openid("kinds"), pushed.len()).await;
    let seen = agent.conversation(&openid("kinds"));
    assert!(is_first_line(&seen[0].text()), "{seen:?}");
    let elements: Vec<String> = seen[1..].iter().map(|message| message.elements.to_string()).collect();
    for (element, words) in elements.iter().zip([
        &["TIMTextElem", "Inquiry from a WeChat subscription account: text"][..],
        &["TIMTextElem", "satisfied"],
        &["Elem"],
        &["Elem"],
        &["Elem"],
        &["Elem"],
        &["TIMLocationElem", "Huangpu", "31.230416", "121.473701"],
        &["A title", "About it", "https://example.com/a"],
        &["A program"],
        &["hologram"],
    ]) {
        assert!(words.iter().all(|word| element.contains(word)), "{words:?} is not in {element}");
    }
    world.finish().await;
}

/// Source: the reference, "Events a customer-service bridge meets" and "Others".
#[tokio::test]
async fn any_other_event_is_answered_success_and_only_records_a_step() {
    let world = World::start().await;
    let (phone, agent) = (world.wechat.customer(&openid("events")), world.agent());
    phone.follow().await;
    let scan = || Field::group("ScanCodeInfo", vec![Field::text("ScanType", "qrcode")]);
    let picture = Field::group("item", vec![Field::text("PicMd5Sum", "5a75aaca956d97be686719218f275c6b")]);
    let pictures = Field::group("PicList", vec![picture]);
    let place = Field::group("SendLocationInfo", vec![Field::text("Location_X", "23")]);
    let key = || Field::text("EventKey", "KEY");
    let events = [
        ("SCAN", vec![key(), Field::text("Ticket", "T")]),
        ("LOCATION", vec![Field::number("Latitude", "23.1"), Field::number("Longitude", "113.3")]),
        ("CLICK", vec![key()]),
        ("VIEW", vec![Field::text("EventKey", "https://example.com/"), Field::number("MenuId", "4")]),
        ("view_miniprogram", vec![key()]),
        ("scancode_push", vec![key(), scan()]),
        ("scancode_waitmsg", vec![key(), scan()]),
        ("pic_sysphoto", vec![key(), Field::group("SendPicsInfo", vec![pictures])]),
        ("pic_photo_or_album", vec![key()]),
        ("pic_weixin", vec![key()]),
        ("location_select", vec![key(), place]),
        ("TEMPLATESENDJOBFINISH", vec![Field::number("MsgID", "1"), Field::text("Status", "success")]),
        ("MASSSENDJOBFINISH", vec![Field::number("MsgID", "2"), Field::number("TotalCount", "9")]),
        ("PUBLISHJOBFINISH", vec![Field::group("PublishEventInfo", vec![Field::text("publish_id", "1")])]),
        ("kf_create_session", vec![Field::text("KfAccount", "a@b")]),
        ("kf_close_session", vec![Field::text("KfAccount", "a@b")]),
        ("kf_switch_session", vec![Field::text("ToKfAccount", "a@b")]),
        ("user_info_modified", vec![Field::text("OpenID", openid("events"))]),
        ("debug_demo", vec![Field::text("debug_str", "hello world")]),
        ("subscribe_msg_popup_event", vec![]),
        ("user_get_card", vec![Field::text("CardId", "c")]),
        ("an_event_of_2031", vec![]),
    ];
    let count = events.len();
    for (name, fields) in events {
        assert_eq!(body(&phone.push_xml(event(name, fields)).await), b"success", "{name}");
        let stranger = world.wechat.customer("oMASSSENDHELPER_nobody").push_xml(event(name, vec![])).await;
        assert_eq!(body(&stranger), b"success", "{name} from a sender who is not a customer");
        let step = "SELECT count(*) FROM step WHERE openid = ?1 AND lower(event) = lower(?2)";
        let steps: i64 = world.database().value(step, &[json!(openid("events")), json!(name)]);
        assert_eq!(steps, 1, "{name} is in the customer's trace");
    }
    assert!(count >= 20 && agent.inbox().is_empty(), "{:?}", agent.inbox());
    world.finish().await;
}

#[tokio::test]
async fn the_transferring_text_is_sent_always_once_per_session_or_never() {
    let success = None;
    for (acknowledge, expected) in [
        ("always", [Some(TRANSFERRING), Some(TRANSFERRING), Some(TRANSFERRING), Some(TRANSFERRING)]),
        ("session", [Some(TRANSFERRING), success, success, Some(TRANSFERRING)]),
        ("never", [success, success, success, success]),
    ] {
        let world = Setup::default()
            .set("BRIDGE_WECHAT__ACKNOWLEDGE", acknowledge)
            .set("BRIDGE_WECHAT__SESSION_IDLE_S", "600")
            .start()
            .await;
        let phone = world.follower("ack");
        for (silence_s, expected) in [0, 590, 590, 601].into_iter().zip(expected) {
            world.clock.advance(silence_s * 1000);
            let answered = phone.say("hello").await;
            assert_eq!(answered.text(), expected, "{acknowledge}, after {silence_s} s");
            if expected.is_none() {
                assert_success(&answered);
            }
        }
        await_texts(&world.agent(), &openid("ack"), 4).await;
        world.finish().await;
    }
}

#[tokio::test]
async fn the_texts_are_those_of_the_locale_unless_one_is_set() {
    let world = Setup::default()
        .set("BRIDGE_TEXTS__LOCALE", "ko")
        .set("BRIDGE_TEXTS__SHOP_NAME", "상점")
        .set("BRIDGE_TEXTS__TRANSFERRING", "one moment")
        .start()
        .await;
    let phone = world.wechat.customer(&openid("ko"));
    let welcome = "팔로우해주셔서 감사합니다. 상점는 언제나 최선을 다해 최고의 서비스를 제공합니다!";
    assert_eq!(phone.follow().await.text(), Some(welcome));
    assert_eq!(phone.say("재고?").await.text(), Some("one moment"));
    let inquiries = await_texts(&world.agent(), &openid("ko"), 1).await;
    assert_eq!(inquiries, ["WeChat 구독 계정에서 온 문의:재고?"]);
    world.finish().await;
}

#[tokio::test]
async fn a_long_text_is_split_and_no_text_passes_for_a_notice() {
    let world = Setup::default().set("BRIDGE_TEXTS__INQUIRY_PREFIX", "").start().await;
    let (phone, agent) = (world.follower("long"), world.agent());
    let long = "尺寸 and size 😀 ".repeat(1_200);
    phone.say(&long).await;
    let parts = await_texts(&agent, &openid("long"), long.len().div_ceil(8_000)).await;
    assert!(parts.iter().all(|part| part.len() <= 8_000), "no part is too long");
    assert_eq!(parts.concat(), long);
    phone.say("[bridge] delivered").await;
    let all = await_texts(&agent, &openid("long"), parts.len() + 1).await;
    assert_eq!(all.last().unwrap(), "(bridge) delivered");
    world.finish().await;
}

#[tokio::test]
async fn a_signed_body_that_cannot_be_read_is_acknowledged_and_counted() {
    let world = World::start().await;
    let good = text_message(&openid("x"), 1, "good");
    let bad = [
        String::new(),
        "{}".to_owned(),
        "<xml>".to_owned(),
        "<xml></xml>".to_owned(),
        good.replace("</xml>", ""),
        good.replace("xml>", "html>"),
        format!("<!DOCTYPE xml [<!ENTITY a \"b\">]>{good}"),
        good.replace(&openid("x"), "no openid at all"),
        good.replace("MsgType", "MsgKind"),
        "<".repeat(5_000),
        format!("{}x{}", "<xml>".repeat(4_000), "</xml>".repeat(4_000)),
    ];
    for body in &bad {
        let answer = raw_http::post(&world.public(), &format!("/?{}", raw_http::query(&world)), body).await;
        assert_eq!((answer.status, answer.text()), (200, "success"), "{body:.80}");
    }
    let line = format!("refused_requests_total{{source=\"push\",reason=\"unreadable\"}} {}", bad.len());
    assert!(world.metrics().await.contains(&line), "{}", world.metrics().await);
    let answer = raw_http::post(&world.public(), &format!("/?{}", raw_http::query(&world)), &good).await;
    assert!(answer.text().contains(TRANSFERRING), "{answer:?}");
    await_texts(&world.agent(), &openid("x"), 1).await;
    assert_eq!(texts(&world.agent(), &openid("x")).len(), 1);
    world.finish().await;
}
