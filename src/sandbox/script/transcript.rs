//! How the transcript looks: plain text, aligned, no wider than a terminal. Decides nothing about what is told.

use std::fmt::Write as _;

/// Widest line, in columns.
pub(super) const WIDTH: usize = 110;
const INDENT: usize = 4;
/// `customer → agent` and the space after it.
const WHO: usize = 18;
const TEXT: usize = WIDTH - INDENT - WHO;
/// A longer text is told by its beginning, in characters.
const TOLD: usize = 300;

/// What happened in one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Block(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    who: String,
    what: String,
}

impl Block {
    /// Somebody said something: who, to whom, and the words, which are quoted.
    pub fn said(&mut self, who: &str, words: &str) {
        let mut told: String = words.chars().take(TOLD).collect();
        if told.len() < words.len() {
            told.push('…');
        }
        // Line breaks and whatever else shows nothing become escapes.
        self.did(who, &format!("{told:?}"));
    }

    /// Somebody did something, in our words.
    pub fn did(&mut self, who: &str, what: &str) {
        self.0.push(Line { who: who.to_owned(), what: what.to_owned() });
    }

    /// The call that carried what was told last, or what else is to be known about it.
    pub fn by(&mut self, call: &str) {
        self.did("", call);
    }

    /// The step as text: a head with its number, title and time, then a line or more for each entry.
    pub fn render(&self, number: usize, title: &str, took_ms: u128) -> String {
        let time = format!("{took_ms} ms");
        let title = format!("{number:>2}  {title}");
        let gap = WIDTH.saturating_sub(columns(&title) + time.len());
        let mut text = format!("{title}{:gap$}{time}\n", "");
        for line in &self.0 {
            line.render(&mut text);
        }
        text
    }
}

impl Line {
    fn render(&self, text: &mut String) {
        let mut who = self.who.as_str();
        for part in wrapped(&self.what, TEXT) {
            let gap = WHO.saturating_sub(columns(who));
            let _ = writeln!(text, "{:INDENT$}{who}{:gap$}{part}", "", "");
            who = "";
        }
    }
}

/// How many columns a terminal gives a character: two for the East Asian wide ones and for emoji.
fn width(c: char) -> usize {
    let is_wide = matches!(c,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}');
    if is_wide { 2 } else { 1 }
}

pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// `text` in pieces of at most `limit` columns, cut at spaces where there are any.
fn wrapped(text: &str, limit: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while columns(rest) > limit {
        let mut used = 0;
        let fits = rest
            .char_indices()
            .find(|(_, c)| {
                used += width(*c);
                used > limit
            })
            .map_or(rest.len(), |(at, _)| at);
        let cut = rest[..fits].rfind(' ').filter(|&at| at > 0).unwrap_or(fits);
        lines.push(&rest[..cut]);
        rest = rest[cut..].trim_start_matches(' ');
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_is_aligned() {
        let mut block = Block::default();
        block.said("customer → shop", "신상품은 언제쯤\n나오나요?");
        block.by("POST / text MsgId 1");
        let text = block.render(3, "A question", 12);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(columns(lines[0]), WIDTH);
        assert!(lines[0].starts_with(" 3  A question  ") && lines[0].ends_with(" 12 ms"), "{text}");
        assert_eq!(lines[1], "    customer → shop   \"신상품은 언제쯤\\n나오나요?\"");
        assert_eq!(lines[2], "                      POST / text MsgId 1");
    }

    proptest! {
        #[test]
        fn nothing_is_too_wide_and_no_word_is_lost(words in prop::collection::vec("[a-z나来😀]{1,150}", 0..12)) {
            let mut block = Block::default();
            block.by(&words.join(" "));
            let text = block.render(1, "t", 1);
            prop_assert!(text.lines().all(|line| columns(line) <= WIDTH), "{}", text);
            let kept: String = text.lines().skip(1).collect::<String>().replace(' ', "");
            prop_assert_eq!(kept, words.concat());
        }
    }
}
