//! The layout of the transcript: plain text, aligned, at most [`WIDTH`] columns wide. The steps
//! decide what it contains.

use std::fmt::Write as _;

/// The widest line, in columns.
pub(super) const WIDTH: usize = 110;
/// Columns before the heading of an entry.
const INDENT: usize = 4;
/// Columns of a heading such as `customer → agent`, with the space after it.
const HEADING_WIDTH: usize = 18;
/// Columns of an entry's text.
const TEXT_WIDTH: usize = WIDTH - INDENT - HEADING_WIDTH;
/// Characters of a quoted text; a longer one is cut.
const QUOTE_LIMIT: usize = 300;

/// The transcript of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Block(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    heading: String,
    text: String,
}

impl Block {
    /// Adds a message, with its words in quotes.
    pub fn quote(&mut self, heading: &str, words: &str) {
        let mut quoted: String = words.chars().take(QUOTE_LIMIT).collect();
        if quoted.len() < words.len() {
            quoted.push('…');
        }
        // The debug format escapes line breaks and other invisible characters.
        self.event(heading, &format!("{quoted:?}"));
    }

    /// Adds an event in the script's own words.
    pub fn event(&mut self, heading: &str, text: &str) {
        self.0.push(Line { heading: heading.to_owned(), text: text.to_owned() });
    }

    /// Adds a detail to the previous entry, such as the API call that carried it.
    pub fn detail(&mut self, call: &str) {
        self.event("", call);
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
        let mut heading = self.heading.as_str();
        for part in wrap(&self.text, TEXT_WIDTH) {
            let gap = HEADING_WIDTH.saturating_sub(columns(heading));
            let _ = writeln!(text, "{:INDENT$}{heading}{:gap$}{part}", "", "");
            heading = "";
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
fn wrap(text: &str, limit: usize) -> Vec<&str> {
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
        block.quote("customer → shop", "신상품은 언제쯤\n나오나요?");
        block.detail("POST / text MsgId 1");
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
            block.detail(&words.join(" "));
            let text = block.render(1, "t", 1);
            prop_assert!(text.lines().all(|line| columns(line) <= WIDTH), "{}", text);
            let text_without_spaces: String = text.lines().skip(1).collect::<String>().replace(' ', "");
            prop_assert_eq!(text_without_spaces, words.concat());
        }
    }
}
