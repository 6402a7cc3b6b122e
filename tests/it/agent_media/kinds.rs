//! Every kind of element, and what the customer sees of it.

use bytes::Bytes;
use serde_json::json;
use wechat_im_bridge::internals::sandbox::im::UploadedFile;

use super::files::{await_pushed, file, local};
use crate::observe::{await_notice, await_states, greeted, notices, notices_but_budget};
use crate::world::{SOON, World, await_shown, eventually, openid};

fn no_bytes() -> Bytes {
    Bytes::new()
}

/// Sends each element in a message of its own, waits until the customer sees it, and returns the screen's
/// entries.
async fn send_one_by_one(
    name: &str,
    elements: Vec<serde_json::Value>,
    world: &World,
) -> Vec<(String, String, Bytes)> {
    let (agent, customer) = (world.agent(), openid(name));
    let phone = world.follower(name);
    let mut entries = Vec::new();
    for element in elements {
        // Each message of the customer allows five more answers.
        phone.say("go on").await;
        let before = super::files::pushed(&phone).len();
        agent.send(&customer, json!([element])).await.unwrap();
        let shown = eventually(SOON, async || super::files::pushed(&phone).len() > before).await;
        assert!(shown, "the customer does not see {element}: {:?}", notices(&agent, &customer));
        entries.extend(super::files::pushed(&phone).pop());
    }
    assert!(notices(&agent, &customer).is_empty(), "{:?}", notices(&agent, &customer));
    entries
}

#[tokio::test]
async fn a_file_that_wechat_accepts_arrives_byte_for_byte() {
    let world = local().start().await;
    let _phone = greeted(&world, "a").await;
    let agent = world.agent();
    let upload = |name: &str| agent.upload(name, file(name));
    let thumb = upload("photo.jpg");
    // The bridge ignores the file's name and the type that the client claims. Only the bytes count.
    let misnamed = agent.upload("photo.pdf", file("photo.png"));
    let entries = send_one_by_one(
        "a",
        vec![
            upload("photo.jpg").image(),
            upload("photo.png").image(),
            upload("moving.gif").image(),
            misnamed.image(),
            upload("voice.amr").sound(1),
            upload("voice.mp3").sound(60),
            upload("clip.mp4").video(&thumb),
        ],
        &world,
    )
    .await;
    let expected = [
        ("image", file("photo.jpg")),
        ("image", file("photo.png")),
        ("image", file("moving.gif")),
        ("image", file("photo.png")),
        ("voice", file("voice.amr")),
        ("voice", file("voice.mp3")),
        ("video", file("clip.mp4")),
    ];
    for ((kind, text, bytes), (expected_kind, expected_bytes)) in entries.iter().zip(&expected) {
        assert_eq!((kind.as_str(), text.as_str()), (*expected_kind, ""));
        assert_eq!(bytes, expected_bytes, "{kind}");
    }
    assert_eq!(entries.len(), expected.len());
    world.finish().await;
}

#[tokio::test]
async fn a_file_that_wechat_does_not_accept_is_sent_as_a_link_without_a_notice() {
    let world = local().start().await;
    let _phone = greeted(&world, "b").await;
    let agent = world.agent();
    let upload = |name: &str| agent.upload(name, file(name));
    let (pdf, text) = (upload("price-list.pdf"), agent.upload("a.jpg", "no picture"));
    let gif = upload("moving.gif");
    let large = UploadedFile { size: 20 * 1024 * 1024 + 1, ..upload("photo.jpg") };
    let clip = upload("voice.mp3");
    let link = |label: &str, uploaded: &UploadedFile| format!("{label}\n{}", uploaded.url);
    let entries = send_one_by_one(
        "b",
        vec![pdf.file(), text.image(), gif.sound(3), large.image(), clip.video(&upload("photo.jpg"))],
        &world,
    )
    .await;
    let texts: Vec<String> = entries.into_iter().map(|(_, text, _)| text).collect();
    let expected = [
        format!("[file]\nprice-list.pdf (191 B)\n{}", pdf.url),
        link("[image]", &text),
        link("[voice message]", &gif),
        link("[image]", &large),
        link("[video]", &clip),
    ];
    assert_eq!(texts, expected);
    assert_eq!(world.wechat.ledger().uploads, 0);
    world.finish().await;
}

#[tokio::test]
async fn an_element_without_a_file_is_sent_as_readable_text() {
    let world = local().start().await;
    let _phone = greeted(&world, "c").await;
    let element = |kind: &str, content: serde_json::Value| json!({"MsgType": kind, "MsgContent": content});
    let entries = send_one_by_one(
        "c",
        vec![
            element(
                "TIMLocationElem",
                json!({"Desc": "Station Rd 5", "Latitude": 22.54321, "Longitude": 113.97531}),
            ),
            element("TIMFaceElem", json!({"Index": 3, "Data": "smile"})),
            element("TIMFaceElem", json!({"Index": 3, "Data": ""})),
            element("TIMCustomElem", json!({"Data": "{\"order\":7}", "Desc": "[order 7]"})),
            element("TIMCustomElem", json!({"Data": "order 8"})),
            element(
                "TIMRelayElem",
                json!({"Title": "Chat history", "AbstractList": ["Lin: size M?", "Shop: in stock"]}),
            ),
            element("TIMStickerElem", json!({"Id": 7})),
        ],
        &world,
    )
    .await;
    let texts: Vec<String> = entries.into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(
        texts,
        [
            "[location]\nStation Rd 5\n22.54321,113.97531",
            "[sticker]",
            "[sticker]",
            "[order 7]",
            "order 8",
            "Chat history\nLin: size M?\nShop: in stock",
            "[TIMStickerElem]",
        ]
    );
    world.finish().await;
}

