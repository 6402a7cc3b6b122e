//! Translates an agent's message into calls to WeChat. Pure.

use unicode_segmentation::UnicodeSegmentation as _;

use super::translate::{NOTICE_PREFIX, lines};
use super::{emoji, notice};
use crate::config::Locale;
use crate::media::download::Forbidden;
use crate::model::{
    Answer, AnswerPart, Attachment, AttachmentKind, Card, MediaName, MenuItem, OutboundCall, SmallerPicture,
    split_text,
};

/// The longest text that WeChat accepts for certain in one message, in bytes ("Text content",
/// "Length").
pub const TEXT_BYTES: usize = 2_000;

/// The longest quote of the message that an answer replies to, in characters as people count them.
const MAX_QUOTE_CHARS: usize = 40;

/// The texts that the translation depends on.
#[derive(Clone, Copy, Debug)]
pub struct Wording<'a> {
    /// The language of labels.
    pub locale: Locale,
    /// What the bridge puts before a customer's words. It comes off what an agent forwards.
    pub inquiry_prefix: &'a str,
    /// The addresses of media that nobody may follow, which the customer therefore never reads.
    pub refused: &'a [(String, Forbidden)],
}

impl Wording<'_> {
    /// The rule that forbids the address `url`.
    fn refusal(self, url: &str) -> Option<Forbidden> {
        self.refused.iter().find(|(refused, _)| refused == url).map(|(_, why)| *why)
    }
}

/// The address of a medium; `None` for an element of another kind.
pub fn address(part: &AnswerPart) -> Option<&str> {
    match part {
        AnswerPart::Image { url, .. }
        | AnswerPart::Sound { url, .. }
        | AnswerPart::Video { url, .. }
        | AnswerPart::File { url, .. } => Some(url),
        _ => None,
    }
}

/// Returns the calls that carry an agent's message to the customer, in the order of its elements.
/// `new_name` returns a name for one more file.
pub fn calls(
    answer: &Answer,
    wording: Wording<'_>,
    mut new_name: impl FnMut() -> MediaName,
) -> Vec<OutboundCall> {
    let mut parts = answer.parts.iter();
    let mut calls = Vec::new();
    if let Some(quote) = answer.quoted.as_deref().and_then(|words| quote(words, wording)) {
        match answer.parts.first() {
            Some(AnswerPart::Text(text)) => {
                calls.extend(text_calls(&lines(&[&quote, &readable(text, wording)])));
                parts.next();
            }
            Some(_) => calls.extend(text_calls(&quote)),
            None => {}
        }
    }
    calls.extend(parts.flat_map(|part| part_calls(part, wording, &mut new_name)));
    calls
}

/// What the agent must know: elements that do not go to the customer as they are, in the order of
/// the message.
pub fn notices(answer: &Answer, wording: Wording<'_>) -> Vec<String> {
    let locale = wording.locale;
    let of_part = |part: &AnswerPart| match (part, address(part)) {
        (AnswerPart::Untranslatable(why), _) => Some(notice::untranslatable(locale, *why)),
        (AnswerPart::BadCard(problem), _) => Some(notice::bad_card(locale, *problem)),
        (_, Some(url)) if !has_address(url) => Some(notice::without_address(locale, label(part, locale))),
        (_, Some(url)) => {
            wording.refusal(url).map(|why| notice::refused_address(locale, label(part, locale), why))
        }
        _ => None,
    };
    answer.parts.iter().filter_map(of_part).collect()
}

/// The line before an answer that quotes another message; `None` if the customer does not know that
/// message.
fn quote(words: &str, wording: Wording<'_>) -> Option<String> {
    if words.starts_with(NOTICE_PREFIX.trim_end()) {
        return None;
    }
    let words = readable(words, wording).split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = words.graphemes(true).take(MAX_QUOTE_CHARS).collect();
    let more = if cut.len() < words.len() { "…" } else { "" };
    (!cut.is_empty()).then(|| format!("「{cut}{more}」"))
}

