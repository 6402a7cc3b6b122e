//! From what a customer did to what is owed to the agent. Pure.

use crate::model::{Content, Order, parts};

/// The longest text of one IM message, in bytes: the older servers' limit of a whole message body.
const TEXT_BYTES: usize = 8_000;

/// What the bridge's own words to an agent begin with; a customer's never do.
pub const NOTE_PREFIX: &str = "[bridge] ";

/// The orders that carry `content` to the agent.
pub fn orders(content: &Content, inquiry_prefix: &str) -> Vec<Order> {
    match content {
        Content::Text { content, .. } => texts(&format!("{inquiry_prefix}{content}")),
        Content::Location { latitude, longitude, label, .. } => vec![Order::LocationToAgent {
            latitude: *latitude,
            longitude: *longitude,
            description: neutral(parts(label, 1_000).first().copied().unwrap_or_default()),
        }],
        Content::Link { title, description, url } => {
            texts(&format!("{inquiry_prefix}{}", lines(&["[link]", title, description, url])))
        }
        Content::MiniProgramPage { title, app_id, page_path, .. } => {
            texts(&format!("{inquiry_prefix}{}", lines(&["[mini program]", title, app_id, page_path])))
        }
        Content::Image { pic_url, .. } => texts(&format!("{inquiry_prefix}{}", lines(&["[image]", pic_url]))),
        Content::Voice { recognition, .. } => texts(&format!(
            "{inquiry_prefix}{}",
            lines(&["[voice message]", recognition.as_deref().unwrap_or_default()])
        )),
        Content::Video { .. } => texts(&format!("{inquiry_prefix}[video]")),
        Content::ShortVideo { .. } => texts(&format!("{inquiry_prefix}[short video]")),
        Content::Other { kind } => texts(&format!("{inquiry_prefix}[{kind}]")),
    }
}

fn lines(lines: &[&str]) -> String {
    let present: Vec<&str> = lines.iter().copied().filter(|line| !line.is_empty()).collect();
    present.join("\n")
}

fn texts(text: &str) -> Vec<Order> {
    parts(text, TEXT_BYTES).into_iter().map(|part| Order::TextToAgent(neutral(part))).collect()
}

/// Makes sure that a customer's words cannot pass for the bridge's.
fn neutral(text: &str) -> String {
    let is_note = text
        .trim_start_matches(|c: char| c.is_whitespace() || is_invisible(c))
        .get(..NOTE_PREFIX.trim_end().len())
        .is_some_and(|start| start.eq_ignore_ascii_case(NOTE_PREFIX.trim_end()));
    // As long as before, so that a part stays within its limit.
    if is_note { text.replacen('[', "(", 1).replacen(']', ")", 1) } else { text.to_owned() }
}

/// What no screen shows: a note with one of these before it looks like a note.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(content: &str, prefix: &str) -> Vec<String> {
        let content = Content::Text { content: content.to_owned(), menu_id: None };
        orders(&content, prefix)
            .into_iter()
            .map(|order| match order {
                Order::TextToAgent(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_customer_never_speaks_as_the_bridge(
            start in prop::sample::select(&["[bridge] ", "[bridge]", " [BRIDGE] ", "[bri", "", "\n[bridge] "][..]),
            rest in ".{0,40}",
        ) {
            for part in text(&format!("{start}{rest}"), "") {
                prop_assert!(!part.starts_with(NOTE_PREFIX), "{part:?}");
            }
        }

        #[test]
        fn long_texts_go_as_several_and_lose_nothing(content in "[a-z世界😀 \n]{0,9000}") {
            let sent = text(&content, "Q: ");
            prop_assert!(sent.iter().all(|part| part.len() <= TEXT_BYTES));
            prop_assert_eq!(sent.concat(), format!("Q: {content}"));
        }
    }

    #[test]
    fn what_only_looks_like_the_bridges_words_is_changed_too() {
        for hidden in ["", " ", "\u{200b}", "\u{feff}\n", "\u{202e}\u{2066}", "\u{7}\u{ad}", "\u{e0020}"] {
            assert_eq!(text(&format!("{hidden}[bridge] paid"), ""), [format!("{hidden}(bridge) paid")]);
        }
        assert_eq!(text("so [bridge] it is", ""), ["so [bridge] it is"]);
    }

    #[test]
    fn every_other_kind_says_what_came() {
        let kinds = [
            Content::Image { pic_url: "http://mmbiz.qpic.cn/x/0".into(), media_id: "m".into() },
            Content::Voice {
                media_id: "m".into(),
                media_id_16k: None,
                format: "amr".into(),
                recognition: None,
            },
            Content::Video { media_id: "m".into(), thumb_media_id: "t".into() },
            Content::ShortVideo { media_id: "m".into(), thumb_media_id: "t".into() },
            Content::Link {
                title: "T".into(),
                description: String::new(),
                url: "https://example.com/a".into(),
            },
            Content::Other { kind: "sticker".into() },
        ];
        let said: Vec<String> = kinds
            .iter()
            .flat_map(|content| orders(content, ""))
            .map(|order| match order {
                Order::TextToAgent(text) => text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            said,
            [
                "[image]\nhttp://mmbiz.qpic.cn/x/0",
                "[voice message]",
                "[video]",
                "[short video]",
                "[link]\nT\nhttps://example.com/a",
                "[sticker]"
            ]
        );
    }
}
