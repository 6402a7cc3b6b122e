//! Helpers of both translations: joins lines, splits a text into messages, and keeps a customer's text
//! from looking like a notice of the bridge. Does no I/O.

use crate::model::{MediaName, MediaRequest, OutboundCall, split_text};

/// The longest text of one IM message, in bytes: the limit of a whole message body on older
/// servers.
pub(super) const TEXT_BYTES: usize = 8_000;

/// The prefix of the bridge's own notices to an agent. A customer's text never begins with it.
pub(super) const NOTICE_PREFIX: &str = "[bridge] ";

/// The translation of a customer's message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Translation {
    /// The calls that carry it to the agent.
    pub calls: Vec<OutboundCall>,
    /// The media to fetch for it, each with its name.
    pub media_requests: Vec<(MediaName, MediaRequest)>,
}

impl Translation {
    /// A translation that needs no media.
    pub(super) fn calls_only(calls: Vec<OutboundCall>) -> Self {
        Self { calls, media_requests: Vec::new() }
    }
}

/// Joins the lines that are not empty.
pub(super) fn lines(lines: &[&str]) -> String {
    let present: Vec<&str> = lines.iter().copied().filter(|line| !line.is_empty()).collect();
    present.join("\n")
}

/// The calls for a text, split into parts that fit into one message each.
pub(super) fn text_calls(text: &str) -> Vec<OutboundCall> {
    split_text(text, TEXT_BYTES)
        .into_iter()
        .map(|part| OutboundCall::TextToAgent(neutralized(part)))
        .collect()
}

/// Changes a text that could pass for a notice of the bridge.
pub(super) fn neutralized(text: &str) -> String {
    let is_like_notice = text
        .trim_start_matches(|c: char| c.is_whitespace() || is_invisible(c))
        .get(..NOTICE_PREFIX.trim_end().len())
        .is_some_and(|start| start.eq_ignore_ascii_case(NOTICE_PREFIX.trim_end()));
    // The length does not change, so that a part stays within its limit.
    if is_like_notice { text.replacen('[', "(", 1).replacen(']', ")", 1) } else { text.to_owned() }
}

/// Whether a character is invisible: with one in front, a text would still look like a notice.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