/// An agent's words as a customer reads them.
fn readable(text: &str, wording: Wording<'_>) -> String {
    let prefix = wording.inquiry_prefix.trim();
    let forwarded = text.trim_start().strip_prefix(prefix).filter(|_| !prefix.is_empty());
    emoji::for_customer(forwarded.map_or(text, str::trim_start))
}

/// Whether a medium has an address that can be followed.
fn has_address(url: &str) -> bool {
    !url.trim().is_empty() && !url.contains(char::is_control)
}

fn part_calls(
    part: &AnswerPart,
    wording: Wording<'_>,
    new_name: &mut impl FnMut() -> MediaName,
) -> Vec<OutboundCall> {
    let label = label(part, wording.locale).to_owned();
    let attachment = |kind, url: &str, size, label: &str, name| Attachment {
        kind,
        url: url.to_owned(),
        size,
        name,
        label: label.to_owned(),
        smaller: None,
    };
    match part {
        AnswerPart::Text(text) => text_calls(&readable(text, wording)),
        AnswerPart::Custom { text } => text_calls(&emoji::for_customer(text)),
        AnswerPart::Untranslatable(_) | AnswerPart::BadCard(_) => Vec::new(),
        AnswerPart::Card(card) => vec![card_call(card, new_name)],
        AnswerPart::Image { url, smaller, size, .. } => {
            let mut picture = attachment(AttachmentKind::Image, url, *size, &label, new_name());
            let smaller = smaller.as_ref().filter(|url| has_address(url));
            picture.smaller = smaller.map(|url| SmallerPicture { url: url.clone(), name: new_name() });
            file_calls(picture, wording)
        }
        AnswerPart::Sound { url, size, second } => {
            let kind = AttachmentKind::Sound { second: *second };
            file_calls(attachment(kind, url, *size, &label, new_name()), wording)
        }
        AnswerPart::Video { url, size, thumb_url, .. } => {
            let kind = AttachmentKind::Video { thumb_url: thumb_url.clone(), thumb: new_name() };
            file_calls(attachment(kind, url, *size, &label, new_name()), wording)
        }
        AnswerPart::File { url, size, name } => {
            let file_name: String = name.chars().filter(|c| !c.is_control()).collect();
            let label = lines(&[&label, &file_name]);
            let kind = AttachmentKind::File { file_name };
            file_calls(attachment(kind, url, *size, &label, new_name()), wording)
        }
        AnswerPart::Location { latitude, longitude, description } => {
            text_calls(&lines(&[&label, description, &format!("{latitude},{longitude}")]))
        }
        // Its data is the name of a picture that only the kit has.
        AnswerPart::Face { .. } => text_calls(&label),
        // Every kit's compatible text asks the reader to upgrade the SDK.
        AnswerPart::Relay { title, text, lines: digest } => {
            let words = lines(&[title, &digest.join("\n")]);
            text_calls(&emoji::for_customer(if words.trim().is_empty() { text } else { &words }))
        }
        AnswerPart::Other { kind } => text_calls(&format!("[{kind}]")),
    }
}

/// The call for a card. What the customer taps in a menu comes back as a text.
fn card_call(card: &Card, new_name: &mut impl FnMut() -> MediaName) -> OutboundCall {
    match card {
        Card::Menu { head, items, tail } => {
            let item =
                |(id, content): (u32, &String)| MenuItem { id: id.to_string(), content: content.clone() };
            OutboundCall::MenuToCustomer {
                head: head.clone(),
                items: (1..).zip(items).map(item).collect(),
                tail: tail.clone(),
            }
        }
        Card::News { .. } | Card::MiniProgram { .. } => {
            OutboundCall::CardToCustomer { card: card.clone(), picture: new_name() }
        }
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
/// one text. A text without the address if nobody may follow that.
fn file_calls(attachment: Attachment, wording: Wording<'_>) -> Vec<OutboundCall> {
    if wording.refusal(&attachment.url).is_some() {
        return text_calls(attachment.as_text("").trim());
    }
    let text = attachment.as_text(&attachment.url);
    if !has_address(&attachment.url) || text.len() > TEXT_BYTES {
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
mod tests;
