//! Values on their way into the database and back, whichever engine has it.
//!
//! A whole number, a boolean and a code are one type in the database, as SQLite has them. Must never know a statement.

/// The value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The value of a parameter, kept for later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Param<'_>> for Value {
    fn from(param: Param<'_>) -> Self {
        match param {
            Param::Null => Self::Null,
            Param::Int(number) => Self::Int(number),
            Param::Text(text) => Self::Text(text.to_owned()),
            Param::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl<'a> From<&'a Value> for Param<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(number) => Self::Int(*number),
            Value::Text(text) => Self::Text(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

/// The parameters of a statement, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::value::Param::from($value)),*] };
}
pub(super) use params;

/// The value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Column<'r> {
    Null,
    Int(i64),
    Real(f64),
    /// It need not be UTF-8: SQLite does not check.
    Text(&'r [u8]),
    Bytes(&'r [u8]),
}

/// The value of a column is not one of the type that is read from it.
#[derive(Debug)]
pub(super) struct Mismatch;

/// A type that is read from a column.
pub(super) trait FromColumn: Sized {
    /// Fails if the column has no such value.
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch>;
}

impl From<i64> for Param<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Param<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Param<'_> {
    fn from(condition: bool) -> Self {
        Self::Int(condition.into())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl FromColumn for Vec<u8> {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(Mismatch),
        }
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl FromColumn for i64 {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(number) => Ok(number),
            _ => Err(Mismatch),
        }
    }
}

impl FromColumn for u32 {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        u32::try_from(i64::from_column(column)?).map_err(|_| Mismatch)
    }
}

impl FromColumn for bool {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        Ok(i64::from_column(column)? != 0)
    }
}

impl FromColumn for String {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Text(bytes) => std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Mismatch),
            _ => Err(Mismatch),
        }
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Null => Ok(None),
            column => T::from_column(column).map(Some),
        }
    }
}
