//! A bridge's database, beside the bridge and whichever engine has it.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Config;

use crate::cluster::{self, Schema};

/// Statements are in SQLite's words. A boolean is a number.
#[derive(Debug)]
pub enum Database {
    Sqlite(Connection),
    Postgres(Config),
}

impl Database {
    pub fn in_file(path: &Path) -> Self {
        Self::Sqlite(Connection::open(path).unwrap())
    }

    pub fn to_read(path: &Path) -> Result<Self, String> {
        let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        opened.map(Self::Sqlite).map_err(|error| error.to_string())
    }

    pub fn in_schema(schema: &Schema) -> Self {
        Self::Postgres(schema.config.clone())
    }

    /// All rows that a statement returns.
    pub fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, String> {
        let connection = match self {
            Self::Sqlite(connection) => connection,
            Self::Postgres(config) => return cluster::query(config, sql, params),
        };
        let read = || {
            let mut statement = connection.prepare(sql)?;
            let count = statement.column_count();
            let rows = statement.query_map(to_sqlite(params), |row| {
                (0..count).map(|at| row.get_ref(at).map(from_sqlite)).collect()
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error: rusqlite::Error| error.to_string())
    }

    /// The first column of all rows.
    pub fn column<T: DeserializeOwned>(&self, sql: &str, params: &[Value]) -> Vec<T> {
        let rows = self.rows(sql, params).unwrap();
        rows.into_iter().map(|mut row| serde_json::from_value(row.swap_remove(0)).unwrap()).collect()
    }

    /// The first column of the first row.
    pub fn try_value<T: DeserializeOwned>(&self, sql: &str, params: &[Value]) -> Result<T, String> {
        let rows = self.rows(sql, params)?;
        let value = rows.into_iter().flatten().next().ok_or("no row")?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// The first column of the first row.
    pub fn value<T: DeserializeOwned>(&self, sql: &str, params: &[Value]) -> T {
        self.try_value(sql, params).unwrap()
    }

    /// Returns how many rows the statement changed.
    pub fn execute(&self, sql: &str, params: &[Value]) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, to_sqlite(params)).unwrap() as u64,
            Self::Postgres(config) => cluster::execute(config, sql, params).unwrap(),
        }
    }
}

fn to_sqlite(params: &[Value]) -> impl rusqlite::Params {
    use rusqlite::types::Value as V;
    rusqlite::params_from_iter(params.iter().map(|param| match param {
        Value::Null => V::Null,
        Value::Number(number) => V::Integer(number.as_i64().unwrap()),
        Value::String(text) => V::Text(text.clone()),
        other => panic!("{other} is no parameter"),
    }))
}

fn from_sqlite(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap().into(),
        ValueRef::Blob(bytes) => bytes.into(),
    }
}
