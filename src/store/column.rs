//! How the model's enums and ids are stored in columns. A number that was ever assigned is never reused for
//! another value.

use super::StoreError;
use super::value::{Column, FromColumn, Mismatch, Param};
use crate::model::{Direction, Ending, ImUserId, MessageKind, OpenId, State};

/// SQL conditions on `message.state`. A statement that contains [`OPEN`] or [`HELD`] word for word can use the partial
/// index on that condition, `message_open` or `message_held`. The outbox still has to send or settle the message.
pub(super) const OPEN: &str = "state IN (0, 1)";
/// The same beside a condition that selects better, as [`ALSO_TO_WECHAT`].
pub(super) const ALSO_OPEN: &str = "+state IN (0, 1)";
/// Not sent yet.
pub(super) const ACCEPTED: &str = "state = 0";
/// An attempt is recorded and not settled.
pub(super) const SENDING: &str = "state = 1";
/// Waits for the customer.
pub(super) const HELD: &str = "state = 3";
/// Waits for the agents.
pub(super) const DEFERRED: &str = "state = 9";
/// Waits for an agent.
pub(super) const QUEUED: &str = "state = 10";
/// Nothing of it has been sent.
pub(super) const UNSENT: &str = "state IN (0, 3)";
/// Will not move by itself any more.
pub(super) const ENDED: &str = "state IN (2, 4, 5, 6, 7)";
/// It was not delivered, or perhaps not.
pub(super) const FAILED: &str = "state IN (4, 5)";
/// The bridge or its agent gave it up.
pub(super) const GIVEN_UP: &str = "state IN (4, 6)";

/// SQL conditions on `message.kind`.
pub(super) const MESSAGE: &str = "kind = 0";
/// A notice of the bridge.
pub(super) const NOTICE: &str = "kind = 2";
/// A message, or a note of an agent about it.
pub(super) const SAID: &str = "kind IN (0, 4)";
/// The history shown to an agent who takes a conversation over. With [`OPEN`], the index `message_transfer`.
pub(super) const TRANSFER: &str = "kind = 3";

/// SQL conditions on `message.direction`: to the customer.
pub(super) const TO_WECHAT: &str = "direction = 1";
/// The same beside a condition that selects better: the plus keeps a planner from the index on that one, which is small
/// only while the table is empty.
pub(super) const ALSO_TO_WECHAT: &str = "+direction = 1";

/// SQL conditions on `message.attached`, the numbers of [`AttachState`](super::AttachState).
pub(super) const DETACHED: &str = "attached = 0";
pub(super) const ATTACHED: &str = "attached != 0";

fn state_code(state: State) -> i64 {
    match state {
        State::Accepted => 0,
        State::Sending => 1,
        State::Delivered => 2,
        State::Held => 3,
        State::Refused => 4,
        State::Unknown => 5,
        State::Recalled => 6,
        State::Unreadable => 7,
        State::Deferred => 9,
        State::Queued => 10,
    }
}

/// The SQL condition that a message is in one of `states`.
pub(super) fn in_states(states: &[State]) -> String {
    let codes: Vec<String> = states.iter().map(|state| state_code(*state).to_string()).collect();
    format!("state IN ({})", codes.join(", "))
}

impl From<State> for Param<'_> {
    fn from(state: State) -> Self {
        Self::Int(state_code(state))
    }
}

impl FromColumn for State {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        let stored = i64::from_column(column)?;
        Self::ALL.into_iter().find(|state| state_code(*state) == stored).ok_or(Mismatch)
    }
}

impl From<Direction> for Param<'_> {
    fn from(direction: Direction) -> Self {
        Self::Int(match direction {
            Direction::ToIm => 0,
            Direction::ToWechat => 1,
        })
    }
}

impl FromColumn for Direction {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(0) => Ok(Self::ToIm),
            Column::Int(1) => Ok(Self::ToWechat),
            _ => Err(Mismatch),
        }
    }
}

impl From<Ending> for Param<'_> {
    fn from(ending: Ending) -> Self {
        Self::Int(match ending {
            Ending::Agent => 0,
            Ending::Silence => 1,
            Ending::Left => 2,
        })
    }
}

impl FromColumn for Ending {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(0) => Ok(Self::Agent),
            Column::Int(1) => Ok(Self::Silence),
            Column::Int(2) => Ok(Self::Left),
            _ => Err(Mismatch),
        }
    }
}

