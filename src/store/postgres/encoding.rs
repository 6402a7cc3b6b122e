//! Values on their way to PostgreSQL and back.
//!
//! SQLite has one type for all whole numbers and booleans. Here a number adapts to the type that the server infers for
//! a parameter, and a boolean result is read as a number.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::StoreError;
use crate::store::value::{Column, Param};

type BoxedError = Box<dyn Error + Sync + Send>;

/// The value of a column.
pub(in crate::store) fn column(row: &Row, index: usize) -> Result<Column<'_>, StoreError> {
    let Raw(column) = row.try_get(index).map_err(StoreError::unreadable)?;
    Ok(column)
}

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        match (*self, ty) {
            (Self::Null, _) => return Ok(IsNull::Yes),
            (Self::Int(number), &Type::BOOL) => out.extend_from_slice(&[u8::from(number != 0)]),
            (Self::Int(number), &Type::INT2) => out.extend_from_slice(&i16::try_from(number)?.to_be_bytes()),
            (Self::Int(number), &Type::INT4) => out.extend_from_slice(&i32::try_from(number)?.to_be_bytes()),
            (Self::Int(number), &Type::INT8) => out.extend_from_slice(&number.to_be_bytes()),
            (Self::Text(text), &Type::TEXT) => out.extend_from_slice(without_nul(text).as_bytes()),
            (Self::Bytes(bytes), &Type::BYTEA) => out.extend_from_slice(bytes),
            (_, ty) => return Err(format!("the value does not fit the type {ty}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The values of one parameter as they are sent.
#[derive(Debug)]
pub(super) struct Encoded(BytesMut);

/// Encodes the values of one parameter, which has the type `ty`.
pub(super) fn encode(values: &Vec<Param<'_>>, ty: &Type) -> Result<Encoded, BoxedError> {
    let mut bytes = BytesMut::new();
    values.to_sql_checked(ty, &mut bytes)?;
    Ok(Encoded(bytes))
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL's text has no NUL characters. They mean nothing in any text that is stored.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "").into() } else { text.into() }
}

/// A column of any type that a statement of the store returns.
struct Raw<'r>(Column<'r>);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, BoxedError> {
        Ok(Self(match *ty {
            Type::INT8 => Column::Int(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => Column::Int(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT2 => Column::Int(i16::from_be_bytes(raw.try_into()?).into()),
            Type::BOOL => Column::Int(i64::from(raw != [0])),
            Type::TEXT | Type::VARCHAR | Type::NAME => Column::Text(raw),
            Type::BYTEA => Column::Bytes(raw),
            _ => return Err(format!("a column has the type {ty}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxedError> {
        Ok(Self(Column::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