#[tokio::test]
async fn the_elements_of_a_message_and_the_next_message_arrive_in_order() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
    let (photo, voice) = (agent.upload("a.jpg", file("photo.jpg")), agent.upload("a.amr", file("voice.amr")));
    let text = |text: &str| json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}});
    agent
        .send(&customer, json!([text("look"), photo.image(), text("and listen"), voice.sound(1)]))
        .await
        .unwrap();
    agent.say(&customer, "after").await.unwrap();
    await_pushed(
        &phone,
        &[
            ("text", "look", no_bytes()),
            ("image", "", file("photo.jpg")),
            ("text", "and listen", no_bytes()),
            ("voice", "", file("voice.amr")),
            ("text", "after", no_bytes()),
        ],
    )
    .await;
    await_states(&world, &customer, &["delivered", "delivered"]).await;
    assert_eq!(phone.sends_left(), 0, "each element is counted");
    world.finish().await;
}

#[tokio::test]
async fn a_held_picture_is_attached_to_the_reply_as_a_link() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "e").await, world.agent(), openid("e"));
    for n in 1..=5 {
        agent.say(&customer, &format!("text {n}")).await.unwrap();
    }
    let photo = agent.upload("a.jpg", file("photo.jpg"));
    agent.send(&customer, json!([photo.image()])).await.unwrap();
    await_notice(&agent, &customer, "“[image]” is held").await;
    let notices = notices_but_budget(&agent, &customer);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(world.wechat.ledger().uploads, 0, "the bridge does not fetch a held picture yet");
    assert_eq!(phone.say("and?").await.text(), Some(format!("[image]\n{}", photo.url).as_str()));
    let mut delivered = vec!["delivered"; 6];
    await_states(&world, &customer, &delivered).await;
    delivered.push("delivered");
    agent.send(&customer, json!([photo.image()])).await.unwrap();
    await_states(&world, &customer, &delivered).await;
    assert_eq!(super::files::pushed(&phone).pop().unwrap().2, file("photo.jpg"));
    world.finish().await;
}

#[tokio::test]
async fn a_held_picture_is_released_as_a_picture() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "f").await, world.agent(), openid("f"));
    for n in 1..=5 {
        agent.say(&customer, &format!("text {n}")).await.unwrap();
    }
    agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
    await_notice(&agent, &customer, "is held").await;
    // The reply to a follow event is the welcome, so the held picture can only be pushed.
    phone.follow().await;
    await_states(&world, &customer, &["delivered"; 6]).await;
    assert_eq!(super::files::pushed(&phone).pop().unwrap().2, file("photo.jpg"));
    world.finish().await;
}

#[tokio::test]
async fn an_account_that_may_not_push_sends_links_in_the_passive_reply() {
    let world = local().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let (phone, agent, customer) = (greeted(&world, "g").await, world.agent(), openid("g"));
    let (photo, voice) = (agent.upload("a.jpg", file("photo.jpg")), agent.upload("a.amr", file("voice.amr")));
    let text = json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": "look"}});
    agent.send(&customer, json!([text, photo.image()])).await.unwrap();
    agent.send(&customer, json!([voice.sound(1)])).await.unwrap();
    await_states(&world, &customer, &["held", "held"]).await;
    let pushed = phone.say("and?").await;
    let expected = format!("look\n[image]\n{}\n[voice message]\n{}", photo.url, voice.url);
    assert_eq!(pushed.text(), Some(expected.as_str()));
    await_states(&world, &customer, &["delivered", "delivered"]).await;
    let again = world.wechat.repeat(&pushed).await;
    assert_eq!(again.attempts[0].body, pushed.attempts[0].body, "the repeated push gets the same reply");
    assert_eq!(world.wechat.ledger().uploads, 0);
    world.finish().await;
}

#[tokio::test]
async fn labels_are_in_the_configured_language() {
    let world = local().set("BRIDGE_TEXTS__LOCALE", "zh").start().await;
    let phone = world.follower("h");
    phone.say("你好").await;
    let (agent, customer) = (world.agent(), openid("h"));
    let pdf = agent.upload("price-list.pdf", file("price-list.pdf"));
    eventually(SOON, async || world.im.account(&customer).is_some()).await;
    agent.send(&customer, json!([pdf.file()])).await.unwrap();
    await_shown(&phone, &format!("[文件]\nprice-list.pdf (191 B)\n{}", pdf.url)).await;
    world.finish().await;
}
