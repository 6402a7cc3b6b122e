//! The names of emoji on both platforms, and the Unicode emoji that every client draws. Pure.
//!
//! Tencent's IM clients send `[TUIEmoji_Smile]`, older ones a Chinese name such as `[下雨]`. WeChat sends codes such as
//! `/::)`, names such as `[旺柴]`, and characters of a private area. Neither draws the names of the other. The table
//! `emoji.tsv` holds both, checked against the published clients.

use std::collections::HashMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

static TABLE: &str = include_str!("emoji.tsv");

/// How a key of Tencent's newer clients begins. A key that the table does not know is shown by its name.
const TUIKIT_KEY: &str = "[TUIEmoji_";

/// One row of the table; an absent name is empty.
struct Row {
    tuikit_key: &'static str,
    wechat_zh: &'static str,
    wechat_en: &'static str,
    code: &'static str,
    unicode: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().skip(1).filter_map(|line| {
        let mut cells = line.split('\t');
        let (tuikit_key, wechat_zh, wechat_en) = (cells.next()?, cells.next()?, cells.next()?);
        Some(Row { tuikit_key, wechat_zh, wechat_en, code: cells.next()?, unicode: cells.next()? })
    })
}

/// Replaces names by emoji: the longest name first, each place once.
struct Replacer {
    names: Option<AhoCorasick>,
    emoji: Vec<&'static str>,
}

impl Replacer {
    fn new(pairs: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        // The first row that has a name wins.
        let mut first: HashMap<String, usize> = HashMap::new();
        let (mut names, mut emoji) = (Vec::new(), Vec::new());
        for (name, unicode) in pairs {
            if !name.is_empty() && first.insert(name.clone(), names.len()).is_none() {
                names.push(name);
                emoji.push(unicode);
            }
        }
        // A table of 400 short names cannot exceed the automaton's limits; without it, names stay as they are.
        let names = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&names).ok();
        Self { names, emoji }
    }

    fn replace(&self, text: &str) -> String {
        match &self.names {
            Some(names) => names.replace_all(text, &self.emoji),
            None => text.to_owned(),
        }
    }
}

static FROM_IM: LazyLock<Replacer> =
    LazyLock::new(|| Replacer::new(rows().map(|row| (row.tuikit_key.to_owned(), row.unicode))));

static NAMES_FROM_WECHAT: LazyLock<Replacer> = LazyLock::new(|| {
    let names = rows().flat_map(|row| {
        let names = row.wechat_zh.split('|').chain(row.wechat_en.split('|'));
        let private = private_characters(row.code).into_iter();
        names.map(str::to_owned).chain(private).map(move |name| (name, row.unicode)).collect::<Vec<_>>()
    });
    Replacer::new(names)
});

static CODES_FROM_WECHAT: LazyLock<Replacer> = LazyLock::new(|| {
    let codes = rows().filter(|row| row.code.starts_with('/'));
    Replacer::new(codes.map(|row| (row.code.to_owned(), row.unicode)))
});

/// WeChat's Chinese names of emoji without their brackets. After a slash, WeChat draws them too: `/微笑`.
static BARE_NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let names = rows().flat_map(|row| row.wechat_zh.split('|'));
    names
        .filter_map(|name| name.strip_prefix('[')?.strip_suffix(']'))
        .filter(|name| !name.is_ascii())
        .collect()
});

/// Whether `text` begins with the Chinese name of an emoji that WeChat draws after a slash.
pub(super) fn starts_with_wechat_name(text: &str) -> bool {
    BARE_NAMES.iter().any(|name| text.starts_with(name))
}

/// The private-use characters that a cell names as `U+E412`.
fn private_characters(cell: &str) -> Vec<String> {
    let code = cell.strip_prefix("U+").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    code.and_then(char::from_u32).map(String::from).into_iter().collect()
}

/// An agent's text with emoji that WeChat draws. WeChat draws its own names and codes itself, so that they stay.
/// A key that the table does not know becomes its bare name: `[TUIEmoji_New]` is `[New]`.
pub(super) fn for_customer(text: &str) -> String {
    if !text.contains('[') {
        return text.to_owned();
    }
    FROM_IM.replace(text).replace(TUIKIT_KEY, "[")
}

/// A customer's text with emoji that IM clients draw. A code inside an address (`https://example.com/:v`) is part of
/// the address, and a name that the table does not know stays as it is.
pub(super) fn for_agent(text: &str) -> String {
    let named = NAMES_FROM_WECHAT.replace(text);
    if !named.contains("/:") {
        return named;
    }
    let word =
        |word: &str| if word.contains("://") { word.to_owned() } else { CODES_FROM_WECHAT.replace(word) };
    named.split_inclusive(char::is_whitespace).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole() {
        assert_eq!(rows().count(), TABLE.lines().count() - 1);
        for row in rows() {
            assert!(!row.unicode.is_empty() && row.unicode.chars().all(|c| !c.is_ascii_alphabetic()));
            assert!(!(row.tuikit_key.is_empty() && row.wechat_zh.is_empty() && row.code.is_empty()));
        }
        assert_eq!(rows().filter(|row| row.tuikit_key.starts_with(TUIKIT_KEY)).count(), 62);
        assert_eq!(rows().filter(|row| row.code.starts_with('/')).count(), 105);
        assert_eq!(rows().filter(|row| row.code.starts_with("U+")).count(), 12);
    }

    #[test]
    fn each_key_of_im_becomes_its_emoji_and_nothing_else_changes() {
        for row in rows().filter(|row| !row.tuikit_key.is_empty()) {
            assert_eq!(for_customer(&format!("a{}b", row.tuikit_key)), format!("a{}b", row.unicode));
        }
        assert_eq!(for_customer("您好[TUIEmoji_Smile]稍等"), "您好🙂稍等");
        assert_eq!(for_customer("[TUIEmoji_Brand_New]"), "[Brand_New]");
        // WeChat draws these itself.
        for own in ["[微笑]", "/::)", "[旺柴]", "[order 7]", "plain"] {
            assert_eq!(for_customer(own), own);
        }
    }

    #[test]
    fn each_name_and_code_of_wechat_becomes_an_emoji() {
        for row in rows() {
            for name in
                row.wechat_zh.split('|').chain(row.wechat_en.split('|')).filter(|name| !name.is_empty())
            {
                assert!(!for_agent(name).contains('['), "{name}");
            }
            let code = private_characters(row.code).pop().unwrap_or_else(|| row.code.to_owned());
            assert_eq!(
                for_agent(&format!("好{code}")),
                format!("好{}", if code.is_empty() { "" } else { row.unicode })
            );
        }
        assert_eq!(for_agent("好的/::)[旺柴]/:rose"), "好的🙂🐶🌹");
        assert_eq!(for_agent("[no such name]"), "[no such name]");
    }

    #[test]
    fn the_longest_code_wins_and_an_address_is_left_alone() {
        // `/::-|` begins like `/::-O`, and `/:,@-D` like `/:,@P`.
        assert_eq!(for_agent("/::-|"), "😅");
        assert_eq!(
            for_agent("see https://example.com/:v/:li and /:v"),
            "see https://example.com/:v/:li and ✌️"
        );
    }
}
