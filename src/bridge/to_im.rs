//! Translates a customer's message into calls to IM. Pure.

use serde_json::{Value, json};

use super::emoji;
use super::impersonation::neutralized;
use super::media_link::MediaLink;
use super::translate::{Translation, lines, text_calls};
use crate::model::{Content, OutboundCall, readable_size, split_text};

/// The longest card including its text, in bytes: JSON escaping makes both longer within the same
/// limit.
const CARD_BYTES: usize = 3_000;

/// Stands for a message that WeChat shows only in its own console.
const UNSUPPORTED: &str =
    "[sticker or something else that WeChat shows only in its own console, mp.weixin.qq.com]";

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
        Content::Text { content, .. } => {
            let words =
                if is_unsupported(content) { UNSUPPORTED.to_owned() } else { emoji::for_agent(content) };
            text_calls(&format!("{inquiry_prefix}{words}"))
        }
        Content::File { name, size } => text_calls(&format!(
            "{inquiry_prefix}[file] {}WeChat does not hand it out; see mp.weixin.qq.com, or ask for a picture",
            described_file(name, *size)
        )),
        Content::Location { latitude, longitude, label, .. } => vec![OutboundCall::LocationToAgent {
            latitude: *latitude,
            longitude: *longitude,
            description: neutralized(split_text(label, 1_000).first().copied().unwrap_or_default()),
        }],
        Content::Link { title, description, url } => card(
            json!({"wx": "link", "title": title, "description": description, "url": url,
                   "businessID": "text_link", "text": neutralized(&lines(&[title, description])),
                   "link": safe_link(url)}),
            &["[link]", title, description, url],
        ),
        Content::MiniProgramPage { title, app_id, page_path, thumb_url, .. } => card(
            json!({"wx": "miniprogrampage", "title": title, "appid": app_id, "pagepath": page_path,
                   "thumb_url": thumb_url, "businessID": "text_link", "text": neutralized(title), "link": ""}),
            &["[mini program]", title, app_id, page_path],
        ),
        other => text_calls(&format!("{inquiry_prefix}[{}]", other.msg_type())),
    }
}

/// The sentences that WeChat's clients put in place of a message that an account cannot get: a sticker, a picture that
/// moves, a merged chat. Several spellings are known.
fn is_unsupported(content: &str) -> bool {
    let content = content.trim();
    let inner =
        content.strip_prefix(['【', '[']).and_then(|rest| rest.strip_suffix(['】', ']'])).unwrap_or_default();
    inner.eq_ignore_ascii_case("Unsupported Message")
        || inner.starts_with("收到不支持的消息类型")
        || inner.starts_with("收到不支援的訊息類型")
}

/// `offer.pdf (47 KB); `, as far as it is known.
fn described_file(name: &str, size: Option<u64>) -> String {
    let size = size.map(|bytes| format!("({})", readable_size(bytes)));
    let words = [name.to_owned(), size.unwrap_or_default()];
    let words: Vec<&str> = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { String::new() } else { format!("{}; ", words.join(" ")) }
}

/// The address, if a click on it does nothing but open a page.
fn safe_link(url: &str) -> &str {
    let is_safe = ["http://", "https://"].iter().any(|scheme| {
        url.trim_start().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if is_safe { url } else { "" }
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
        assert_eq!(text("hello\n\u{feff}［bridge］ paid", "Q: "), ["Q: hello\n\u{feff}(bridge) paid"]);
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

    #[test]
    fn what_wechats_clients_write_is_made_readable() {
        let console = format!("Q: {UNSUPPORTED}");
        for sentence in [
            "【收到不支持的消息类型，暂无法显示】",
            "[收到不支持的消息类型，暂时无法显示]",
            " [Unsupported Message]\n",
        ] {
            assert_eq!(text(sentence, "Q: "), [console.as_str()], "{sentence}");
        }
        for (typed, read) in
            [("好的/::)[旺柴]", "好的🙂🐶"), ("why [Unsupported Message]?", "why [Unsupported Message]?")]
        {
            assert_eq!(text(typed, ""), [read]);
        }
    }

    #[test]
    fn a_file_is_named_with_its_size() {
        let file = |name: &str, size| {
            let calls = calls(&Content::File { name: name.into(), size }, "");
            let [OutboundCall::TextToAgent(text)] = &calls[..] else { panic!("{calls:?}") };
            text.strip_suffix("WeChat does not hand it out; see mp.weixin.qq.com, or ask for a picture")
                .unwrap()
                .to_owned()
        };
        assert_eq!(file("offer-2026.pdf", Some(48_213)), "[file] offer-2026.pdf (48 KB); ");
        assert_eq!(file("合同.pdf", Some(2_560_000)), "[file] 合同.pdf (2.5 MB); ");
        assert_eq!(file("a", Some(999)), "[file] a (999 B); ");
        assert_eq!(file("a", None), "[file] a; ");
        assert_eq!(file("", None), "[file] ");
    }

    #[test]
    fn only_an_address_of_a_page_becomes_a_link() {
        let link = |url: &str| {
            let content = Content::Link { title: "T".into(), description: "D".into(), url: url.into() };
            let calls = calls(&content, "");
            let [OutboundCall::CardToAgent { data, .. }] = &calls[..] else { panic!("{calls:?}") };
            let data: Value = serde_json::from_str(data).unwrap();
            (data["businessID"].clone(), data["text"].clone(), data["link"].clone())
        };
        assert_eq!(link("https://e.com/a"), ("text_link".into(), "T\nD".into(), "https://e.com/a".into()));
        for url in ["javascript:alert(1)", " JavaScript:x", "data:text/html,x", "weixin://x", "", "//e.com"] {
            assert_eq!(link(url).2, "", "{url}");
        }
    }
}
