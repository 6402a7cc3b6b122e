//! The life of a message: its states, the moves between them, and its outbound calls.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Attachment, Card, MediaInfo, MediaName, OpenId};

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// From the customer, or from the bridge itself, to Tencent IM.
    ToIm,
    /// From an agent to the customer in WeChat.
    ToWechat,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::ToIm, Self::ToWechat];

    /// The name in output, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToIm => "to_im",
            Self::ToWechat => "to_wechat",
        }
    }
}

/// The queue of one conversation's messages in one direction. Its messages leave in the order in
/// which they were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The direction of its messages.
    pub direction: Direction,
    /// The customer whose conversation it is.
    pub customer: OpenId,
}

/// The kind of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessageKind {
    /// A message from a customer or an agent.
    Message,
    /// An import or deletion of the customer's IM account.
    Account,
    /// A notice from the bridge itself to an agent.
    Notice,
    /// The earlier messages that an agent gets on taking over a conversation. Sent before all other
    /// waiting messages.
    Transfer,
    /// An agent's note for other agents. It is stored as delivered and never sent.
    Note,
    /// The menu that asks a customer for a rating. It is sent now or never.
    Rating,
    /// The menu that asks a new follower for the group of agents. It is sent now or never.
    GroupMenu,
}

impl MessageKind {
    /// The name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Account => "account",
            Self::Notice => "notice",
            Self::Transfer => "transfer",
            Self::Note => "note",
            Self::Rating => "rating",
            Self::GroupMenu => "group_menu",
        }
    }

    /// Whether it is never sent if it cannot be sent now: nobody wants it days later.
    pub fn is_now_or_never(self) -> bool {
        matches!(self, Self::Rating | Self::GroupMenu)
    }
}

/// The state of a message. Every message ends in one of `Delivered`, `Refused`, `Unknown`, `Recalled` and
/// `Unreadable`, or is held. A deferred one is released at a time that is known, a queued one when
/// an agent is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Stored, and waiting for the messages before it or for its next attempt.
    Accepted,
    /// An attempt is recorded and may be in progress.
    Sending,
    /// The platform accepted it.
    Delivered,
    /// It waits until the customer acts.
    Held,
    /// It is never sent.
    Refused,
    /// It may or may not have arrived.
    Unknown,
    /// Its agent recalled it before all of it had left; what had not left is never sent.
    Recalled,
    /// Its stored data cannot be read, so it was set aside.
    Unreadable,
    /// A customer's message that waits until the agents work again.
    Deferred,
    /// A customer's message that waits in the line until an agent is free.
    Queued,
}

/// A change of a message's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// An attempt begins.
    Attempt,
    /// The platform accepted it, or its history shows that it did.
    Deliver,
    /// The attempt definitely failed, and another one may succeed.
    Requeue,
    /// The customer cannot be reached now.
    Hold,
    /// The customer acted, the agents work again, or one is free, so the message may be sent.
    Release,
    /// The agents work again, but none is free.
    Queue,
    /// It can never succeed, or it is too old.
    Refuse,
    /// There is no way to know whether the attempt succeeded.
    MarkUnknown,
    /// Its stored data cannot be read.
    SetAside,
    /// An operator wants it sent again. Allowed from every state.
    Reopen,
    /// Its agent recalls it.
    Recall,
    /// An operator discards it. Allowed from every state.
    Discard,
}

