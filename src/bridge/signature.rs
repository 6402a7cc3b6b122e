//! The agent's name on the first answer of a conversation. Pure.

use super::MAX_TEXT_BYTES;
use crate::config::Locale;
use crate::model::{OutboundCall, split_text};

/// The calls of an answer with `name` before its first words; unchanged if it does not begin with a text.
pub(super) fn signed(locale: Locale, name: &str, calls: &[OutboundCall]) -> Vec<OutboundCall> {
    let Some((OutboundCall::TextToCustomer(text), rest)) = calls.split_first() else {
        return calls.to_vec();
    };
    let text = match locale {
        Locale::En | Locale::Ko => format!("{name}: {text}"),
        Locale::Zh => format!("{name}：{text}"),
    };
    let parts = split_text(&text, MAX_TEXT_BYTES).into_iter();
    let first = parts.map(|part| OutboundCall::TextToCustomer(part.to_owned()));
    first.chain(rest.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_before_the_first_words_and_nothing_gets_too_long() {
        let text = |words: &str| OutboundCall::TextToCustomer(words.to_owned());
        let calls = [text("Hello."), text("Bye.")];
        assert_eq!(signed(Locale::En, "Anna", &calls), [text("Anna: Hello."), text("Bye.")]);
        assert_eq!(signed(Locale::Zh, "小李", &calls)[0], text("小李：Hello."));
        let long = signed(Locale::Ko, "Anna", &[text(&"x".repeat(MAX_TEXT_BYTES)), text("Bye.")]);
        assert_eq!((long.len(), &long[2]), (3, &text("Bye.")));
        assert_eq!(long[1], text("xxxxxx"));
        assert!(signed(Locale::En, "Anna", &[]).is_empty());
    }
}
