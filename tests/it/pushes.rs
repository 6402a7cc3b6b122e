//! What each push is answered with, and what it sets in motion: the second table of section 3 of the contract.

use std::time::Duration;

use serde_json::Value;
use wechat_im_bridge::sandbox::im::{AccountChangeKind, Edition};
use wechat_im_bridge::sandbox::wechat::{Field, Mode, Phone, Pushed, tiny_png};

use crate::surface::in_mode;
use crate::wire::{self, text_message};
use crate::world::{
    AES_KEY, INQUIRY, SOON, Setup, TRANSFERRING, WELCOME, World, assert_success, await_shown, await_texts,
    eventually, openid, texts,
};

fn body(pushed: &Pushed) -> &[u8] {
    assert_eq!(pushed.tries.len(), 1, "{pushed:?}");
    assert_eq!(pushed.tries[0].status, Some(200), "{pushed:?}");
    &pushed.tries[0].body
}

fn event(name: &str, fields: Vec<Field>) -> Vec<Field> {
    [vec![Field::text("MsgType", "event"), Field::text("Event", name)], fields].concat()
}

async fn is_imported(world: &World, user: &str) -> bool {
    eventually(SOON, async || world.im.account(user).is_some()).await
}

async fn is_deleted(world: &World, user: &str) -> bool {
    eventually(SOON, async || world.im.account(user).is_none()).await
}

