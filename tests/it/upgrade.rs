//! A store that an earlier version wrote, with everything in it that a store can hold: this version takes it over and
//! owes everybody what the earlier one owed.
//!
//! `files/store-87e3d2b` is what a bridge of schema 7 left behind: its database, its media, and in `links.txt` the
//! links that agents' clients have got. No test writes there; each works on a copy. A later version never writes the
//! fixture anew: a store that it makes itself says nothing about an upgrade.
//!
//! The bridge that wrote the fixture lived in a [`World`] with the settings of [`setup`]; its clock showed
//! 1,790,000,000 s at the start and 376 s more at the end. This is what happened:
//!
//! - Fifteen followers greeted in turn, so that `user1` and `user2` each had every other conversation.
//! - `settled` got a text and `photo.jpg` from `user1`, one answer was refused (40003), one had an unreadable answer.
//! - `pictures` sent `photo.jpg` and `voice.amr`, which were fetched; `ffmpeg` made the copy as MP3.
//! - `again` left and came back while IM took no deleted UserID, and has the number 1 since then.
//! - `gone` sent `photo.webp`. A folder stood in the file's place when its row went, so that it could not be removed.
//! - Answers were held: three for `held` and two for `riding` (45015), two for `used-up` beyond the budget, one for
//!   `waits`, which the reply to the next message carried, and three for `late`, whose second callback came last.
//! - `moved` got an answer from `user2` five minutes later, the histories were read, and the bridge was started again.
//!   From then on IM answered no history.
//! - `late` was answered once more, before the bridge had read that history.
//! - IM took the first message of `arrived` and answered nothing; the first of `lost` it did not even take. It took
//!   the first half of a long text of `parted`, and from then on refused every call (60008).
//! - The customers wrote what stands in [`QUESTIONS`]; `moved` changed from `user2` to `user1` in between; `newcomer`
//!   followed and wrote; `gone` wrote and left.
//! - WeChat had not yet answered the call with the first answer to `cut` when the bridge was stopped. It took the first
//!   half of a long one to `parted`, and from then on refused every send and upload (-1): another answer to `cut`; two
//!   to `answered`, with `photo.png` between them; `moving.gif` and `price-list.pdf` for `settled`.
//! - Of the media that `waits` sent, the download of the picture was under way at the end, and that of the recording
//!   had failed and was to be tried again.
//! - The reply to the last message of `riding` carried both answers, and the connection died under it.
//! - The bridge was stopped with a grace of one second, the log written into the database, the database vacuumed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use secrecy::SecretString;
use serde_json::{Value, json};
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::im::element::Element;
use wechat_im_bridge::internals::im::send::usersig::Signer;
use wechat_im_bridge::internals::im::send::{CALL_TIMEOUT, Client, OfflinePush, SendMsg, http_client};
use wechat_im_bridge::internals::model::{ImUserId, Millis, OpenId};
use wechat_im_bridge::internals::sandbox::im::SendRecord;
use wechat_im_bridge::internals::sandbox::wechat::{Field, Refusal};
use wechat_im_bridge::internals::store::{Store, StoreLocation};

use crate::agent_media::{await_pushed, file, pushed};
use crate::customer_media::{PUBLIC_URL, get, local_url};
use crate::observe::{CUSTOM_SEND, await_notice, await_states, counter_value, states, stored};
use crate::world::{INQUIRY, SDK_APP_ID, SECRET_KEY, SOON, Setup, World, await_shown, eventually, openid};

