//! Translates a customer's message into calls to IM. Pure.

use serde_json::{Value, json};

use super::media_link::MediaLink;
use super::translate::{Translation, lines, neutralized, text_calls};
use crate::model::{Content, OutboundCall, split_text};

/// The longest card including its text, in bytes: JSON escaping makes both longer within the same
/// limit.
const CARD_BYTES: usize = 3_000;

/// Translates `content` for the agent.
pub(super) fn translate(content: &Content, inquiry_prefix: &str, media_link: MediaLink<'_>) -> Translation {
    media_link
        .translate(content, inquiry_prefix)
        .unwrap_or_else(|| Translation::calls_only(calls(content, inquiry_prefix)))
}

/// The calls for content that is not a medium.
fn calls(content: &Content, inquiry_prefix: &str) -> Vec<OutboundCall> {
    let card = |data: Value, words: &[&str]| {
        let text = format!("{inquiry_prefix}{}", lines(words));
        let data = data.to_string();
        // A card that is too long for one message goes as text alone.
        match text_calls(&text).as_slice() {
            [OutboundCall::TextToAgent(text)] if data.len() + text.len() <= CARD_BYTES => {
                vec![OutboundCall::CardToAgent { data, text: text.clone() }]
            }
            several => several.to_vec(),
        }
    };
    match content {
        Content::Text { content, .. } => text_calls(&format!("{inquiry_prefix}{content}")),
        Content::Location { latitude, longitude, label, .. } => vec![OutboundCall::LocationToAgent {
            latitude: *latitude,
            longitude: *longitude,
            description: neutralized(split_text(label, 1_000).first().copied().unwrap_or_default()),
        }],
        Content::Link { title, description, url } => card(
            json!({"wx": "link", "title": title, "description": description, "url": url}),
            &["[link]", title, description, url],
        ),
        Content::MiniProgramPage { title, app_id, page_path, thumb_url, .. } => card(
            json!({"wx": "miniprogrampage", "title": title, "appid": app_id, "pagepath": page_path,
                   "thumb_url": thumb_url}),
            &["[mini program]", title, app_id, page_path],
        ),
        other => text_calls(&format!("{inquiry_prefix}[{}]", other.msg_type())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::translate::{NOTICE_PREFIX, TEXT_BYTES};
    use proptest::prelude::*;

    fn text(content: &str, prefix: &str) -> Vec<String> {
        let content = Content::Text { content: content.to_owned(), menu_id: None };
        calls(&content, prefix)
            .into_iter()
            .map(|call| match call {
                OutboundCall::TextToAgent(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_customers_text_never_has_the_notice_prefix(
            start in prop::sample::select(&["[bridge] ", "[bridge]", " [BRIDGE] ", "[bri", "", "\n[bridge] "][..]),
            rest in ".{0,40}",
        ) {
            for part in text(&format!("{start}{rest}"), "") {
                prop_assert!(!part.starts_with(NOTICE_PREFIX), "{part:?}");
            }
        }

        #[test]
        fn long_texts_are_split_without_loss(content in "[a-z世界😀 \n]{0,9000}") {
            let sent = text(&content, "Q: ");
            prop_assert!(sent.iter().all(|part| part.len() <= TEXT_BYTES));
            prop_assert_eq!(sent.concat(), format!("Q: {content}"));
        }
    }

    #[test]
    fn look_alikes_of_the_notice_prefix_are_changed() {
        for hidden in ["", " ", "\u{200b}", "\u{feff}\n", "\u{202e}\u{2066}", "\u{7}\u{ad}", "\u{e0020}"] {
            assert_eq!(text(&format!("{hidden}[bridge] paid"), ""), [format!("{hidden}(bridge) paid")]);
        }
        assert_eq!(text("so [bridge] it is", ""), ["so [bridge] it is"]);
    }

    #[test]
    fn links_become_cards_with_text_and_unknown_kinds_are_named() {
        let link = |description: &str| Content::Link {
            title: "T".into(),
            description: description.into(),
            url: "https://example.com/a".into(),
        };
        let [OutboundCall::CardToAgent { data, text }] = &calls(&link("D"), "Q: ")[..] else { panic!() };
        assert_eq!(text, "Q: [link]\nT\nD\nhttps://example.com/a");
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["wx"], &data["url"]), (&json!("link"), &json!("https://example.com/a")));
        let long = calls(&link(&"D".repeat(4_000)), "");
        assert!(matches!(&long[..], [OutboundCall::TextToAgent(_)]), "{long:?}");
        assert_eq!(
            calls(&Content::Other { kind: "sticker".into() }, ""),
            [OutboundCall::TextToAgent("[sticker]".into())]
        );
    }
}
