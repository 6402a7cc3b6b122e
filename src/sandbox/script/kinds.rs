//! One message of every kind except text. The agent gets the native IM element of the kind, or a
//! text that names the kind.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CACHE_CONTROL;
use serde_json::Value;

use super::cast::{CUSTOMER_TO_SHOP, Cast};
use crate::sandbox::conditions::{Checked, Mismatch, expect, within};
use crate::sandbox::im;
use crate::sandbox::wechat::{PushResult, tiny_png};

/// How long an agent's client retries a file. The bridge gives `ffmpeg`, which may have to be
/// loaded from a cold disk first, the same time to make an MP3 of a recording.
const FILE_DEADLINE: Duration = Duration::from_secs(30);

/// Two frames of silence in AMR.
pub(super) const VOICE: &[u8] = b"#!AMR\n\x04\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0";
/// The head of an MP4 file, without a picture.
const VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08mdat";
/// The title of the shared page.
const TITLE: &str = "Spring collection";
/// The URL of the shared page.
const URL: &str = "https://example.com/spring";
/// A kind that the bridge does not know.
const UNKNOWN: &str = "hologram";

/// A picture, whose file the agent can open.
pub(super) async fn image(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    let native = ["TIMImageElem"];
    let words = ["image", "picture", "사진", "图片"];
    let link = expect_kind(cast, "image", phone.send_image(tiny_png()), &native, &words).await?;
    expect_file(cast, link, |file| file == tiny_png()).await
}

/// A voice message, whose file the agent can open.
pub(super) async fn voice(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    let native = ["TIMSoundElem", "TIMFileElem"];
    let words = ["voice", "음성", "语音"];
    let link = expect_kind(cast, "voice", phone.send_voice(VOICE, "amr"), &native, &words).await?;
    // The original, or a copy in a format that every client plays.
    expect_file(cast, link, |file| file == VOICE || is_mp3(file)).await
}

/// A video.
pub(super) async fn video(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    let native = ["TIMVideoFileElem", "TIMFileElem"];
    let push = phone.send_video(VIDEO, tiny_png());
    expect_kind(cast, "video", push, &native, &["video", "동영상", "视频"]).await.map(drop)
}

/// A short video.
pub(super) async fn short_video(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    let native = ["TIMVideoFileElem", "TIMFileElem"];
    let push = phone.send_shortvideo(VIDEO, tiny_png());
    expect_kind(cast, "shortvideo", push, &native, &["video", "동영상", "视频"]).await.map(drop)
}

/// A location, which arrives as the same position and label.
pub(super) async fn location(cast: &mut Cast<'_>) -> Checked {
    const LATITUDE: f64 = 31.230_416;
    const LONGITUDE: f64 = 121.473_701;
    const LABEL: &str = "People's Square, Shanghai";
    let phone = cast.customer.clone();
    send(cast, "location", phone.send_location(LATITUDE, LONGITUDE, 16, LABEL)).await?;
    let is_place = |element: &Value| {
        let content = &element["MsgContent"];
        let near = |name: &str, degrees: f64| {
            content[name].as_f64().is_some_and(|actual| (actual - degrees).abs() < 1e-6)
        };
        element["MsgType"] == "TIMLocationElem"
            && near("Latitude", LATITUDE)
            && near("Longitude", LONGITUDE)
            && content["Desc"].as_str().is_some_and(|actual| actual.contains(LABEL))
    };
    // The same in words may stand beside it.
    let is_place =
        |send: &im::SendRecord| send.elements.as_array().is_some_and(|all| all.iter().any(is_place));
    let expected = format!("TIMLocationElem at {LATITUDE}, {LONGITUDE}, {LABEL:?}");
    cast.expect_at_agent(&expected, is_place).await
}

/// A shared link.
pub(super) async fn link(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    expect_kind(cast, "link", phone.send_link(TITLE, "New in May", URL), &[], &[URL]).await.map(drop)
}

/// A mini program.
pub(super) async fn mini_program(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    let push = phone.send_mini_program(TITLE, "wx5a4db0c0a99a99a9", "pages/spring");
    expect_kind(cast, "miniprogrampage", push, &[], &[TITLE]).await.map(drop)
}

