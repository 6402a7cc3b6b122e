//! Translates an agent's message into calls to WeChat. Pure.

use super::translate::lines;
use crate::config::Locale;
use crate::model::{AnswerPart, Attachment, AttachmentKind, MediaName, OutboundCall, split_text};

/// The longest text that WeChat accepts for certain in one message, in bytes ("Text content",
/// "Length").
pub const TEXT_BYTES: usize = 2_000;

/// Returns the calls that carry an agent's message to the customer, in the order of its elements.
/// `new_name` returns a name for one more file.
pub fn calls(
    answer: &[AnswerPart],
    locale: Locale,
    mut new_name: impl FnMut() -> MediaName,
) -> Vec<OutboundCall> {
    answer.iter().flat_map(|part| part_calls(part, locale, &mut new_name)).collect()
}

fn part_calls(
    part: &AnswerPart,
    locale: Locale,
    new_name: &mut impl FnMut() -> MediaName,
) -> Vec<OutboundCall> {
    let label = label(part, locale).to_owned();
    let mut attachment_calls = |kind, url: &String, size: u64| {
        file_calls(Attachment { kind, url: url.clone(), size, name: new_name(), label: label.clone() })
    };
    match part {
        AnswerPart::Text(text) => text_calls(text),
        AnswerPart::Image { url, size, .. } => attachment_calls(AttachmentKind::Image, url, *size),
        AnswerPart::Sound { url, size, second } => {
            attachment_calls(AttachmentKind::Sound { second: *second }, url, *size)
        }
        AnswerPart::Video { url, size, thumb_url, .. } => {
            let kind = AttachmentKind::Video { thumb_url: thumb_url.clone(), thumb: new_name() };
            file_calls(Attachment { kind, url: url.clone(), size: *size, name: new_name(), label })
        }
        // WeChat accepts no files.
        AnswerPart::File { url, name, .. } => text_calls(&lines(&[&label, name, url])),
        AnswerPart::Location { latitude, longitude, description } => {
            text_calls(&lines(&[&label, description, &format!("{latitude},{longitude}")]))
        }
        AnswerPart::Face { data, .. } => text_calls(if data.trim().is_empty() { &label } else { data }),
        AnswerPart::Custom { data, description } => {
            text_calls(if description.trim().is_empty() { data } else { description })
        }
        AnswerPart::Relay { title, text, lines: digest } => {
            if text.trim().is_empty() {
                text_calls(&lines(&[title, &digest.join("\n")]))
            } else {
                text_calls(text)
            }
        }
        AnswerPart::Other { kind } => text_calls(&format!("[{kind}]")),
    }
}

/// The label that stands for an element without text, as the customer and the agent read it.
fn label(part: &AnswerPart, locale: Locale) -> &'static str {
    match (part, locale) {
        (AnswerPart::Image { .. }, Locale::En) => "[image]",
        (AnswerPart::Image { .. }, Locale::Ko) => "[사진]",
        (AnswerPart::Image { .. }, Locale::Zh) => "[图片]",
        (AnswerPart::Sound { .. }, Locale::En) => "[voice message]",
        (AnswerPart::Sound { .. }, Locale::Ko) => "[음성 메시지]",
        (AnswerPart::Sound { .. }, Locale::Zh) => "[语音]",
        (AnswerPart::File { .. }, Locale::En) => "[file]",
        (AnswerPart::File { .. }, Locale::Ko) => "[파일]",
        (AnswerPart::File { .. }, Locale::Zh) => "[文件]",
        (AnswerPart::Video { .. }, Locale::En) => "[video]",
        (AnswerPart::Video { .. }, Locale::Ko) => "[동영상]",
        (AnswerPart::Video { .. }, Locale::Zh) => "[视频]",
        (AnswerPart::Location { .. }, Locale::En) => "[location]",
        (AnswerPart::Location { .. }, Locale::Ko) => "[위치]",
        (AnswerPart::Location { .. }, Locale::Zh) => "[位置]",
        (AnswerPart::Face { .. }, Locale::En) => "[sticker]",
        (AnswerPart::Face { .. }, Locale::Ko) => "[이모티콘]",
        (AnswerPart::Face { .. }, Locale::Zh) => "[表情]",
        _ => "",
    }
}

/// The call for a file; a text if it has no address, or if the address is too long for a link in
/// one text.
fn file_calls(attachment: Attachment) -> Vec<OutboundCall> {
    let text = attachment.as_text(&attachment.url);
    let is_link = !attachment.url.trim().is_empty() && !attachment.url.contains(char::is_control);
    if !is_link || text.len() > TEXT_BYTES {
        return text_calls(text.trim());
    }
    vec![OutboundCall::MediaToCustomer(attachment)]
}