#[tokio::test]
async fn in_every_mode_replies_come_as_the_mode_asks() {
    for mode in [("plain", Mode::Plain), ("compatible", Mode::Compatible), ("safe", Mode::Safe)] {
        let world = in_mode(mode).start().await;
        let (phone, agent) = (world.wechat.customer(&openid("mode")), world.agent());
        let (followed, asked) = (phone.follow().await, phone.say("in stock?").await);
        assert_eq!((followed.text(), asked.text()), (Some(WELCOME), Some(TRANSFERRING)), "{mode:?}");
        for (reply, words) in [(&followed, WELCOME), (&asked, TRANSFERRING)] {
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
async fn in_safe_mode_nothing_but_what_is_sealed_for_us_gets_in() {
    let world = in_mode(("safe", Mode::Safe)).start().await;
    world.wechat.change(|wechat| wechat.attempts = 1).unwrap();
    let phone = world.follower("safe");
    assert_eq!(phone.say("first").await.text(), Some(TRANSFERRING));
    let original = world.wechat.settings();
    let refused = async |reason: &str| {
        let status = phone.say("refused").await.tries[0].status;
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
    refused("missing_parameter").await;
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
async fn in_compatible_mode_a_body_with_encrypt_is_judged_by_it_and_one_without_by_its_signature() {
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
    assert_eq!(status(whole.clone(), "msg_signature", "00").await, Some(403), "the other one is right");
    assert_eq!(status(whole, "signature", "00").await, Some(200), "the one that counts is right");
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
            let change = |wechat: &mut wechat_im_bridge::sandbox::wechat::Settings| {
                (wechat.token, wechat.encoding_aes_key) = (token.to_owned(), key.to_owned());
            };
            world.wechat.change(change).unwrap();
            assert!(world.wechat.verify_url().await, "{token}");
            let answered = phone.say(token).await;
            assert_eq!(answered.text(), Some(TRANSFERRING), "the reply is sealed with what opened the push");
        }
        world.wechat.change(|wechat| wechat.token = "thirdtoken".into()).unwrap();
        assert!(!world.wechat.verify_url().await);
        assert_eq!(phone.say("third").await.tries[0].status, Some(403));
        await_texts(&world.agent(), &openid("rotate"), 3).await;
        world.finish().await;
    }
}

async fn every_message(phone: &Phone) -> Vec<Pushed> {
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
    let pushed = every_message(&phone).await;
    for pushed in &pushed {
        assert_eq!(pushed.text(), Some(TRANSFERRING));
        assert!(body(pushed).starts_with(b"<xml>"));
        took.push(pushed.tries[0].took);
    }
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
    await_texts(&agent, &openid("kinds"), pushed.len()).await;
    let seen = agent.conversation(&openid("kinds"));
    let elements: Vec<String> = seen.iter().map(|message| message.elements.to_string()).collect();
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

/// Reference: "Events a customer-service bridge meets" and "Others".
#[tokio::test]
async fn any_other_event_is_answered_success_and_leaves_a_step_and_nothing_else() {
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
        ("user_authorization_revoke", vec![Field::number("RevokeInfo", "201")]),
        ("user_authorization_cancellation", vec![Field::text("OpenID", openid("events"))]),
        ("debug_demo", vec![Field::text("debug_str", "hello world")]),
        ("subscribe_msg_popup_event", vec![]),
        ("user_get_card", vec![Field::text("CardId", "c")]),
        ("an_event_of_2031", vec![]),
    ];
    let count = events.len();
    for (name, fields) in events {
        assert_eq!(body(&phone.push_xml(event(name, fields)).await), b"success", "{name}");
        let stranger = world.wechat.customer("oMASSSENDHELPER_nobody").push_xml(event(name, vec![])).await;
        assert_eq!(body(&stranger), b"success", "{name} from somebody who is no customer");
        let step = "SELECT count(*) FROM step WHERE openid = ?1 AND what = ?2 COLLATE NOCASE";
        let steps: i64 =
            database(&world).query_row(step, (openid("events"), name), |row| row.get(0)).unwrap();
        assert_eq!(steps, 1, "{name} stands in the customer's trace");
    }
    assert!(count > 20 && agent.inbox().is_empty(), "{:?}", agent.inbox());
    world.finish().await;
}

#[tokio::test]
async fn the_transferring_text_comes_always_once_a_session_or_never() {
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
    let asked = await_texts(&world.agent(), &openid("ko"), 1).await;
    assert_eq!(asked, ["WeChat 구독 계정에서 온 문의:재고?"]);
    world.finish().await;
}

#[tokio::test]
async fn a_long_text_goes_as_several_and_no_text_passes_for_the_bridges_own() {
    let world = Setup::default().set("BRIDGE_TEXTS__INQUIRY_PREFIX", "").start().await;
    let (phone, agent) = (world.follower("long"), world.agent());
    let long = "尺寸 and size 😀 ".repeat(1_200);
    phone.say(&long).await;
    let parts = await_texts(&agent, &openid("long"), long.len().div_ceil(8_000)).await;
    assert!(parts.iter().all(|part| part.len() <= 8_000), "no part is too long");
    assert_eq!(parts.concat(), long);
    phone.say("[bridge] delivered").await;
    let all = await_texts(&agent, &openid("long"), parts.len() + 1).await;
    let forged = all.last().unwrap();
    assert!(!forged.starts_with("[bridge] ") && forged.contains("bridge] delivered"), "{forged}");
    world.finish().await;
}

#[tokio::test]
async fn who_follows_is_welcomed_and_imported_and_who_leaves_is_deleted() {
    let world = World::start().await;
    let phone = world.wechat.customer(&openid("come"));
    assert_eq!(phone.follow_by_scene("shop42").await.text(), Some(WELCOME));
    assert!(is_imported(&world, &openid("come")).await);
    assert!(!world.im.account(&openid("come")).unwrap().nick.is_empty());
    assert_success(&phone.unfollow().await);
    assert!(is_deleted(&world, &openid("come")).await);

    assert_success(&world.wechat.customer(&openid("never")).unfollow().await);
    phone.follow().await;
    assert!(is_imported(&world, &openid("come")).await, "the trial edition takes the UserID back");
    world.finish().await;
}

#[tokio::test]
async fn who_leaves_keeps_the_account_where_that_is_set_and_is_forgotten_all_the_same() {
    let world = Setup::default().set("BRIDGE_IM__ON_UNSUBSCRIBE", "keep").start().await;
    let (phone, agent) = (world.wechat.customer(&openid("keep")), world.agent());
    phone.follow().await;
    phone.say("hello").await;
    await_texts(&agent, &openid("keep"), 1).await;
    assert_success(&phone.unfollow().await);
    agent.say(&openid("keep"), "are you still there?").await.unwrap();
    let ignored = "ignored_callbacks_total{reason=\"not_a_customer\"} 1";
    assert!(world.metrics().await.contains(ignored), "{}", world.metrics().await);
    assert_success(&world.wechat.customer(&openid("nobody")).unfollow().await);
    assert!(world.im.account(&openid("keep")).is_some());
    world.clock.advance(1_000);
    assert_eq!(phone.follow().await.text(), Some(WELCOME));
    let settled = eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 0).await;
    assert!(settled, "{}", world.ready().await);
    let changes = world.im.ledger();
    assert!(changes.accounts().all(|change| change.kind != AccountChangeKind::Deleted));
    let rows = database(&world);
    let nobody = "SELECT count(*) FROM customer WHERE openid = ?1";
    let left: i64 = rows.query_row(nobody, [openid("nobody")], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "of somebody without an account nothing is kept");
    world.finish().await;
}

#[tokio::test]
async fn a_userid_that_im_does_not_take_back_gets_a_number() {
    let world = Setup::default().im(|im| im.edition = Edition::PAID).start().await;
    let (phone, agent) = (world.wechat.customer(&openid("again")), world.agent());
    for user in [openid("again"), format!("{}_1", openid("again")), format!("{}_2", openid("again"))] {
        phone.follow().await;
        assert!(is_imported(&world, &user).await, "{user}");
        phone.say(&format!("I am {user}")).await;
        let inquiry = format!("{INQUIRY}I am {user}");
        let arrived = eventually(SOON, async || {
            agent.inbox().iter().any(|seen| seen.from == user && seen.text() == inquiry)
        });
        assert!(arrived.await, "{:?}", agent.inbox());
        agent.say(&user, &format!("hello {user}")).await.unwrap();
        await_shown(&phone, &format!("hello {user}")).await;
        // Of one second, the next one would be taken for a repeat.
        world.clock.advance(1_000);
        phone.unfollow().await;
        assert!(is_deleted(&world, &user).await, "{user}");
    }
    world.finish().await;
}

fn database(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.folder.path().join("bridge.db")).unwrap()
}

/// Which of `words` still stand in any file of the store, once the log has been written into the database.
fn lingering<'a>(world: &World, words: &[&'a str]) -> Vec<&'a str> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = database(world).query_row(checkpoint, [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0, "nobody reads meanwhile");
    let files = std::fs::read_dir(world.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let bytes: Vec<Vec<u8>> =
        files.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap()).collect();
    let stands = |word: &str| {
        bytes.iter().any(|file| file.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    words.iter().copied().filter(|word| stands(word)).collect()
}

#[tokio::test]
async fn nothing_that_was_said_outlives_the_customer() {
    for reply in ["auto", "passive"] {
        let world = Setup::default()
            .set("BRIDGE_WECHAT__REPLY", reply)
            .im(|im| im.edition = Edition::PAID)
            .start()
            .await;
        let (phone, agent) = (world.wechat.customer(&openid("gone")), world.agent());
        let words = [
            "my-allergy-is-nuts",
            "answer-one-about-it",
            "answer-two-about-it",
            "held-to-the-end",
            "Huangpu",
        ];
        phone.follow().await;
        phone.say(words[0]).await;
        phone.send_location(1.0, 2.0, 3, words[4]).await;
        await_texts(&agent, &openid("gone"), 2).await;
        agent.say(&openid("gone"), words[1]).await.unwrap();
        world.clock.advance(49 * 3600 * 1000);
        agent.say(&openid("gone"), words[2]).await.unwrap();
        let held = eventually(SOON, async || world.ready().await["backlog"]["held"] != 0).await;
        assert!(held, "{}", world.ready().await);
        phone.say("anything new?").await;
        for word in &words[1..3] {
            let shown = eventually(SOON, async || phone.texts().iter().any(|text| text.contains(word))).await;
            assert!(shown, "{word}: {:?}", phone.texts());
        }
        world.clock.advance(49 * 3600 * 1000);
        agent.say(&openid("gone"), words[3]).await.unwrap();
        await_texts(&agent, &openid("gone"), 4).await;
        assert_eq!(lingering(&world, &words[..3]).len(), 3, "before, they are there");

        assert_success(&phone.unfollow().await);
        assert!(is_deleted(&world, &openid("gone")).await);
        let settled = eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 0).await;
        assert!(settled, "{}", world.ready().await);
        assert_eq!(lingering(&world, &words), [""; 0], "reply = {reply}");
        let rows = database(&world);
        for table in ["message", "step", "customer"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = rows.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 0, "{table}");
        }
        drop(rows);
        world.clock.advance(1_000);
        phone.follow().await;
        let second = format!("{}_1", openid("gone"));
        assert!(is_imported(&world, &second).await);
        phone.unfollow().await;
        assert!(is_deleted(&world, &second).await);
        let settled = eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 0).await;
        assert!(settled);
        let kept =
            "SELECT known, number, imported, agent, active_at, message_until, event_until FROM customer";
        let kept: Vec<Value> = database(&world)
            .query_row(kept, [], |row| {
                (0..7)
                    .map(|at| {
                        Ok(match row.get_ref(at)? {
                            rusqlite::types::ValueRef::Integer(number) => number.into(),
                            _ => Value::Null,
                        })
                    })
                    .collect()
            })
            .unwrap();
        let only_the_number: Vec<Value> = [0, 1, 0].into_iter().map(Value::from).collect();
        assert_eq!(kept[..3], only_the_number);
        assert_eq!(kept[3..], [Value::Null, 0.into(), 0.into(), 0.into()]);
        world.finish().await;
    }
}

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
                let sealed = mode.1 == Mode::Safe && first.reply.is_some();
                assert_eq!(body(first) != body(&again), sealed, "only what is encrypted differs: {when}");
            }
        };
        same_again(&world, "at once").await;
        world.clock.advance(3_600_000);
        same_again(&world, "an hour later").await;
        world.restart().await;
        same_again(&world, "after a restart").await;
        assert_eq!(await_texts(&world.agent(), &openid("twice"), 1).await.len(), 1);
        assert!(world.metrics().await.contains("repeated_total{source=\"push\"} 3"));
        assert!(is_imported(&world, &openid("twice")).await);
        assert_eq!(world.im.ledger().calls("im_open_login_svc/account_import"), 1);
        world.finish().await;
    }
}