const SCHEMA: i64 = 7;
/// Shortly after the earlier version's end, and late enough that nothing still waits for a reply to be asked for again.
const TAKEN_OVER_AT: Millis = Millis(1_790_000_420_000);
/// Long enough for whatever waits for the bridge's own pauses.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the fixture's customers still have to get through to their agents, in order. What has no text is named by its
/// type.
const QUESTIONS: [(&str, &str, &[&str]); 12] = [
    ("arrived", "user1", &["arrived 1", "arrived 2"]),
    ("lost", "user2", &["lost 1", "lost 2"]),
    (
        "waits",
        "user1",
        &[
            "waiting 1",
            "[location] Station Rd 5\n22.5,114\nhttps://apis.map.qq.com/uri/v1/marker?marker=coord:22.5,114;title:Station%20Rd%205&referer=bridge",
            "[link]\nSpring\nNew in May\nhttps://example.com/spring",
            "TIMImageElem",
            "TIMSoundElem",
            "waiting last",
        ],
    ),
    ("again", "user2", &["waiting as the second account"]),
    ("newcomer", "user2", &["waiting first", "waiting second"]),
    ("riding", "user1", &["anybody?"]),
    ("settled", "user1", &[]),
    ("pictures", "user2", &[]),
    ("late", "user2", &[]),
    ("answered", "user2", &[]),
    ("held", "user2", &[]),
    ("used-up", "user1", &[]),
];

/// The held answers of the fixture's customers, in order.
const HELD: [(&str, &[&str]); 4] = [
    ("held", &["held 1", "held 2", "held 3"]),
    ("used-up", &["over 1", "over 2"]),
    ("late", &["late 1", "late 2", "late 3", "late 4"]),
    ("riding", &["riding 1", "riding 2"]),
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/files/store-87e3d2b")
}

/// Copies the fixture into `folder`, as the bridge's database and media.
fn copy_into(folder: &Path) {
    std::fs::copy(fixture().join("bridge.db"), folder.join("bridge.db")).unwrap();
    std::fs::create_dir(folder.join("media")).unwrap();
    for medium in std::fs::read_dir(fixture().join("media")).unwrap() {
        let medium = medium.unwrap();
        std::fs::copy(medium.path(), folder.join("media").join(medium.file_name())).unwrap();
    }
}

fn setup() -> Setup {
    Setup::default()
        .on_sqlite()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL)
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1,localhost")
        .set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true")
}

fn account(name: &str) -> String {
    if name == "again" { format!("{}_1", openid(name)) } else { openid(name) }
}

/// The fixture as the earlier version left it, to be asked in the words of its schema.
struct Before(Connection);

impl Before {
    fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The file that a link leads to.
    fn file_at(&self, link: &str) -> Vec<u8> {
        let (_, path) = link.split_once("/media/").unwrap();
        let (name, _) = path.split_once('.').unwrap();
        let sql = "SELECT hash FROM media WHERE name = ?1";
        let hash: String = self.0.query_row(sql, [name], |row| row.get(0)).unwrap();
        std::fs::read(fixture().join("media").join(hash)).unwrap()
    }

    /// The files that are still to be fetched, or to be sent, are where these platforms have them.
    fn readdress(&self, world: &World) {
        let kept = |name: &str| world.im.store_file(name, file(name));
        let attachment = "UPDATE message SET orders = json_set(orders, '$[0].MediaToCustomer.url', ?1)
                          WHERE openid = ?2 AND state = 0 AND orders LIKE '%MediaToCustomer%'";
        let changed = self.0.execute(attachment, (kept("photo.png"), openid("answered"))).unwrap();
        assert_eq!(changed, 1);
        for (name, what) in [("moving.gif", "Image"), ("voice.mp3", "Voice")] {
            let fetch = "UPDATE fetch SET wanted = json_set(wanted, '$.url', ?1)
                         WHERE json_extract(wanted, '$.what') = ?2";
            assert_eq!(self.0.execute(fetch, (kept(name), what)).unwrap(), 1, "{what}");
        }
    }

