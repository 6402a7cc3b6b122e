//! What came of an attempt: what is recorded of it, and how the log tells it.
//!
//! Must never name a platform's reason in the log, because it may quote the message.

use crate::bridge::notice::NoticeKind;
use crate::model::{HoldReason, Lane, MessageKind, Move};
use crate::outbox::TextNotice;
use crate::store::Settlement;

impl TextNotice {
    pub(super) fn kind(&self) -> NoticeKind<'_> {
        match self {
            Self::Link(why) => NoticeKind::AsLink { why },
            Self::Label(why) => NoticeKind::AsLabel { why },
        }
    }
}

/// The outcome of an attempt, to be recorded.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) transition: Move,
    pub(super) settlement: Settlement,
    pub(super) hold_reason: Option<HoldReason>,
    /// The reason as the agent reads it; `None`: the recorded reason.
    pub(super) agent_reason: Option<String>,
    pub(super) label: &'static str,
    /// The agent is told what the send has left of the customer's budget, if it counts.
    pub(super) tells_budget: bool,
}

impl Outcome {
    /// Whether WeChat has counted the send, or may have.
    pub(super) fn counts(&self) -> bool {
        self.settlement.call_done || matches!(self.transition, Move::Deliver | Move::MarkUnknown)
    }

    pub(super) fn new(transition: Move, label: &'static str, why: Option<String>) -> Self {
        let settlement = Settlement { why, ..Settlement::default() };
        Self { transition, settlement, hold_reason: None, agent_reason: None, label, tells_budget: false }
    }
}

/// Logs the recorded outcome of an attempt. The platform's reason is left out, because it may quote
/// the message; `trace` shows it.
pub(super) fn log_outcome(lane: &Lane, transition: Move, kind: MessageKind, has_notice: bool) {
    let lane = lane.direction.name();
    match (transition, kind) {
        (Move::Deliver, MessageKind::Message) => tracing::debug!(lane, "delivered the message"),
        (Move::Deliver, _) => tracing::debug!(lane, "made an account call, a notice or a transfer"),
        (Move::Hold, _) => {
            tracing::info!(lane, has_notice, "the message is held until its customer writes again");
        }
        (Move::Refuse, MessageKind::Message) => {
            tracing::warn!(lane, has_notice, "the platform refused the message; it will not be retried");
        }
        (Move::Refuse, MessageKind::Rating) => {
            tracing::warn!(lane, "WeChat does not take the menu that asks for a rating; nobody is asked");
        }
        // Such as one about a customer whose account is deleted meanwhile.
        (Move::Refuse, MessageKind::Notice) => {
            tracing::warn!(lane, "a notice did not reach its agent; it will not be retried");
        }
        (Move::Refuse, MessageKind::GroupMenu) => {
            tracing::warn!(lane, "the menu of groups could not be sent; this follower is not asked");
        }
        (Move::Refuse, _) => tracing::error!(
            lane,
            "the platform refused an account call or a transfer; it will not be retried"
        ),
        (Move::MarkUnknown, _) => {
            tracing::warn!(
                lane,
                has_notice,
                "it is unknown whether the message arrived; it will not be repeated"
            );
        }
        _ => {}
    }
}
