//! A session with the database: runs one statement at a time, whichever engine answers it.
//!
//! Each method of [`Tx`](super::Tx) has one SQL text for all engines. Only this module and the folders of the engines
//! know how values travel. Must never know what a statement means.

use std::fmt;

use super::StoreError;
use super::postgres::encoding;
use super::postgres::link::Link;
use super::postgres::statement as postgres;
use super::questions::Questions;
use super::scope::Scope;
use super::sqlite::statement as sqlite;
use super::value::{Column, FromColumn, Mismatch, Param};

/// The connection on which a transaction runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Session<'c> {
    /// SQLite.
    Sqlite(&'c rusqlite::Connection),
    /// PostgreSQL.
    Postgres(&'c Link),
    /// None yet: collects what will be asked, and answers that nothing was found.
    Questions(&'c Questions),
}

/// A row that a statement returned.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Session<'_> {
    /// The next write of the group begins.
    pub fn begin_write(self, scope: Scope) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) | Self::Questions(_) => Ok(()),
            Self::Postgres(link) => postgres::begin_write(link, scope),
        }
    }

    /// Runs a statement that returns no rows. Returns how many rows it changed.
    pub fn run(self, sql: &str, params: &[Param<'_>]) -> Result<usize, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::run(connection, sql, params),
            Self::Postgres(link) => postgres::run(link, sql, params),
            Self::Questions(_) => Ok(0),
        }
    }

    /// Runs an `INSERT … VALUES` or an `UPDATE` with one `WHERE`, now or later, but before the next question and before
    /// the commit. It must write only rows of the scope.
    pub fn defer(self, sql: &str, params: &[Param<'_>]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::run(connection, sql, params).map(drop),
            Self::Postgres(link) => postgres::defer(link, sql, params),
            Self::Questions(_) => Ok(()),
        }
    }

    /// Adds a row by an `INSERT` that returns its id, now or later. `drawn` is its id if one was drawn.
    pub fn add_row(self, sql: &str, params: &[Param<'_>], drawn: Option<i64>) -> Result<i64, StoreError> {
        match drawn {
            Some(id) => self.defer(sql, params).map(|()| id),
            None => self.value(sql, params),
        }
    }

    /// The id of a row that will be added to `table`; `None`: the database gives it when the row is added.
    pub fn draw_id(self, table: &'static str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(link) => postgres::draw_id(link, table).map(Some),
            Self::Questions(questions) => {
                questions.add_row(table);
                Ok(None)
            }
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
            Self::Questions(questions) => {
                questions.ask(sql, params);
                Ok(None)
            }
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
            Self::Questions(questions) => {
                questions.ask(sql, params);
                Ok(Vec::new())
            }
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
            Self::Postgres(link) => postgres::batch(link, sql),
            Self::Questions(_) => Ok(()),
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
            Self::Postgres(row) => encoding::column(row, index),
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
