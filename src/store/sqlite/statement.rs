//! Statements on SQLite's connection, each prepared once.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use crate::store::StoreError;
use crate::store::tally;
use crate::store::value::{Column, Param};

/// Runs a statement that returns no rows. Returns how many rows it changed.
pub(in crate::store) fn run(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
) -> Result<usize, StoreError> {
    tally::count_statement();
    Ok(connection.prepare_cached(sql)?.execute(params_from_iter(params))?)
}

/// The first row that a statement returns, as `read` reads it.
pub(in crate::store) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    tally::count_statement();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    rows.next()?.map(read).transpose()
}

/// All rows that a statement returns, as `read` reads them.
pub(in crate::store) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    tally::count_statement();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The value of a column.
pub(in crate::store) fn column<'r>(row: &'r Row<'_>, index: usize) -> Result<Column<'r>, StoreError> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Column::Null,
        ValueRef::Integer(number) => Column::Int(number),
        ValueRef::Real(number) => Column::Real(number),
        ValueRef::Text(bytes) => Column::Text(bytes),
        ValueRef::Blob(bytes) => Column::Bytes(bytes),
    })
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