impl From<MessageKind> for Param<'_> {
    fn from(kind: MessageKind) -> Self {
        Self::Int(match kind {
            MessageKind::Message => 0,
            MessageKind::Account => 1,
            MessageKind::Notice => 2,
            MessageKind::Transfer => 3,
            MessageKind::Note => 4,
            MessageKind::Rating => 5,
            MessageKind::GroupMenu => 6,
        })
    }
}

impl FromColumn for MessageKind {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(0) => Ok(Self::Message),
            Column::Int(1) => Ok(Self::Account),
            Column::Int(2) => Ok(Self::Notice),
            Column::Int(3) => Ok(Self::Transfer),
            Column::Int(4) => Ok(Self::Note),
            Column::Int(5) => Ok(Self::Rating),
            Column::Int(6) => Ok(Self::GroupMenu),
            _ => Err(Mismatch),
        }
    }
}

pub(super) fn parse_optional_agent(stored: Option<String>) -> Result<Option<ImUserId>, StoreError> {
    stored.map(parse_agent).transpose()
}

pub(super) fn parse_agent(stored: String) -> Result<ImUserId, StoreError> {
    ImUserId::new(stored).map_err(StoreError::unreadable)
}

pub(super) fn parse_openid(stored: String) -> Result<OpenId, StoreError> {
    OpenId::new(stored).map_err(StoreError::unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AttachState;
    use crate::store::session::Session;

    #[test]
    fn conditions_match_exactly_the_values_that_they_name() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let session = Session::Sqlite(&database);
        let holds = |condition: &str, column: &str, value: Param<'_>| -> bool {
            let sql = format!("SELECT {condition} FROM (SELECT ?1 AS {column}) AS row");
            session.value(&sql, &[value]).unwrap()
        };
        for state in State::ALL {
            for (condition, expected) in [
                (OPEN, state.is_open()),
                (ACCEPTED, state == State::Accepted),
                (SENDING, state == State::Sending),
                (HELD, state == State::Held),
                (DEFERRED, state == State::Deferred),
                (QUEUED, state == State::Queued),
                (UNSENT, matches!(state, State::Accepted | State::Held)),
                (
                    ENDED,
                    matches!(
                        state,
                        State::Delivered
                            | State::Refused
                            | State::Unknown
                            | State::Recalled
                            | State::Unreadable
                    ),
                ),
                (GIVEN_UP, matches!(state, State::Refused | State::Recalled)),
                (FAILED, matches!(state, State::Refused | State::Unknown)),
            ] {
                assert_eq!(holds(condition, "state", state.into()), expected, "{condition} of {state:?}");
            }
            for listed in [&State::ALL[..], &[State::Held, State::Unknown], &[]] {
                assert_eq!(
                    holds(&in_states(listed), "state", state.into()),
                    listed.contains(&state),
                    "{state:?}"
                );
            }
        }
        for kind in [
            MessageKind::Message,
            MessageKind::Account,
            MessageKind::Notice,
            MessageKind::Transfer,
            MessageKind::Note,
        ] {
            assert_eq!(holds(MESSAGE, "kind", kind.into()), kind == MessageKind::Message, "{kind:?}");
            let is_said = matches!(kind, MessageKind::Message | MessageKind::Note);
            assert_eq!(holds(SAID, "kind", kind.into()), is_said, "{kind:?}");
            assert_eq!(holds(NOTICE, "kind", kind.into()), kind == MessageKind::Notice, "{kind:?}");
            assert_eq!(holds(TRANSFER, "kind", kind.into()), kind == MessageKind::Transfer, "{kind:?}");
        }
        for direction in [Direction::ToIm, Direction::ToWechat] {
            let expected = direction == Direction::ToWechat;
            assert_eq!(holds(TO_WECHAT, "direction", direction.into()), expected, "{direction:?}");
        }
        for attached in [AttachState::Detached, AttachState::MaybeSent, AttachState::NotSent] {
            let expected = attached == AttachState::Detached;
            assert_eq!(holds(DETACHED, "attached", attached.into()), expected, "{attached:?}");
            assert_eq!(holds(ATTACHED, "attached", attached.into()), !expected, "{attached:?}");
        }
    }
}
