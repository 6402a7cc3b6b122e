//! How the model's enums are stored in columns. A number that was ever assigned is never reused for
//! another value.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::model::{Direction, MessageKind, State};

pub(super) fn state_code(state: State) -> i64 {
    match state {
        State::Accepted => 0,
        State::Sending => 1,
        State::Delivered => 2,
        State::Held => 3,
        State::Refused => 4,
        State::Unknown => 5,
    }
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
