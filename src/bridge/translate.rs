//! Helpers of both translations: joins lines and splits a text into messages. Does no I/O.

use super::impersonation::neutralized;
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

/// The first `chars` characters of a text, on one line.
pub(super) fn one_line(text: &str, chars: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().filter(|c| !c.is_control()).take(chars).collect();
    if cut.len() < line.len() { format!("{cut}…") } else { cut }
}

/// The calls for a text, split into parts that fit into one message each.
pub(super) fn text_calls(text: &str) -> Vec<OutboundCall> {
    split_text(text, TEXT_BYTES)
        .into_iter()
        .map(|part| OutboundCall::TextToAgent(neutralized(part)))
        .collect()
}
