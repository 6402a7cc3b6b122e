//! Splits text into parts of limited size, preferably at line breaks and spaces.
//!
//! Never adds, drops or changes a byte: the concatenated parts equal the text.

use unicode_segmentation::GraphemeCursor;

/// The spaces after which a part may end. No-break spaces are not among them.
const SPACES: [char; 3] = [' ', '\t', '\u{3000}'];

/// Splits `text` into parts of at most `max_bytes` bytes of UTF-8 each. A `max_bytes` below 4
/// counts as 4, because a character can need 4 bytes. No part is empty, so empty text has no parts.
///
/// A part ends after a line break in its last quarter, or else after a space there, or else between
/// two graphemes. A grapheme longer than `max_bytes` is split between its characters.
pub fn split_text(text: &str, max_bytes: usize) -> Vec<&str> {
    let max = max_bytes.max(4);
    let mut parts = Vec::new();
    let mut start = 0;
    while text.len() - start > max {
        let end = split_point(text, start, max);
        parts.push(&text[start..end]);
        start = end;
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

/// A file's size for people, such as `48 KB`. Units are powers of ten.
pub fn readable_size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", (bytes + 500) / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// The end of the part of `text` that begins at `start`. More than `max` bytes must follow `start`.
///
/// Looks for grapheme boundaries in the whole text: in a row of regional indicators, the start of
/// the row decides which two letters form a flag.
fn split_point(text: &str, start: usize, max: usize) -> usize {
    let last = text.floor_char_boundary(start + max);
    let Some(end) = boundary_at_or_before(text, last).filter(|end| *end > start) else { return last };
    let window = text.floor_char_boundary(start + max - max / 4).min(end);
    let end_after = |found: Option<(usize, &str)>| found.map(|(at, what)| window + at + what.len());
    let after_line = end_after(text[window..end].rmatch_indices('\n').next());
    // A space with a combining mark is one grapheme with it, so the text cannot be split between
    // them.
    let after_space = || {
        text[window..end]
            .rmatch_indices(SPACES)
            .map(|found| end_after(Some(found)).unwrap_or(end))
            .find(|at| boundary_at_or_before(text, *at) == Some(*at))
    };
    after_line.or_else(after_space).unwrap_or(end)
}

/// The last grapheme boundary at or before `at`.
fn boundary_at_or_before(text: &str, at: usize) -> Option<usize> {
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    // The cursor gets the whole text, so it never lacks context and cannot fail.
    match cursor.is_boundary(text, 0) {
        Ok(true) => Some(at),
        _ => cursor.prev_boundary(text, 0).ok().flatten(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation as _;

    use super::*;

    /// Pieces that combine into longer graphemes, and arbitrary text.
    fn tricky_text() -> impl Strategy<Value = String> {
        const PIECES: [&str; 19] = [
            "a",
            "客",
            "é",
            "e\u{301}",
            " ",
            " \u{301}",
            "\u{3000}",
            "\n",
            "\r\n",
            "\r",
            "🇨🇳",
            "🇨",
            "👩‍👩‍👧‍👦",
            "👍🏽",
            "\u{200d}",
            "한",
            "\u{1112}\u{1161}\u{11ab}",
            "क्षि",
            "word",
        ];
        let joined = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..80);
        prop_oneof![joined.prop_map(|pieces| pieces.concat()), any::<String>()]
    }

    proptest! {
        #[test]
        fn parts_concatenate_to_the_text_and_none_is_too_long(text in tricky_text(), max in 0_usize..60) {
            let parts = split_text(&text, max);
            prop_assert_eq!(parts.concat(), text.as_str());
            for part in parts {
                prop_assert!(!part.is_empty());
                prop_assert!(part.len() <= max.max(4));
            }
        }

        #[test]
        fn no_grapheme_that_fits_is_split(text in tricky_text(), more in 0_usize..40) {
            let max = text.graphemes(true).map(str::len).max().unwrap_or(0).max(4) + more;
            let graphemes: Vec<&str> = split_text(&text, max).iter().flat_map(|part| part.graphemes(true)).collect();
            prop_assert_eq!(graphemes, text.graphemes(true).collect::<Vec<_>>());
        }

        #[test]
        fn parts_are_well_filled(text in "[a-z \n客]{0,300}", max in 8_usize..60) {
            let parts = split_text(&text, max);
            for part in parts.iter().rev().skip(1) {
                // A part may lose a quarter to end after a space, and two bytes before a character
                // of three.
                prop_assert!(part.len() + 3 >= max - max / 4, "{part:?} of {max}");
            }
        }
    }

    #[test]
    fn line_breaks_are_preferred_to_spaces_and_spaces_to_other_boundaries() {
        assert_eq!(split_text("0123456\n89 1 34567890", 16), ["0123456\n89 1 ", "34567890"]);
        assert_eq!(split_text("0123456789ab\nd f1234", 16), ["0123456789ab\n", "d f1234"]);
        assert_eq!(split_text("01 3456789abcdef1234", 16), ["01 3456789abcdef", "1234"]);
    }

    #[test]
    fn short_text_is_one_part_and_empty_text_none() {
        assert_eq!(split_text("您好", 6), ["您好"]);
        assert_eq!(split_text("您好", 5), ["您", "好"]);
        assert!(split_text("", 2000).is_empty());
    }

    #[test]
    fn a_grapheme_longer_than_a_part_is_split_between_characters() {
        let long = format!("e{}", "\u{301}".repeat(10));
        let parts = split_text(&long, 8);
        assert_eq!(parts.concat(), long);
        assert!(parts.iter().all(|part| part.len() <= 8));
    }

    #[test]
    fn a_split_grapheme_does_not_shift_the_flags_after_it() {
        let prepended = "\u{110bd}".repeat(3);
        let text = format!("{prepended}🇨🇳🇰🇷🇬🇧");
        assert_eq!(split_text(&text, 8)[1..], ["\u{110bd}🇨", "🇳", "🇰🇷", "🇬🇧"]);
    }
}
