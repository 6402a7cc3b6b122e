//! Messages: the elements of each `MsgType` (reference: "Fields per type").
//!
//! A missing element reads as an empty text: WeChat drops fields without notice, and the message
//! must still arrive.

use super::xml::Element;
use crate::model::Content;

/// Reads the message of a push whose `MsgType` is `kind`.
pub(super) fn read(root: &Element, kind: &str) -> Content {
    let text = |name: &str| root.text(name).unwrap_or_default().to_owned();
    let word = |name: &str| root.trimmed_text(name).map(str::to_owned);
    let id = |name: &str| word(name).unwrap_or_default();
    match kind.to_ascii_lowercase().as_str() {
        "text" => Content::Text { content: text("Content"), menu_id: word("bizmsgmenuid") },
        "image" => Content::Image { pic_url: id("PicUrl"), media_id: id("MediaId") },
        "voice" => Content::Voice {
            media_id: id("MediaId"),
            media_id_16k: word("MediaId16K"),
            format: id("Format"),
            recognition: word("Recognition"),
        },
        "video" => Content::Video { media_id: id("MediaId"), thumb_media_id: id("ThumbMediaId") },
        "shortvideo" => Content::ShortVideo { media_id: id("MediaId"), thumb_media_id: id("ThumbMediaId") },
        "location" => location(root).unwrap_or_else(|| Content::Other { kind: "location".to_owned() }),
        "link" => Content::Link { title: text("Title"), description: text("Description"), url: id("Url") },
        "miniprogrampage" => Content::MiniProgramPage {
            title: text("Title"),
            app_id: id("AppId"),
            page_path: id("PagePath"),
            thumb_url: id("ThumbUrl"),
            thumb_media_id: id("ThumbMediaId"),
        },
        "file" => Content::File { name: text("Title"), size: root.number("FileTotalLen") },
        _ => Content::Other { kind: kind.to_owned() },
    }
}

/// Reads a place; `None` without readable coordinates, because neither the store nor IM can carry
/// such a place.
fn location(root: &Element) -> Option<Content> {
    let degrees = |name: &str| root.number::<f64>(name).filter(|degrees| degrees.is_finite());
    Some(Content::Location {
        latitude: degrees("Location_X")?,
        longitude: degrees("Location_Y")?,
        scale: root.number("Scale").unwrap_or_default(),
        label: root.text("Label").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    fn message(kind: &str, elements: &str) -> Content {
        read(&xml::read(format!("<xml>{elements}</xml>").as_bytes()).unwrap(), kind)
    }

    fn s(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn every_kind_of_the_reference_is_read() {
        for (kind, elements, content) in [
            (
                "text",
                "<Content><![CDATA[你好, bridge]]></Content>",
                Content::Text { content: s("你好, bridge"), menu_id: None },
            ),
            (
                "text",
                "<Content><![CDATA[满意]]></Content><bizmsgmenuid>101</bizmsgmenuid>",
                Content::Text { content: s("满意"), menu_id: Some(s("101")) },
            ),
            (
                "image",
                "<PicUrl><![CDATA[http://mmbiz.qpic.cn/mmbiz_jpg/abc/0]]></PicUrl>\
                 <MediaId><![CDATA[img_media_1]]></MediaId>",
                Content::Image {
                    pic_url: s("http://mmbiz.qpic.cn/mmbiz_jpg/abc/0"),
                    media_id: s("img_media_1"),
                },
            ),
            (
                "voice",
                "<MediaId><![CDATA[voice_8k_1]]></MediaId><Format><![CDATA[amr]]></Format>\
                 <Recognition><![CDATA[]]></Recognition><MediaId16K><![CDATA[voice_16k_1]]></MediaId16K>",
                Content::Voice {
                    media_id: s("voice_8k_1"),
                    media_id_16k: Some(s("voice_16k_1")),
                    format: s("amr"),
                    recognition: None,
                },
            ),
            (
                "voice",
                "<MediaId>v</MediaId><Format>speex</Format><Recognition>在吗</Recognition>",
                Content::Voice {
                    media_id: s("v"),
                    media_id_16k: None,
                    format: s("speex"),
                    recognition: Some(s("在吗")),
                },
            ),
            (
                "video",
                "<MediaId><![CDATA[vid_1]]></MediaId><ThumbMediaId><![CDATA[thumb_1]]></ThumbMediaId>",
                Content::Video { media_id: s("vid_1"), thumb_media_id: s("thumb_1") },
            ),
            (
                "shortvideo",
                "<MediaId>vid_1</MediaId><ThumbMediaId>thumb_1</ThumbMediaId>",
                Content::ShortVideo { media_id: s("vid_1"), thumb_media_id: s("thumb_1") },
            ),
            (
                "location",
                "<Location_X>31.230416</Location_X><Location_Y> 121.473701\n</Location_Y><Scale>16</Scale>\
                 <Label><![CDATA[上海市黄浦区]]></Label>",
                Content::Location {
                    latitude: 31.230_416,
                    longitude: 121.473_701,
                    scale: 16,
                    label: s("上海市黄浦区"),
                },
            ),
            (
                "link",
                "<Title><![CDATA[T]]></Title><Description><![CDATA[D]]></Description>\
                 <Url><![CDATA[https://example.com/a]]></Url>",
                Content::Link { title: s("T"), description: s("D"), url: s("https://example.com/a") },
            ),
            (
                "miniprogrampage",
                "<Title>T</Title><AppId>wx1</AppId><PagePath>p/i</PagePath><ThumbUrl>u</ThumbUrl>\
                 <ThumbMediaId>m</ThumbMediaId>",
                Content::MiniProgramPage {
                    title: s("T"),
                    app_id: s("wx1"),
                    page_path: s("p/i"),
                    thumb_url: s("u"),
                    thumb_media_id: s("m"),
                },
            ),
            (
                "file",
                "<Title><![CDATA[offer-2026.pdf]]></Title><Description></Description><FileKey>k</FileKey>\
                 <FileMd5>0</FileMd5><FileTotalLen>48213</FileTotalLen>",
                Content::File { name: s("offer-2026.pdf"), size: Some(48_213) },
            ),
            ("hologram", "<MediaId>x</MediaId>", Content::Other { kind: s("hologram") }),
        ] {
            assert_eq!(message(kind, elements), content, "{kind} {elements}");
        }
    }

    #[test]
    fn missing_elements_are_empty() {
        assert_eq!(message("text", ""), Content::Text { content: s(""), menu_id: None });
        assert_eq!(message("image", ""), Content::Image { pic_url: s(""), media_id: s("") });
    }

    #[test]
    fn a_location_without_coordinates_is_another_kind() {
        for elements in [
            "",
            "<Location_X>31.2</Location_X>",
            "<Location_X>NaN</Location_X><Location_Y>1</Location_Y>",
            "<Location_X>1</Location_X><Location_Y>inf</Location_Y>",
        ] {
            assert_eq!(message("location", elements), Content::Other { kind: s("location") }, "{elements}");
        }
    }
}