    /// IM has the message of `arrived` that it did not answer.
    async fn arrive(&self, world: &World) {
        let sql = "SELECT seq, random FROM message WHERE openid = ?1 AND state = 1";
        let (msg_seq, msg_random) =
            self.0.query_row(sql, [openid("arrived")], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let user = |name: &str| ImUserId::new(name).unwrap();
        let signer =
            Signer::new(SDK_APP_ID, SecretString::from(SECRET_KEY), user("user0"), 3600, world.clock.clone());
        let base = world.im.base_url().parse().unwrap();
        let client = Client::new(http_client(true).unwrap(), base, signer, CALL_TIMEOUT).unwrap();
        let message = SendMsg {
            from: &user(&openid("arrived")),
            to: &user("user1"),
            msg_seq,
            msg_random,
            timestamp_s: world.clock.now().seconds(),
            life_time_s: 604_800,
            elements: &[Element::text(format!("{INQUIRY}arrived 1"))],
            cloud_custom_data: "",
            offline_push: OfflinePush { nickname: "", words: "" },
        };
        client.sendmsg(&message).await.unwrap();
    }
}

/// A world in which the platforms know the fixture's customers and agents, and the fixture as it was. No bridge yet.
async fn found() -> (World, Before) {
    let world = setup().at(TAKEN_OVER_AT).without_bridge().await;
    world.has_earlier_conversations();
    copy_into(world.folder.path());
    let before = Before(Connection::open(world.folder.path().join("bridge.db")).unwrap());
    for agent in ["user1", "user2"] {
        world.im.agent(agent).unwrap();
    }
    for name in ["parted", "moved", "cut", "gone"].into_iter().chain(QUESTIONS.map(|(name, ..)| name)) {
        if name != "newcomer" {
            world.im.import(&account(name)).unwrap();
        }
        if name != "gone" {
            world.follower(name);
        }
    }
    for name in ["answered", "settled", "parted", "cut"] {
        // WeChat's window is open for them: what they wrote last came to the earlier version.
        world.follower(name).draft_text("to the earlier version");
    }
    before.readdress(&world);
    before.arrive(&world).await;
    (world, before)
}

/// The same with this version's bridge on the fixture.
async fn taken_over() -> World {
    let (mut world, before) = found().await;
    drop(before);
    world.start_bridge().await;
    world
}

/// What a delivered message shows, without what every customer's text begins with.
fn line(send: &SendRecord) -> String {
    match send.text() {
        text if text.is_empty() => send.elements[0]["MsgType"].as_str().unwrap().to_owned(),
        text => text.strip_prefix(INQUIRY).unwrap_or(&text).to_owned(),
    }
}

/// Everything that reached the agent from the customer's account, in order, but for the notices about the last sends that
/// WeChat allows, which some answers of the earlier version use.
fn delivered(world: &World, name: &str, agent: &str) -> Vec<String> {
    let (ledger, account) = (world.im.ledger(), account(name));
    let all = ledger.deliveries().filter(|send| send.from == account && send.to == agent).map(line);
    let is_budget = |text: &String| {
        text.starts_with("[bridge] That was the last message") || text.starts_with("[bridge] 2 more messages")
    };
    all.filter(|text| !is_budget(text)).collect()
}

async fn await_delivered(world: &World, name: &str, agent: &str, expected: &[impl AsRef<str>]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    let reached = eventually(PATIENCE, async || delivered(world, name, agent).len() >= expected.len()).await;
    let delivered = delivered(world, name, agent);
    assert!(reached && delivered == expected, "{name} to {agent}: {delivered:?}");
}

#[test]
fn the_fixture_is_of_the_earlier_version() {
    let folder = tempfile::tempdir().unwrap();
    copy_into(folder.path());
    let before = Before(Connection::open(folder.path().join("bridge.db")).unwrap());
    assert_eq!(before.one::<i64>("PRAGMA user_version"), SCHEMA);
}

#[tokio::test]
async fn what_waited_for_im_arrives_once_and_in_order_and_conversations_stay_with_their_agents() {
    let world = taken_over().await;
    for (name, agent, texts) in QUESTIONS {
        await_delivered(&world, name, agent, texts).await;
    }
    for (name, agent, texts) in QUESTIONS {
        world.follower(name).say(&format!("{name} goes on")).await;
        await_delivered(&world, name, agent, &[texts, &[&format!("{name} goes on")]].concat()).await;
        let other = if agent == "user1" { "user2" } else { "user1" };
        assert_eq!(delivered(&world, name, other), [""; 0], "{name}");
    }
    assert!(world.im.account(&openid("newcomer")).is_some());
    world.finish().await;
}

#[tokio::test]
async fn a_conversation_that_was_changing_hands_does_so() {
    let world = taken_over().await;
    let first = ["waiting before", "[bridge] This is user1's conversation from now on."];
    let second = [
        "hello moved",
        "[bridge] user2: good day",
        "waiting before",
        "[bridge] This conversation is yours from now on, by user2.",
        "waiting behind",
        "and now?",
    ];
    await_delivered(&world, "moved", "user1", &second[..5]).await;
    world.follower("moved").say("and now?").await;
    await_delivered(&world, "moved", "user1", &second).await;
    await_delivered(&world, "moved", "user2", &first).await;
    world.finish().await;
}

#[tokio::test]
async fn an_attempt_without_an_outcome_is_looked_up_and_only_what_im_does_not_have_is_sent_again() {
    let (mut world, before) = found().await;
    let numbers = |name: &str| -> (u32, u32) {
        let sql = "SELECT seq, random FROM message WHERE openid = ?1 AND state = 1";
        before.0.query_row(sql, [openid(name)], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let numbers = ["arrived", "lost"].map(|name| (name, numbers(name)));
    let second_half: String = before
        .one("SELECT json_extract(orders, '$[1].TextToAgent') FROM message WHERE direction = 0 AND part = 1");
    drop(before);
    world.start_bridge().await;
    for (name, agent) in [("arrived", "user1"), ("lost", "user2")] {
        await_delivered(&world, name, agent, &[format!("{name} 1"), format!("{name} 2")]).await;
    }
    let ledger = world.im.ledger();
    for (name, numbers) in numbers {
        let made = ledger.sends().filter(|send| {
            (send.from.as_str(), send.seq, send.random) == (&openid(name), numbers.0, numbers.1)
        });
        assert_eq!(made.count(), 1, "{name}");
    }
    await_delivered(&world, "parted", "user1", &[second_half]).await;
    world.finish().await;
}

#[tokio::test]
async fn answers_that_waited_reach_their_customers_once_and_in_order() {
    let (mut world, before) = found().await;
    let second_half: String = before.one(
        "SELECT json_extract(orders, '$[1].TextToCustomer') FROM message
         WHERE direction = 1 AND part = 1 AND state = 0",
    );
    drop(before);
    let [answered, settled, parted, cut] =
        ["answered", "settled", "parted", "cut"].map(|name| world.follower(name));
    world.start_bridge().await;
    let text = |words: &'static str| ("text", words, Bytes::new());
    let expected = [text("answer waiting 1"), ("image", "", file("photo.png")), text("answer waiting 2")];
    await_pushed(&answered, &expected).await;
    await_shown(&parted, &second_half).await;
    assert_eq!(pushed(&parted).len(), 1);
    assert!(eventually(PATIENCE, async || pushed(&settled).len() == 2).await, "{:?}", pushed(&settled));
    let [picture, list] = &pushed(&settled)[..] else { panic!() };
    assert_eq!((picture.0.as_str(), &picture.2), ("image", &file("moving.gif")));
    assert!(list.1.starts_with("[file]\nprice-list.pdf\n"), "{list:?}");

    // WeChat says of no message whether it has arrived: the agent is told, and what is behind it goes.
    await_shown(&cut, "behind the cut").await;
    await_notice(&world.agent(), &openid("cut"), "“cut off” may or may not have arrived").await;
    await_states(&world, &openid("cut"), &["unknown", "delivered"]).await;
    for phone in [&answered, &settled, &parted, &cut] {
        phone.say("thanks").await;
    }
    assert_eq!(pushed(&answered), expected.map(|(kind, text, bytes)| (kind.into(), text.into(), bytes)));
    assert_eq!(pushed(&cut).len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn held_answers_reach_their_customers_when_they_write_once_and_in_order() {
    let world = taken_over().await;
    for (name, held) in HELD {
        await_states_end(&world, name, &vec!["held"; held.len()]).await;
        let phone = world.follower(name);
        assert_eq!(phone.texts(), [""; 0], "{name}");
        phone.say("I am here").await;
        await_states_end(&world, name, &vec!["delivered"; held.len()]).await;
        let lines = || -> Vec<String> {
            let shown = phone.texts().join("\n");
            shown.lines().filter(|line| held.contains(line)).map(str::to_owned).collect()
        };
        let arrived = eventually(SOON, async || lines().len() >= held.len()).await;
        assert!(arrived && lines() == held, "{name}: {:?}", phone.texts());
        phone.say("is that all?").await;
        assert_eq!(lines(), held, "{name}");
    }
    world.finish().await;
}

/// Waits until the last answers to this customer stand so.
async fn await_states_end(world: &World, name: &str, expected: &[&str]) {
    let customer = openid(name);
    let reached = eventually(PATIENCE, async || states(world, &customer).await.ends_with(expected));
    assert!(reached.await, "{name}: {:#?}", stored(world, &customer).await);
}

#[tokio::test]
async fn media_are_served_by_the_links_that_agents_have_and_what_was_owed_is_fetched() {
    let (mut world, before) = found().await;
    let orphan: String = before.one("SELECT hash FROM media_orphan");
    let links = std::fs::read_to_string(fixture().join("links.txt")).unwrap();
    let kept: Vec<(&str, Vec<u8>)> = links.lines().map(|link| (link, before.file_at(link))).collect();
    assert_eq!(kept.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [1397, 4653, 1606]);
    drop(before);
    let media = world.folder.path().join("media");
    assert!(media.join(&orphan).exists());
    world.start_bridge().await;
    for (link, bytes) in kept {
        let got = get(&local_url(&world, &json!(link))).await;
        assert!(got.status == 200 && got.bytes == bytes, "{link}: {}", got.status);
    }
    await_delivered(&world, "waits", "user1", QUESTIONS[2].2).await;
    let (ledger, account) = (world.im.ledger(), account("waits"));
    let content = |kind: &str| -> Value {
        let mut sends = ledger.deliveries().filter(|send| send.from == account);
        sends.find(|send| line(send) == kind).unwrap().elements[0]["MsgContent"].clone()
    };
    let (picture, recording) = (content("TIMImageElem"), content("TIMSoundElem"));
    for (link, bytes) in
        [(&picture["ImageInfoArray"][0]["URL"], file("moving.gif")), (&recording["Url"], file("voice.mp3"))]
    {
        let got = get(&local_url(&world, link)).await;
        assert!(got.status == 200 && got.bytes == bytes, "{link}: {}", got.status);
    }
    assert!(eventually(SOON, async || !media.join(&orphan).exists()).await, "nobody needs it");
    world.finish().await;
}

#[tokio::test]
async fn who_left_is_forgotten_once_the_agent_has_the_last_words() {
    let world = taken_over().await;
    await_delivered(&world, "gone", "user2", &["waiting before leaving"]).await;
    assert!(eventually(PATIENCE, async || world.im.account(&openid("gone")).is_none()).await);
    let forgotten = eventually(SOON, async || kept(&world, "gone").await.0 == 0).await;
    assert!(forgotten, "{:?}", kept(&world, "gone").await);
    world.finish().await;
}

#[tokio::test]
async fn what_was_accepted_before_is_not_accepted_again_and_what_ended_stays_as_it_ended() {
    let (mut world, before) = found().await;
    let push: String = before.one("SELECT key FROM seen WHERE reply = 'carried'");
    let callback: String =
        before.one("SELECT source FROM message WHERE direction = 1 AND orders LIKE '%\"carried\"%'");
    let mut rows =
        before.0.prepare("SELECT at, what, detail FROM step WHERE openid = ?1 ORDER BY id").unwrap();
    let steps: Vec<(i64, String, String)> = rows
        .query_map([openid("settled")], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    drop(rows);
    drop(before);
    world.start_bridge().await;

    let msg_id = push.split(':').nth(1).unwrap();
    let fields =
        [("MsgType", "text"), ("Content", "anything?")].map(|(name, value)| Field::text(name, value));
    let fields = fields.into_iter().chain([Field::number("MsgId", msg_id)]).collect();
    let again = world.follower("waits").push_xml(fields).await;
    assert_eq!(again.text(), Some("carried"), "a repeat gets the same reply");
    let key = callback.rsplit(':').next().unwrap();
    let numbers: Vec<i64> = key.split('_').map(|number| number.parse().unwrap()).collect();
    let body = json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("waits"),
        "MsgSeq": numbers[0], "MsgRandom": numbers[1], "MsgTime": numbers[2], "MsgKey": key,
        "SendMsgResult": 0, "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "carried"}}],
    });
    assert_eq!(world.im.send_raw_callback(&body.to_string(), |_| {}).await.error, None);
    let repeats = "wechat_im_bridge_ignored_callbacks_total{reason=\"repeat\"}";
    assert_eq!(counter_value(&world, repeats).await, 1);
    await_delivered(&world, "waits", "user1", QUESTIONS[2].2).await;

    let ends = ["delivered", "delivered", "refused", "unknown", "delivered", "delivered"];
    await_states(&world, &openid("settled"), &ends).await;
    assert_eq!(kept(&world, "settled").await.1[..steps.len()], steps);
    assert!(!steps.is_empty());

    // A file that WeChat had a copy of is sent as that copy; the WeChat of this world does not have it.
    world.follower("settled").say("once more, please").await;
    world.agent().send_image(&openid("settled"), "a.jpg", file("photo.jpg")).await.unwrap();
    await_states(&world, &openid("settled"), &[&ends[..], &["delivered"]].concat()).await;
    let ledger = world.wechat.ledger();
    let dropped = |refusal: &&Refusal| refusal.path.ends_with(CUSTOM_SEND) && refusal.code == 40007;
    assert_eq!(ledger.refusals.iter().map(AsRef::as_ref).filter(dropped).count(), 1);
    world.finish().await;
}

/// What the store has of a customer now: how many messages, and the steps.
async fn kept(world: &World, name: &str) -> (usize, Vec<(i64, String, String)>) {
    let (place, openid) =
        (StoreLocation::File(world.folder.path().join("bridge.db")), OpenId::new(openid(name)).unwrap());
    let (store, closing) =
        tokio::task::spawn_blocking(move || Store::open_for_operator(&place, Clock::system()))
            .await
            .unwrap()
            .unwrap();
    let kept = store.read(move |tx| Ok((tx.messages_of(&openid)?.len(), tx.steps(&openid)?))).await.unwrap();
    drop(store);
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    (kept.0, kept.1.into_iter().map(|step| (step.at.0, step.event, step.detail)).collect())
}

#[tokio::test]
async fn histories_are_read_on_from_where_the_earlier_version_stopped() {
    let (mut world, before) = found().await;
    let newest: i64 =
        before.one("SELECT newest_s FROM looked WHERE agent = 'user2' AND openid LIKE '%moved'");
    drop(before);
    let mut calls = world.im.events();
    world.start_bridge().await;
    let asked = async {
        loop {
            let exchange = calls.recv().await.unwrap();
            let Ok(asked) = serde_json::from_str::<Value>(&exchange.request) else { continue };
            let view = (&asked["Operator_Account"], &asked["Peer_Account"]);
            if view == (&json!("user2"), &json!(openid("moved"))) {
                return asked;
            }
        }
    };
    let asked = tokio::time::timeout(SOON, asked).await.unwrap();
    assert_eq!(asked["MinTime"], newest - 150, "{asked}");
    world.finish().await;
}
