//! Customers' pictures, recordings, videos and cards as the agent's client gets them: real files
//! over real HTTP.

mod failing;
mod serving;
pub mod sizes;

use serde_json::Value;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::child;
use crate::world::{INQUIRY, SOON, Setup, World, eventually, is_first_line, openid};

pub const PUBLIC_URL: &str = "https://bridge.example.com";
pub const JPEG: &[u8] = include_bytes!("files/photo.jpg");
pub const PNG: &[u8] = include_bytes!("files/photo.png");
pub const GIF: &[u8] = include_bytes!("files/moving.gif");
pub const AMR: &[u8] = include_bytes!("files/voice.amr");
pub const MP3: &[u8] = include_bytes!("files/voice.mp3");
pub const MP4: &[u8] = include_bytes!("files/clip.mp4");
pub const PDF: &[u8] = include_bytes!("files/price-list.pdf");

pub fn with_public_url() -> Setup {
    Setup::default().set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL)
}

/// The elements of each message that this customer's account has sent to the agent, without the lines that begin
/// conversations.
pub fn sent(world: &World, customer: &str) -> Vec<Vec<Value>> {
    let inbox = world.agent().conversation(customer);
    let own = inbox.iter().filter(|seen| seen.from.starts_with(customer) && !is_first_line(&seen.text()));
    own.map(|seen| seen.elements.as_array().unwrap().clone()).collect()
}

/// Waits until the agent has `count` messages from this customer, and returns the elements of the
/// last one.
pub async fn await_elements(world: &World, customer: &str, count: usize) -> Vec<Value> {
    let arrived = eventually(SOON, async || sent(world, customer).len() >= count).await;
    let sent = sent(world, customer);
    assert!(arrived && sent.len() == count, "{} of {count} messages: {sent:?}", sent.len());
    sent.into_iter().next_back().unwrap()
}

/// Replaces the public address in a link by the address at which the bridge really listens.
pub fn local_url(world: &World, link: &Value) -> String {
    let path = link.as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap_or_else(|| panic!("{link}"));
    assert!(path.starts_with("/media/"), "{link}");
    format!("{}{path}", world.public())
}

pub struct Response {
    pub status: u16,
    pub mime: String,
    pub bytes: Vec<u8>,
}

pub async fn get(url: &str) -> Response {
    let response = wechat_im_bridge::internals::http_client::get(url).await.unwrap();
    let mime = response.headers().get("content-type").map(|mime| mime.to_str().unwrap().to_owned());
    let (status, mime) = (response.status().as_u16(), mime.unwrap_or_default());
    Response { status, mime, bytes: response.bytes().await.unwrap().to_vec() }
}

async fn assert_served(world: &World, link: &Value, mime: &str, bytes: &[u8]) {
    let got = get(&local_url(world, link)).await;
    assert_eq!((got.status, got.mime.as_str()), (200, mime), "{link}");
    assert!(got.bytes == bytes, "{link}: {} bytes instead of {}", got.bytes.len(), bytes.len());
}

