//! One message of every kind that is no text. The agent sees the kind's own element, or a text that says what came.

use serde_json::Value;

use super::cast::{CUSTOMER_TO_SHOP, Cast, Played};
use crate::sandbox::im;
use crate::sandbox::wechat::{Pushed, tiny_png};

/// Two frames of silence in AMR.
pub(super) const VOICE: &[u8] = b"#!AMR\n\x04\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0";
/// The head of an MP4 file, and no picture.
const VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08mdat";
/// The page that is shared.
const TITLE: &str = "Spring collection";
const URL: &str = "https://example.com/spring";
/// A kind that nobody knows yet.
const UNKNOWN: &str = "hologram";

pub(super) async fn image(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    let native = ["TIMImageElem"];
    arrives(cast, "image", phone.send_image(tiny_png()), &native, &["image", "picture", "사진", "图片"]).await
}

pub(super) async fn voice(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    let native = ["TIMSoundElem", "TIMFileElem"];
    arrives(cast, "voice", phone.send_voice(VOICE, "amr"), &native, &["voice", "음성", "语音"]).await
}

pub(super) async fn video(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    let native = ["TIMVideoFileElem", "TIMFileElem"];
    arrives(cast, "video", phone.send_video(VIDEO, tiny_png()), &native, &["video", "동영상", "视频"]).await
}

pub(super) async fn short_video(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    let native = ["TIMVideoFileElem", "TIMFileElem"];
    let push = phone.send_shortvideo(VIDEO, tiny_png());
    arrives(cast, "shortvideo", push, &native, &["video", "동영상", "视频"]).await
}

pub(super) async fn location(cast: &mut Cast<'_>) -> Played {
    const LATITUDE: f64 = 31.230_416;
    const LONGITUDE: f64 = 121.473_701;
    const LABEL: &str = "People's Square, Shanghai";
    let phone = cast.customer.clone();
    sends(cast, "location", phone.send_location(LATITUDE, LONGITUDE, 16, LABEL)).await?;
    let is_place = |send: &im::Send| {
        let content = &send.elements[0]["MsgContent"];
        let near = |name: &str, degrees: f64| {
            content[name].as_f64().is_some_and(|given| (given - degrees).abs() < 1e-6)
        };
        send.elements[0]["MsgType"] == "TIMLocationElem"
            && near("Latitude", LATITUDE)
            && near("Longitude", LONGITUDE)
            && content["Desc"].as_str().is_some_and(|given| given.contains(LABEL))
    };
    let expected = format!("TIMLocationElem at {LATITUDE}, {LONGITUDE}, {LABEL:?}");
    cast.agent_sees(&expected, is_place).await
}

pub(super) async fn link(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    arrives(cast, "link", phone.send_link(TITLE, "New in May", URL), &[], &[URL]).await
}

pub(super) async fn mini_program(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    let push = phone.send_mini_program(TITLE, "wx5a4db0c0a99a99a9", "pages/spring");
    arrives(cast, "miniprogrampage", push, &[], &[TITLE]).await
}

pub(super) async fn unknown(cast: &mut Cast<'_>) -> Played {
    let phone = cast.customer.clone();
    arrives(cast, UNKNOWN, phone.send_unknown(UNKNOWN), &[], &[UNKNOWN]).await
}

/// The customer sends it, and is told that an agent is being fetched.
async fn sends(cast: &mut Cast<'_>, kind: &str, push: impl Future<Output = Pushed>) -> Played {
    cast.block.did(CUSTOMER_TO_SHOP, &format!("a message of kind {kind}"));
    let pushed = cast.push(kind, push).await?;
    let texts = cast.texts;
    cast.replied(&pushed, &texts.transferring)
}

/// The agent sees an element of a `native` type, or one that has one of the `words` in it.
async fn arrives(
    cast: &mut Cast<'_>,
    kind: &str,
    push: impl Future<Output = Pushed>,
    native: &[&str],
    words: &[&str],
) -> Played {
    sends(cast, kind, push).await?;
    let mut expected = format!("a message that says {}", words.join(" or "));
    if !native.is_empty() {
        expected = format!("{}, or {expected}", native.join(" or "));
    }
    cast.agent_sees(&expected, |send| {
        send.elements.as_array().into_iter().flatten().any(|element| fits(element, native, words))
    })
    .await
}

fn fits(element: &Value, native: &[&str], words: &[&str]) -> bool {
    let is_native = element["MsgType"].as_str().is_some_and(|kind| native.contains(&kind));
    let content = element["MsgContent"].to_string().to_lowercase();
    is_native || words.iter().any(|word| content.contains(&word.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_element_of_its_own_fits_and_so_does_a_text_that_names_the_kind() {
        let text = |text: &str| json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}});
        let native = ["TIMImageElem"];
        assert!(fits(&json!({"MsgType": "TIMImageElem", "MsgContent": {}}), &native, &["image"]));
        assert!(fits(&text("Inquiry: [Image]\nhttp://x"), &native, &["image"]));
        assert!(!fits(&text("Inquiry: something came"), &native, &["image"]));
    }
}
