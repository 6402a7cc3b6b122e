//! The layout of the transcript: plain text, aligned, at most [`WIDTH`] columns wide. The steps
//! decide what it contains.

use std::fmt::Write as _;

/// The widest line, in columns.
pub(super) const WIDTH: usize = 110;
/// Columns before the heading of an entry.
const INDENT: usize = 4;
/// Columns of a heading such as `customer → agent`, with the space after it.
const WHO: usize = 18;
/// Columns of an entry's text.
const TEXT: usize = WIDTH - INDENT - WHO;
/// Characters of a quoted text; a longer one is cut.
const TOLD: usize = 300;

/// The transcript of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Block(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    who: String,
    what: String,
}

impl Block {
    /// Adds a message: `who` is the heading, and `words` are quoted.
    pub fn said(&mut self, who: &str, words: &str) {
        let mut told: String = words.chars().take(TOLD).collect();
        if told.len() < words.len() {
            told.push('…');
        }
        // The debug format escapes line breaks and other invisible characters.
        self.did(who, &format!("{told:?}"));
    }

    /// Adds an event in the script's own words.
    pub fn did(&mut self, who: &str, what: &str) {
        self.0.push(Line { who: who.to_owned(), what: what.to_owned() });
    }

    /// Adds a detail to the previous entry, such as the API call that carried it.
    pub fn by(&mut self, call: &str) {
        self.did("", call);
    }

    /// The step as text: a line with number, title and time, then one or more lines for each entry.
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

/// Columns that a terminal gives a character: two for wide East Asian characters and for emoji.
fn width(c: char) -> usize {
    let is_wide = matches!(c,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}');
    if is_wide { 2 } else { 1 }
}

/// Columns that a terminal gives a text.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// `text` in pieces of at most `limit` columns, cut at spaces if possible.
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