fn is_hex(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[tokio::test]
async fn a_small_picture_is_an_image_whose_three_links_serve_the_original() {
    let world = with_public_url().start().await;
    let phone = world.follower("snap");
    for (count, (file, mime)) in
        [(JPEG, "image/jpeg"), (PNG, "image/png"), (GIF, "image/gif")].into_iter().enumerate()
    {
        assert!(phone.send_image(file).await.text().is_some());
        let elements = await_elements(&world, &openid("snap"), count + 1).await;
        assert_eq!((elements.len(), &elements[0]["MsgType"]), (1, &"TIMImageElem".into()));
        let content = &elements[0]["MsgContent"];
        assert!(is_hex(&content["UUID"]), "{content}");
        let sizes = content["ImageInfoArray"].as_array().unwrap();
        assert_eq!(sizes.iter().map(|size| size["Type"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
        for size in sizes {
            assert_served(&world, &size["URL"], mime, file).await;
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_recording_is_a_sound_and_is_served_as_mp3_if_ffmpeg_is_installed() {
    let world = with_public_url().start().await;
    let phone = world.follower("talk");
    phone.send_voice(AMR, "amr").await;
    let elements = await_elements(&world, &openid("talk"), 1).await;
    assert_eq!((elements.len(), &elements[0]["MsgType"]), (1, &"TIMSoundElem".into()));
    let content = &elements[0]["MsgContent"];
    assert!(is_hex(&content["UUID"]) && content["Download_Flag"] == 2, "{content}");
    if child::find(&["ffmpeg"]).is_none() {
        child::report_skip("a recording's copy as MP3", "ffmpeg", "ffmpeg");
        assert_served(&world, &content["Url"], "audio/amr", AMR).await;
        return world.finish().await;
    }
    let copy = get(&local_url(&world, &content["Url"])).await;
    assert_eq!((copy.status, copy.mime.as_str()), (200, "audio/mpeg"));
    assert!(copy.bytes.len() > 500 && copy.bytes != AMR);
    let ledger = world.im.ledger();
    let custom_data: Value =
        serde_json::from_str(ledger.sends().next_back().unwrap().field("CloudCustomData").as_str().unwrap())
            .unwrap();
    assert_served(&world, &custom_data["bridge"]["original"], "audio/amr", AMR).await;
    world.finish().await;
}

#[tokio::test]
async fn a_recording_that_is_not_converted_is_served_unchanged() {
    let world = with_public_url().start().await;
    let phone = world.follower("talk");
    // A recording that cannot be converted, and one that needs no conversion.
    for (count, (file, mime)) in
        [(&b"#!AMR\n\xff\xff"[..], "audio/amr"), (MP3, "audio/mpeg")].into_iter().enumerate()
    {
        phone.send_voice(file, "amr").await;
        let elements = await_elements(&world, &openid("talk"), count + 1).await;
        let got = get(&local_url(&world, &elements[0]["MsgContent"]["Url"])).await;
        assert_eq!(got.status, 200);
        assert!(got.mime == mime && got.bytes == file || got.mime == "audio/mpeg", "{}", got.mime);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_video_has_its_first_picture_for_either_form_of_wechats_answer() {
    for as_url in [false, true] {
        let world = with_public_url().wechat(move |wechat| wechat.video_as_url = as_url).start().await;
        let phone = world.follower("film");
        phone.send_video(MP4, JPEG).await;
        phone.send_shortvideo(MP4, JPEG).await;
        await_elements(&world, &openid("film"), 2).await;
        for elements in sent(&world, &openid("film")) {
            assert_eq!((elements.len(), &elements[0]["MsgType"]), (1, &"TIMVideoFileElem".into()));
            let content = &elements[0]["MsgContent"];
            assert!(is_hex(&content["VideoUUID"]) && is_hex(&content["ThumbUUID"]), "{content}");
            assert_eq!(
                (&content["VideoDownloadFlag"], &content["ThumbDownloadFlag"]),
                (&2.into(), &2.into())
            );
            assert_served(&world, &content["VideoUrl"], "video/mp4", MP4).await;
            assert_served(&world, &content["ThumbUrl"], "image/jpeg", JPEG).await;
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn locations_links_cards_and_unknown_kinds_name_themselves() {
    let world = with_public_url().start().await;
    let phone = world.follower("card");
    phone.send_location(31.230_416, 121.473_701, 16, "People's Square").await;
    let place = await_elements(&world, &openid("card"), 1).await;
    assert_eq!(
        (&place[0]["MsgType"], &place[1]["MsgType"]),
        (&"TIMTextElem".into(), &"TIMLocationElem".into())
    );
    let words = place[0]["MsgContent"]["Text"].as_str().unwrap();
    assert!(
        words.starts_with("[location] People's Square\n31.230416,121.473701\nhttps://apis.map.qq.com/"),
        "{words}"
    );
    assert_eq!(place[1]["MsgContent"]["Desc"], "People's Square");

    phone.send_link("Spring", "New in May", "https://example.com/spring").await;
    let page = await_elements(&world, &openid("card"), 2).await;
    assert_eq!((&page[0]["MsgType"], &page[1]["MsgType"]), (&"TIMTextElem".into(), &"TIMCustomElem".into()));
    let data: Value = serde_json::from_str(page[1]["MsgContent"]["Data"].as_str().unwrap()).unwrap();
    assert_eq!((&data["wx"], &data["url"]), (&"link".into(), &"https://example.com/spring".into()));
    let words = format!("{INQUIRY}[link]\nSpring\nNew in May\nhttps://example.com/spring");
    assert_eq!(page[0]["MsgContent"]["Text"], words.as_str());

    phone.send_mini_program("Shop", "wx5a4db0c0a99a99a9", "pages/spring").await;
    let card = await_elements(&world, &openid("card"), 3).await;
    let data: Value = serde_json::from_str(card[1]["MsgContent"]["Data"].as_str().unwrap()).unwrap();
    assert_eq!((&data["wx"], &data["pagepath"]), (&"miniprogrampage".into(), &"pages/spring".into()));
    assert!(card[0]["MsgContent"]["Text"].as_str().unwrap().contains("[mini program]\nShop"));

    phone.send_unknown("hologram").await;
    let unknown = await_elements(&world, &openid("card"), 4).await;
    assert_eq!(unknown[0]["MsgContent"]["Text"], format!("{INQUIRY}[hologram]").as_str());
    world.finish().await;
}

#[tokio::test]
async fn text_and_media_keep_their_order() {
    let world = with_public_url().start().await;
    let phone = world.follower("turn");
    say(&phone, "before").await;
    phone.send_image(JPEG).await;
    say(&phone, "between").await;
    phone.send_voice(AMR, "amr").await;
    say(&phone, "after").await;
    await_elements(&world, &openid("turn"), 5).await;
    let kinds: Vec<String> = sent(&world, &openid("turn"))
        .iter()
        .map(|elements| elements[0]["MsgType"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["TIMTextElem", "TIMImageElem", "TIMTextElem", "TIMSoundElem", "TIMTextElem"]);
    world.finish().await;
}

async fn say(phone: &Phone, words: &str) {
    assert!(phone.say(words).await.text().is_some());
}