/// Returns no call for an empty text, which WeChat refuses.
///
/// Removes control characters: they are invisible and would have to be written as `\u` escapes,
/// which WeChat may refuse (40033).
fn text_calls(text: &str) -> Vec<OutboundCall> {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect();
    if text.trim().is_empty() {
        return Vec::new();
    }
    split_text(&text, TEXT_BYTES)
        .into_iter()
        .map(|part| OutboundCall::TextToCustomer(part.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn translate(answer: &[AnswerPart], locale: Locale) -> Vec<OutboundCall> {
        let mut drawn = 0;
        calls(answer, locale, || {
            drawn += 1;
            MediaName::of_bits(drawn)
        })
    }

    /// The text that a customer would read if nothing could be uploaded.
    fn text(order: &OutboundCall) -> String {
        match order {
            OutboundCall::TextToCustomer(text) => text.clone(),
            OutboundCall::MediaToCustomer(attachment) => attachment.as_text(&attachment.url),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn parts_concatenate_to_the_text(answer in "[a-z世界😀👩‍👩‍👧 \n]{0,4000}") {
            prop_assume!(!answer.trim().is_empty());
            let sent = translate(&[AnswerPart::Text(answer.clone())], Locale::En);
            prop_assert!(sent.iter().all(|order| text(order).len() <= TEXT_BYTES));
            prop_assert_eq!(sent.iter().map(text).collect::<String>(), answer);
        }

        #[test]
        fn every_text_fits_whatever_the_url_is(url in ".{0,3000}") {
            let part = AnswerPart::Image { url: url.clone(), size: 1, format: 1 };
            let sent = translate(&[part], Locale::Zh);
            prop_assert!(!sent.is_empty() && sent.iter().all(|order| text(order).len() <= TEXT_BYTES));
        }
    }

    #[test]
    fn elements_keep_their_order_and_empty_ones_are_dropped() {
        let (url, size) = ("https://example.com/f".to_owned(), 1);
        let sent = translate(
            &[
                AnswerPart::Text("first".into()),
                AnswerPart::Text("  ".into()),
                AnswerPart::Image { url: url.clone(), size, format: 1 },
                AnswerPart::File { url: url.clone(), size, name: "a.pdf".into() },
                AnswerPart::Sound { url: url.clone(), size, second: 6 },
                AnswerPart::Video {
                    url: url.clone(),
                    size,
                    second: 5,
                    format: "mp4".into(),
                    thumb_url: "https://example.com/t".into(),
                },
                AnswerPart::Location { latitude: 22.5, longitude: 114.0, description: "Station Rd 5".into() },
                AnswerPart::Face { index: 3, data: "smile".into() },
                AnswerPart::Face { index: 3, data: String::new() },
                AnswerPart::Custom { data: "{}".into(), description: "[order 7]".into() },
                AnswerPart::Custom { data: "{}".into(), description: String::new() },
                AnswerPart::Relay { title: "Chat".into(), text: String::new(), lines: vec!["Lin: M".into()] },
                AnswerPart::Relay { title: "Chat".into(), text: "[chat history]".into(), lines: Vec::new() },
                AnswerPart::Other { kind: "TIMStickerElem".into() },
                AnswerPart::Image { url: String::new(), size: 0, format: 255 },
            ],
            Locale::En,
        );
        assert_eq!(
            sent.iter().map(text).collect::<Vec<_>>(),
            [
                "first",
                "[image]\nhttps://example.com/f",
                "[file]\na.pdf\nhttps://example.com/f",
                "[voice message]\nhttps://example.com/f",
                "[video]\nhttps://example.com/f",
                "[location]\nStation Rd 5\n22.5,114",
                "smile",
                "[sticker]",
                "[order 7]",
                "{}",
                "Chat\nLin: M",
                "[chat history]",
                "[TIMStickerElem]",
                "[image]",
            ]
        );
        assert_eq!(sent.iter().filter(|order| order.needs_preparation()).count(), 3, "{sent:?}");
        let names: std::collections::BTreeSet<_> = sent
            .iter()
            .filter_map(|order| match order {
                OutboundCall::MediaToCustomer(attachment) => {
                    Some(attachment.names().cloned().collect::<Vec<_>>())
                }
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(names.len(), 4, "every file has a name of its own");
    }

    #[test]
    fn labels_are_in_the_configured_language() {
        let part = AnswerPart::Sound { url: "https://example.com/v".into(), size: 1, second: 1 };
        assert_eq!(text(&translate(&[part], Locale::Ko)[0]), "[음성 메시지]\nhttps://example.com/v");
    }
}