/// A move that is not allowed from the message's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message in the state {from:?} cannot make the move {transition:?}")]
pub struct IllegalMove {
    /// The message's state.
    pub from: State,
    /// The requested move.
    pub transition: Move,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Sending,
        Self::Delivered,
        Self::Held,
        Self::Refused,
        Self::Unknown,
        Self::Recalled,
        Self::Unreadable,
        Self::Deferred,
        Self::Queued,
    ];

    /// The state after a move. This is the only table of moves; a move that it does not list is a
    /// bug.
    pub fn after(self, transition: Move) -> Result<Self, IllegalMove> {
        use State::{
            Accepted, Deferred, Delivered, Held, Queued, Recalled, Refused, Sending, Unknown, Unreadable,
        };
        match (self, transition) {
            (Accepted | Held, Move::Attempt) => Ok(Sending),
            (Sending | Unknown, Move::Deliver) => Ok(Delivered),
            (Sending, Move::Requeue) | (Held | Deferred | Queued, Move::Release) | (_, Move::Reopen) => {
                Ok(Accepted)
            }
            (Deferred, Move::Queue) => Ok(Queued),
            (Accepted | Sending, Move::Hold) => Ok(Held),
            (Accepted | Sending | Held | Unknown | Deferred | Queued, Move::Refuse) | (_, Move::Discard) => {
                Ok(Refused)
            }
            (Sending, Move::MarkUnknown) => Ok(Unknown),
            // What is being sent now cannot be caught any more.
            (Accepted | Held | Refused | Unreadable, Move::Recall) => Ok(Recalled),
            (Accepted | Sending | Held, Move::SetAside) => Ok(Unreadable),
            (from, transition) => Err(IllegalMove { from, transition }),
        }
    }

    /// Whether the outbox still has to act on the message.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Accepted | Self::Sending)
    }

    /// The name in output, logs and metrics. Both open states are named `waiting`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted | Self::Sending => "waiting",
            Self::Delivered => "delivered",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Recalled => "recalled",
            Self::Unreadable => "unreadable",
            Self::Deferred => "deferred",
            Self::Queued => "queued",
        }
    }
}

/// One API call that a message still needs. A message has one or several, which are made in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutboundCall {
    /// Imports the customer's IM account, if it does not exist yet.
    ImportAccount,
    /// Deletes the customer's IM account.
    DeleteAccount,
    /// Sends text to the agent from the customer's account.
    TextToAgent(String),
    /// Sends the agent the line that precedes the first message of a conversation: what was known of the customer at its
    /// acceptance. What WeChat tells of the customer is added when it is sent. If it is not sent, the message is.
    FirstLineToAgent(String),
    /// Sends a location to the agent from the customer's account.
    LocationToAgent {
        /// Degrees.
        latitude: f64,
        /// Degrees.
        longitude: f64,
        /// The description that the agent sees.
        description: String,
    },
    /// Sends a picture, recording or video to the agent from the customer's account.
    MediaToAgent(MediaInfo),
    /// Sends a card to the agent from the customer's account.
    CardToAgent {
        /// JSON for clients that can draw the card.
        data: String,
        /// The text for all other clients.
        text: String,
    },
    /// Shows the agent an earlier message to or from another agent.
    #[serde(rename = "PastToAgent")]
    EarlierMessageToAgent {
        /// The text of the message.
        text: String,
        /// The time of the message, in Unix seconds.
        at_s: i64,
        /// The customer's medium that the message is, shown in place of the text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        medium: Option<MediaInfo>,
    },
    /// An agent's note, which is kept for other agents. No platform is ever asked to send it.
    Note(String),
    /// Sends a menu to the customer, who taps one of its items.
    MenuToCustomer {
        /// The text above the items; may be empty.
        head: String,
        /// The items.
        items: Vec<MenuItem>,
        /// The text below the items; may be empty.
        tail: String,
    },
    /// Sends text to the customer; at most 2,000 bytes.
    TextToCustomer(String),
    /// Sends a file to the customer, or a text with a link to it.
    MediaToCustomer(Attachment),
    /// Sends a page or a page of a mini-program to the customer. A menu is [`OutboundCall::MenuToCustomer`].
    CardToCustomer {
        /// The card.
        card: Card,
        /// The name under which the bridge keeps the picture of a mini-program's page.
        picture: MediaName,
    },
}

