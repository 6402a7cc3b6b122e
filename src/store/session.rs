//! A session with the database: runs one statement at a time, whichever engine answers it.
//!
//! Each method of [`Tx`](super::Tx) has one SQL text for all engines. Only this module and the folders of the engines
//! know how values travel. Must never know what a statement means.

use std::fmt;

use super::StoreError;
use super::postgres::link::Link;
use super::postgres::statement as postgres;
use super::sqlite::statement as sqlite;
use super::value::{Column, FromColumn, Mismatch, Param};

/// The connection on which a transaction runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Session<'c> {
    /// SQLite.
    Sqlite(&'c rusqlite::Connection),
    /// PostgreSQL.
    Postgres(&'c Link),
}

/// A row that a statement returned.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Session<'_> {
    /// Runs a statement that returns no rows. Returns how many rows it changed.
    pub fn run(self, sql: &str, params: &[Param<'_>]) -> Result<usize, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::run(connection, sql, params),
            Self::Postgres(link) => postgres::run(link, sql, params),
        }
    }

    /// The first row that a statement returns, as `read` reads it.
    pub fn one<T>(
        self,
        sql: &str,
        params: &[Param<'_>],
        read: impl FnOnce(Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::one(connection, sql, params, |row| read(Row::Sqlite(row))),
            Self::Postgres(link) => postgres::one(link, sql, params, |row| read(Row::Postgres(row))),
        }
    }

    /// All rows that a statement returns, as `read` reads them. `read` must run no other statement.
    pub fn all<T>(
        self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::all(connection, sql, params, |row| read(Row::Sqlite(row))),
            Self::Postgres(link) => postgres::all(link, sql, params, |row| read(Row::Postgres(row))),
        }
    }

    /// The only column of the only row of a statement that always returns one.
    pub fn value<T: FromColumn>(self, sql: &str, params: &[Param<'_>]) -> Result<T, StoreError> {
        self.find(sql, params)?.ok_or_else(|| StoreError::unreadable("a statement returned no row"))
    }

    /// The first column of the first row that a statement returns.
    pub fn find<T: FromColumn>(self, sql: &str, params: &[Param<'_>]) -> Result<Option<T>, StoreError> {
        self.one(sql, params, |row| row.get(0))
    }

    /// Runs statements without parameters.
    #[cfg(test)]
    pub fn batch(self, sql: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(link) => link.batch(sql),
        }
    }
}

impl<'r> Row<'r> {
    /// The value of a column, numbered from 0.
    pub fn get<T: FromColumn>(self, index: usize) -> Result<T, StoreError> {
        T::from_column(self.column(index)?).map_err(|Mismatch| {
            let expected = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
            StoreError::unreadable(format!("column {index} is no {expected}"))
        })
    }

    /// The value of a column as it is stored.
    pub fn column(self, index: usize) -> Result<Column<'r>, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::column(row, index),
            Self::Postgres(row) => postgres::column(row, index),
        }
    }

    /// The text of a column, without a copy.
    pub fn text(self, index: usize) -> Result<&'r str, StoreError> {
        match self.column(index)? {
            Column::Text(bytes) => std::str::from_utf8(bytes).map_err(StoreError::unreadable),
            _ => Err(StoreError::unreadable(format!("column {index} is no text"))),
        }
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row")
    }
}
