//! How a message lives: its state, the moves between states, and what is owed for it.

use serde::{Deserialize, Serialize};

use super::{Attachment, OpenId, Shown};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// From the customer, or from the bridge itself, to Tencent IM.
    ToIm,
    /// From an agent to the customer in WeChat.
    ToWechat,
}

impl Direction {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::ToIm, Self::ToWechat];

    /// The name in output, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToIm => "to_im",
            Self::ToWechat => "to_wechat",
        }
    }
}

/// One conversation's messages in one direction: what a lane holds leaves in the order it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// Which way.
    pub direction: Direction,
    /// Whose conversation.
    pub customer: OpenId,
}

/// What a stored message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Something a customer or an agent wrote.
    Message,
    /// Work on the customer's IM account.
    Account,
    /// The bridge's own word to an agent.
    Note,
    /// What an agent who takes a conversation over gets first; goes before everything else that waits.
    Transfer,
}

/// Where a message stands. Every message ends in one of the last four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Durable, waiting for its turn or for its next attempt.
    Accepted,
    /// An attempt has been recorded and may be under way.
    Sending,
    /// The platform took it.
    Delivered,
    /// It waits for the customer to act.
    Held,
    /// It will not be sent.
    Refused,
    /// It may or may not have arrived.
    Unknown,
}

/// Everything that may happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// An attempt begins.
    Attempt,
    /// The platform took it, or was found to have taken it.
    Deliver,
    /// The attempt certainly failed and another may succeed.
    PutBack,
    /// The customer cannot be reached now.
    Hold,
    /// The customer acted: the message may go again.
    Release,
    /// It can never succeed, is too old, or an operator discards it.
    Refuse,
    /// Nobody knows whether the attempt succeeded.
    LoseTrack,
    /// An operator wants it sent again.
    Reopen,
}

/// A move that no message may make from its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message that is {from:?} cannot {what:?}")]
pub struct IllegalMove {
    /// Where the message stands.
    pub from: State,
    /// What should have happened to it.
    pub what: Move,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Sending, Self::Delivered, Self::Held, Self::Refused, Self::Unknown];

    /// The one table of moves; what it does not list is a bug.
    pub fn after(self, what: Move) -> Result<Self, IllegalMove> {
        use State::{Accepted, Delivered, Held, Refused, Sending, Unknown};
        match (self, what) {
            (Accepted | Held, Move::Attempt) => Ok(Sending),
            (Sending | Unknown, Move::Deliver) => Ok(Delivered),
            (Sending, Move::PutBack) | (Held, Move::Release) | (Held | Refused | Unknown, Move::Reopen) => {
                Ok(Accepted)
            }
            (Accepted | Sending, Move::Hold) => Ok(Held),
            (Accepted | Sending | Held | Unknown, Move::Refuse) => Ok(Refused),
            (Sending, Move::LoseTrack) => Ok(Unknown),
            (from, what) => Err(IllegalMove { from, what }),
        }
    }

    /// The outbox still has to act on it by itself.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Accepted | Self::Sending)
    }

    /// The name in output, logs and metrics: what stands open is `waiting` to everyone outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted | Self::Sending => "waiting",
            Self::Delivered => "delivered",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One call that is owed to a platform. A message owes one or several, carried out in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Make sure that the customer has an IM account.
    ImportAccount,
    /// Delete the customer's IM account.
    DeleteAccount,
    /// Send text to the agent, from the customer's account.
    TextToAgent(String),
    /// Send a place to the agent, from the customer's account; degrees.
    LocationToAgent { latitude: f64, longitude: f64, description: String },
    /// Send a picture, recording or video to the agent, from the customer's account.
    MediaToAgent(Shown),
    /// Send a card to the agent, from the customer's account: as data for clients that draw it, and as text.
    CardToAgent { data: String, text: String },
    /// Show the agent something that was said earlier, Unix seconds, to or by somebody else.
    PastToAgent { text: String, at_s: i64 },
    /// Send text to the customer; at most 2,000 bytes.
    TextToCustomer(String),
    /// Send a file to the customer, or a text with a link to it.
    MediaToCustomer(Attachment),
}

impl Order {
    /// Whether it must be prepared before each attempt, which may be repeated freely and takes its time.
    pub fn is_prepared(&self) -> bool {
        matches!(self, Self::MediaToCustomer(_) | Self::MediaToAgent(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOVES: [Move; 8] = [
        Move::Attempt,
        Move::Deliver,
        Move::PutBack,
        Move::Hold,
        Move::Release,
        Move::Refuse,
        Move::LoseTrack,
        Move::Reopen,
    ];

    proptest! {
        #[test]
        fn whatever_happens_a_delivered_message_stays_delivered(
            moves in prop::collection::vec(prop::sample::select(&MOVES[..]), 0..40)
        ) {
            let mut state = State::Accepted;
            let mut delivered = false;
            for what in moves {
                if let Ok(next) = state.after(what) {
                    prop_assert!(!delivered, "{state:?} {what:?} {next:?}");
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
    fn every_state_can_be_left_for_an_end() {
        for state in State::ALL {
            let ends = matches!(state, State::Delivered | State::Refused);
            assert!(ends || state.after(Move::Refuse).is_ok(), "{state:?}");
        }
    }
}
