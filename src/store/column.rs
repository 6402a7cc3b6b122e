//! How the model's enums and ids are stored in columns. A number that was ever assigned is never reused for
//! another value.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::StoreError;
use crate::model::{Direction, ImUserId, MessageKind, OpenId, State};

/// SQL conditions on `message.state`. A statement that contains [`OPEN`] or [`HELD`] word for word can use the partial
/// index on that condition, `message_open` or `message_held`. The outbox still has to send or settle the message.
pub(super) const OPEN: &str = "state IN (0, 1)";
/// Not sent yet.
pub(super) const ACCEPTED: &str = "state = 0";
/// An attempt is recorded and not settled.
pub(super) const SENDING: &str = "state = 1";
/// Waits for the customer.
pub(super) const HELD: &str = "state = 3";
/// Nothing of it has been sent.
pub(super) const UNSENT: &str = "state IN (0, 3)";
/// Will not move by itself any more.
pub(super) const ENDED: &str = "state IN (2, 4, 5, 6, 7)";
/// The bridge or its agent gave it up.
pub(super) const GIVEN_UP: &str = "state IN (4, 6)";

/// SQL conditions on `message.kind`.
pub(super) const MESSAGE: &str = "kind = 0";
/// A notice of the bridge.
pub(super) const NOTICE: &str = "kind = 2";
/// The history shown to an agent who takes a conversation over. With [`OPEN`], the index `message_transfer`.
pub(super) const TRANSFER: &str = "kind = 3";

/// SQL conditions on `message.direction`: to the customer.
pub(super) const TO_WECHAT: &str = "direction = 1";

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
    }
}

/// The SQL condition that a message is in one of `states`.
pub(super) fn in_states(states: &[State]) -> String {
    let codes: Vec<String> = states.iter().map(|state| state_code(*state).to_string()).collect();
    format!("state IN ({})", codes.join(", "))
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(state_code(*self).into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let stored = value.as_i64()?;
        Self::ALL
            .into_iter()
            .find(|state| state_code(*state) == stored)
            .ok_or(FromSqlError::OutOfRange(stored))
    }
}

impl ToSql for Direction {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::ToIm => 0_i64,
            Self::ToWechat => 1,
        }
        .into())
    }
}

impl FromSql for Direction {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::ToIm),
            1 => Ok(Self::ToWechat),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

impl ToSql for MessageKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Message => 0_i64,
            Self::Account => 1,
            Self::Notice => 2,
            Self::Transfer => 3,
        }
        .into())
    }
}

impl FromSql for MessageKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::Message),
            1 => Ok(Self::Account),
            2 => Ok(Self::Notice),
            3 => Ok(Self::Transfer),
            other => Err(FromSqlError::OutOfRange(other)),
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

    #[test]
    fn conditions_match_exactly_the_values_that_they_name() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let holds = |condition: &str, column: &str, value: &dyn ToSql| -> bool {
            let sql = format!("SELECT {condition} FROM (SELECT ?1 AS {column})");
            database.query_row(&sql, [value], |row| row.get(0)).unwrap()
        };
        for state in State::ALL {
            for (condition, expected) in [
                (OPEN, state.is_open()),
                (ACCEPTED, state == State::Accepted),
                (SENDING, state == State::Sending),
                (HELD, state == State::Held),
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
            ] {
                assert_eq!(holds(condition, "state", &state), expected, "{condition} of {state:?}");
            }
            for listed in [&State::ALL[..], &[State::Held, State::Unknown], &[]] {
                assert_eq!(holds(&in_states(listed), "state", &state), listed.contains(&state), "{state:?}");
            }
        }
        for kind in [MessageKind::Message, MessageKind::Account, MessageKind::Notice, MessageKind::Transfer] {
            assert_eq!(holds(MESSAGE, "kind", &kind), kind == MessageKind::Message, "{kind:?}");
            assert_eq!(holds(NOTICE, "kind", &kind), kind == MessageKind::Notice, "{kind:?}");
            assert_eq!(holds(TRANSFER, "kind", &kind), kind == MessageKind::Transfer, "{kind:?}");
        }
        for direction in [Direction::ToIm, Direction::ToWechat] {
            let expected = direction == Direction::ToWechat;
            assert_eq!(holds(TO_WECHAT, "direction", &direction), expected, "{direction:?}");
        }
        for attached in [AttachState::Detached, AttachState::MaybeSent, AttachState::NotSent] {
            let expected = attached == AttachState::Detached;
            assert_eq!(holds(DETACHED, "attached", &attached), expected, "{attached:?}");
            assert_eq!(holds(ATTACHED, "attached", &attached), !expected, "{attached:?}");
        }
    }
}