#[tokio::test]
async fn repeats_at_the_same_moment_get_one_answer_and_move_one_message() {
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
async fn events_are_told_apart_by_sender_time_event_and_key() {
    let world = World::start().await;
    let tap = async |name: &str, event_name: &str, time: &str, key: &str| {
        let fields = vec![Field::number("CreateTime", time), Field::text("EventKey", key)];
        body(&world.follower(name).push_xml(event(event_name, fields)).await).to_vec()
    };
    for (name, event_name, time, key) in [
        ("one", "CLICK", "1700000000", "A"),
        ("two", "CLICK", "1700000000", "A"),
        ("one", "SCAN", "1700000000", "A"),
        ("one", "CLICK", "1700000001", "A"),
        ("one", "CLICK", "1700000000", "B"),
        ("one", "CLICK", "1700000000", "A"),
    ] {
        assert_eq!(tap(name, event_name, time, key).await, b"success");
    }
    let metrics = world.metrics().await;
    assert!(metrics.contains("accepted_total{source=\"push\"} 5"), "{metrics}");
    assert!(metrics.contains("repeated_total{source=\"push\"} 1"), "{metrics}");
    world.finish().await;
}

#[tokio::test]
async fn messages_are_told_apart_by_sender_and_msgid() {
    let world = World::start().await;
    for (name, id, content) in [("p", 1, "a"), ("q", 1, "b"), ("p", 2, "a"), ("p", 1, "changed")] {
        let path = format!("/?{}", wire::query(&world));
        let answer = wire::post(&world.public(), &path, text_message(&openid(name), id, content)).await;
        assert_eq!(answer.status, 200);
    }
    let arrived = await_texts(&world.agent(), &openid("p"), 2).await;
    assert_eq!(arrived, [format!("{INQUIRY}a"), format!("{INQUIRY}a")]);
    assert_eq!(await_texts(&world.agent(), &openid("q"), 1).await, [format!("{INQUIRY}b")]);
    world.finish().await;
}

#[tokio::test]
async fn a_signed_body_that_is_no_usable_xml_is_acknowledged_counted_and_harms_nobody() {
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
        format!("{good}{good}"),
        "<".repeat(5_000),
        format!("{}x{}", "<xml>".repeat(4_000), "</xml>".repeat(4_000)),
    ];
    for body in &bad {
        let answer = wire::post(&world.public(), &format!("/?{}", wire::query(&world)), body).await;
        assert_eq!((answer.status, answer.text()), (200, "success"), "{body:.80}");
    }
    let line = format!("refused_requests_total{{source=\"push\",reason=\"unusable\"}} {}", bad.len());
    assert!(world.metrics().await.contains(&line), "{}", world.metrics().await);
    let answer = wire::post(&world.public(), &format!("/?{}", wire::query(&world)), &good).await;
    assert!(answer.text().contains(TRANSFERRING), "{answer:?}");
    await_texts(&world.agent(), &openid("x"), 1).await;
    assert_eq!(texts(&world.agent(), &openid("x")).len(), 1);
    world.finish().await;
}
