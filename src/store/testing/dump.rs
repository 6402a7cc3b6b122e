//! All that is stored, as texts that are equal on both engines.

use crate::store::session::Row;
use crate::store::value::{Column, params};
use crate::store::{StoreError, Tx};

/// The columns of each table, as SQLite names them. The numbers of steps and of pushes only have to grow: SQLite gives
/// one again after the newest row was deleted.
pub(super) fn tables(tx: &Tx<'_>) -> Vec<(String, String)> {
    let sql = "SELECT t.name, group_concat('\"' || c.name || '\"', ', ')
               FROM sqlite_master AS t, pragma_table_info(t.name) AS c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'
               AND NOT (c.name = 'id' AND t.name IN ('step', 'unreadable')) GROUP BY t.name ORDER BY t.name";
    tx.session.all(sql, params![], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

/// All rows, sorted by what they show.
pub(super) fn dump(tx: &Tx<'_>, tables: &[(String, String)]) -> Vec<String> {
    let show = |row: Row<'_>, columns: usize| {
        let columns = (0..columns).map(|at| match row.column(at)? {
            Column::Text(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            other => Ok(format!("{other:?}")),
        });
        Ok(columns.collect::<Result<Vec<_>, StoreError>>()?.join(" | "))
    };
    let of_table = |(table, columns): &(String, String)| {
        let count = columns.split(", ").count();
        let sql = format!("SELECT {columns} FROM {table}");
        let mut rows = tx.session.all(&sql, params![], |row| show(row, count)).unwrap();
        // SQLite alone must overwrite what is erased.
        rows.retain(|row| !row.starts_with("erase_pending"));
        rows.sort();
        rows.insert(0, format!("{table}: {columns}"));
        rows
    };
    tables.iter().flat_map(of_table).collect()
}

/// What a caller can tell of a failure, without the words of an engine.
pub(super) fn outcome(answer: Result<String, StoreError>) -> String {
    match answer {
        Ok(answer) => answer,
        Err(StoreError::Database(_) | StoreError::Postgres(_)) => "the database refused it".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}