/// A message of a kind that the bridge does not know.
pub(super) async fn unknown(cast: &mut Cast<'_>) -> Checked {
    let phone = cast.customer.clone();
    expect_kind(cast, UNKNOWN, phone.send_unknown(UNKNOWN), &[], &[UNKNOWN]).await.map(drop)
}

/// The customer sends the message and must get the reply that an agent is being assigned.
async fn send(cast: &mut Cast<'_>, kind: &str, push: impl Future<Output = PushResult>) -> Checked {
    cast.block.event(CUSTOMER_TO_SHOP, &format!("a message of kind {kind}"));
    let pushed = cast.expect_push_answer(kind, push).await?;
    let texts = cast.texts;
    cast.expect_reply(&pushed, &texts.transferring)
}

/// Waits for an element of a `native` type at the agent, or for one that contains one of the
/// `words`. Returns the link in the element, if it has one.
async fn expect_kind(
    cast: &mut Cast<'_>,
    kind: &str,
    push: impl Future<Output = PushResult>,
    native: &[&str],
    words: &[&str],
) -> Checked<Option<String>> {
    send(cast, kind, push).await?;
    let mut expected = format!("a message that says {}", words.join(" or "));
    if !native.is_empty() {
        expected = format!("{}, or {expected}", native.join(" or "));
    }
    let mut link = None;
    cast.expect_at_agent(&expected, |send| {
        let elements = || send.elements.as_array().into_iter().flatten();
        link = elements().find_map(|element| media_url(&element["MsgContent"]));
        elements().any(|element| matches_kind(element, native, words))
    })
    .await?;
    Ok(link)
}

/// The URL in the element of a picture or of a recording.
fn media_url(content: &Value) -> Option<String> {
    let links = [&content["ImageInfoArray"][0]["URL"], &content["Url"]];
    links.into_iter().find_map(|link| link.as_str().map(str::to_owned))
}

/// Whether the file begins like an MP3.
fn is_mp3(file: &[u8]) -> bool {
    file.starts_with(b"ID3") || file.starts_with(&[0xff])
}

/// Downloads the file behind the link as the agent's client would, if there is a link.
async fn expect_file(
    cast: &mut Cast<'_>,
    link: Option<String>,
    is_expected: impl FnOnce(&[u8]) -> bool,
) -> Checked {
    let Some(link) = link else { return Ok(()) };
    let expected = "the file behind the link";
    let download = async {
        let answer = loop {
            let answer = crate::http_client::get(&link).await?;
            // The bridge waits only a limited time for the file; then the client must retry.
            let is_pending =
                answer.status() == StatusCode::NOT_FOUND && answer.headers().contains_key(CACHE_CONTROL);
            if !is_pending {
                break answer.error_for_status()?;
            }
        };
        let kind =
            answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        Ok::<_, reqwest::Error>((kind.unwrap_or_default(), answer.bytes().await?))
    };
    let downloaded = within(FILE_DEADLINE, expected, download).await?;
    let (kind, file) =
        downloaded.map_err(|error| Mismatch::new(expected, error.without_url().to_string()))?;
    cast.block.detail(&format!("GET /media/…: {kind}, {} bytes", file.len()));
    expect(is_expected(&file), expected, || format!("{kind}, {} bytes", file.len()))
}

fn matches_kind(element: &Value, native: &[&str], words: &[&str]) -> bool {
    let is_native = element["MsgType"].as_str().is_some_and(|kind| native.contains(&kind));
    let content = element["MsgContent"].to_string().to_lowercase();
    is_native || words.iter().any(|word| content.contains(&word.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_native_element_or_a_text_that_names_the_kind_matches() {
        let text = |text: &str| json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}});
        let native = ["TIMImageElem"];
        assert!(matches_kind(&json!({"MsgType": "TIMImageElem", "MsgContent": {}}), &native, &["image"]));
        assert!(matches_kind(&text("Inquiry: [Image]\nhttp://x"), &native, &["image"]));
        assert!(!matches_kind(&text("Inquiry: something else"), &native, &["image"]));
    }
}
