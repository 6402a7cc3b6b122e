//! The text splitter: the parts together are the text, none is too long, and no grapheme that fits
//! into a part is cut.

use std::collections::BTreeMap;

use unicode_segmentation::UnicodeSegmentation as _;
use wechat_im_bridge::internals::model::split_text;

/// The first byte of `input` is the maximum length of a part; the rest is the text.
pub fn check(input: &[u8]) {
    let Some((&max, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    for max in [usize::from(max), 2_000] {
        check_parts(&text, max);
    }
}

fn check_parts(text: &str, max: usize) {
    let parts = split_text(text, max);
    let max = max.max(4);
    assert_eq!(parts.concat(), text);
    assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= max), "{parts:?}");
    let graphemes: BTreeMap<usize, &str> = text.grapheme_indices(true).collect();
    let mut cut = 0;
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        cut += part.len();
        let (start, cut_through) = graphemes.range(..=cut).next_back().unwrap();
        assert!(*start == cut || cut_through.len() > max, "{cut_through:?} is cut in {parts:?}");
        // The splitter may leave a quarter unused to cut at a space, and three bytes to keep a
        // character whole.
        let next = if *start == cut { cut_through.len() } else { 4 };
        assert!(part.len() + next + 3 >= max - max / 4, "{part:?} wastes room in {parts:?}");
    }
}
