//! Bursts: while few of a customer's sends are left, lines that an agent types shortly after one another leave in one
//! call. Says which lines join the first one, and until when it waits for them.
//!
//! All of it follows from the lane as it is stored, so that a restart or another instance decides the same. Pure.

use super::passive_reply::{MAX_ATTACHED, join_lines};
use super::quota;
use super::to_wechat::TEXT_BYTES;
use crate::model::{MessageKind, Millis, OutboundCall};
use crate::store::{AttachState, Customer, PendingCall};

/// The most lines in one call, as in one passive reply.
pub(super) const MAX_LINES: usize = MAX_ATTACHED;
/// The first line waits at most this many times as long as a line waits for the next.
const MAX_WAITS: i64 = 3;

/// When lines are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRule {
    /// With fewer sends left than this.
    pub below: u32,
    /// How long a line waits for the next one, milliseconds.
    pub wait_ms: i64,
}

/// What becomes of the first line of a burst.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Burst {
    /// More lines may come: it waits until this time.
    Waits(Millis),
    /// Lines between its own may be missing: it waits until this time, unless the backfill ends earlier.
    BeforeBackfill(Millis),
    /// It leaves now, in one call with these lines behind it.
    Leaves(Vec<PendingCall>),
}

impl MergeRule {
    /// Whether so few sends are left that lines are merged.
    pub(super) fn is_due(self, customer: &Customer, now: Millis) -> bool {
        quota::budget(customer, now).is_ok_and(|left| left.sends < self.below)
    }

    /// The burst that begins with `first`. `behind`: the pending messages behind it in its lane, in order, `None` for one
    /// that cannot be read. `window_end`: when the first of the customer's windows closes.
    pub(super) fn burst(
        self,
        first: &PendingCall,
        behind: impl IntoIterator<Item = Option<PendingCall>>,
        window_end: Millis,
        now: Millis,
    ) -> Burst {
        let mut lines = Vec::new();
        let Some(text) = line(first) else { return Burst::Leaves(lines) };
        let (mut length, mut last_at, mut is_over) = (text.len(), first.created_at, false);
        for next in behind {
            let joined = next.filter(|next| self.joins(first, last_at, next)).and_then(|next| {
                let longer = length + 1 + line(&next)?.len();
                (longer <= TEXT_BYTES && lines.len() + 1 < MAX_LINES).then_some((longer, next))
            });
            let Some((longer, next)) = joined else {
                is_over = true;
                break;
            };
            length = longer;
            last_at = last_at.max(next.created_at);
            lines.push(next);
        }
        let longest_ms = MAX_WAITS.saturating_mul(self.wait_ms);
        let until = last_at.plus(self.wait_ms).min(self.limit(first));
        let has_room = length + 1 < TEXT_BYTES && lines.len() + 1 < MAX_LINES;
        // It can only be further off because the clock was set back.
        let is_ahead = (1..=self.wait_ms).contains(&until.since(now));
        if !is_over && has_room && is_ahead && window_end.since(now) > longest_ms {
            Burst::Waits(until)
        } else {
            Burst::Leaves(lines)
        }
    }

    /// Whether `next` belongs to the burst of `first`, whose last line so far was typed at `last_at`.
    fn joins(self, first: &PendingCall, last_at: Millis, next: &PendingCall) -> bool {
        next.agent == first.agent && next.created_at.since(last_at) <= self.wait_ms
    }

    /// The latest time at which the burst that begins with `first` leaves.
    pub(super) fn limit(self, first: &PendingCall) -> Millis {
        first.created_at.plus(MAX_WAITS.saturating_mul(self.wait_ms))
    }
}

/// The text of a message that may be merged: a whole text that has never been held, released or sent again by command.
fn line(call: &PendingCall) -> Option<&str> {
    let is_fresh = call.waiting_since == call.created_at && call.generation == 0;
    let is_whole = call.call_count == 1 && call.kind == MessageKind::Message;
    let is_free = !call.unsettled && call.attached == AttachState::Detached;
    match &call.call {
        OutboundCall::TextToCustomer(text) if is_fresh && is_whole && is_free => Some(text),
        _ => None,
    }
}

/// The text of one call that sends all of `lines`.
pub(super) fn joined_text<'a>(lines: impl IntoIterator<Item = &'a PendingCall>) -> String {
    let texts = lines.into_iter().filter_map(|line| match &line.call {
        OutboundCall::TextToCustomer(text) => Some(text.as_str()),
        _ => None,
    });
    join_lines(&texts.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