/// An item of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MenuItem {
    /// WeChat gives it back when the customer taps the item.
    pub id: String,
    /// What the customer reads.
    pub content: String,
}

impl OutboundCall {
    /// Whether the call needs slow work before each attempt, such as an upload. That work can
    /// safely be repeated.
    pub fn needs_preparation(&self) -> bool {
        matches!(
            self,
            Self::MediaToCustomer(_)
                | Self::MediaToAgent(_)
                | Self::CardToCustomer { card: Card::MiniProgram { .. }, .. }
        )
    }

    /// Whether the calls behind it are made even if this one is refused, or nobody knows what became of it.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::FirstLineToAgent(_))
    }

    /// The name of the API call, as traces show it.
    pub fn api_name(&self) -> &'static str {
        match self {
            Self::ImportAccount => "account_import",
            Self::DeleteAccount => "account_delete",
            Self::TextToAgent(_)
            | Self::FirstLineToAgent(_)
            | Self::LocationToAgent { .. }
            | Self::MediaToAgent(_)
            | Self::CardToAgent { .. } => "sendmsg",
            Self::EarlierMessageToAgent { .. } => "importmsg",
            Self::Note(_) => "none",
            Self::TextToCustomer(_)
            | Self::MenuToCustomer { .. }
            | Self::MediaToCustomer(_)
            | Self::CardToCustomer { .. } => "custom/send",
        }
    }

    /// The text that a customer gets in place of what only `custom/send` can send; `None` if the call goes to no customer.
    pub fn text_for_customer(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::TextToCustomer(text) => text.into(),
            Self::MediaToCustomer(attachment) => attachment.as_text(&attachment.url).into(),
            Self::CardToCustomer { card, .. } => card.as_text().into(),
            Self::MenuToCustomer { head, items, tail } => {
                let items = items.iter().map(|item| &item.content);
                let lines = std::iter::once(head).chain(items).chain(std::iter::once(tail));
                let lines: Vec<&str> = lines.map(String::as_str).filter(|line| !line.is_empty()).collect();
                lines.join("\n").into()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOVES: [Move; 12] = [
        Move::Attempt,
        Move::Deliver,
        Move::Requeue,
        Move::Hold,
        Move::Release,
        Move::Queue,
        Move::Refuse,
        Move::MarkUnknown,
        Move::SetAside,
        Move::Reopen,
        Move::Recall,
        Move::Discard,
    ];

    proptest! {
        #[test]
        fn delivered_and_recalled_messages_stay_so_unless_an_operator_acts(
            moves in prop::collection::vec(prop::sample::select(&MOVES[..]), 0..40)
        ) {
            let mut state = State::Accepted;
            let mut delivered = false;
            for transition in moves {
                let by_operator = matches!(transition, Move::Reopen | Move::Discard);
                if let Ok(next) = state.after(transition) {
                    prop_assert!(!delivered || by_operator, "{state:?} {transition:?} {next:?}");
                    prop_assert!(state != State::Recalled || by_operator, "{transition:?} {next:?}");
                    delivered = next == State::Delivered;
                    state = next;
                }
            }
        }
    }

    #[test]
    fn an_attempt_is_recorded_before_anything_can_be_delivered() {
        assert!(State::Accepted.after(Move::Deliver).is_err());
        assert!(State::Held.after(Move::Deliver).is_err());
    }

    #[test]
    fn an_operator_can_retry_and_discard_a_message_in_every_state() {
        for state in State::ALL {
            assert_eq!(state.after(Move::Reopen), Ok(State::Accepted), "{state:?}");
            assert_eq!(state.after(Move::Discard), Ok(State::Refused), "{state:?}");
        }
    }

    #[test]
    fn every_state_can_reach_an_end() {
        for state in State::ALL {
            let ends =
                matches!(state, State::Delivered | State::Refused | State::Recalled | State::Unreadable);
            assert!(ends || state.after(Move::Refuse).is_ok(), "{state:?}");
        }
    }
}
