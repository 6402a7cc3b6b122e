//! Statements on PostgreSQL's connection: answered by the image, deferred, or sent.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::link::Link;
use crate::store::StoreError;
use crate::store::scope::Scope;
use crate::store::tally;
use crate::store::value::Param;

/// Runs a statement that returns no rows. Returns how many rows it changed.
pub(in crate::store) fn run(link: &Link, sql: &str, params: &[Param<'_>]) -> Result<usize, StoreError> {
    let changed = link.ask_behind_deferred(async |client| {
        let statement = link.statement(client, sql).await?;
        tally::count_statement();
        client.execute(&statement, &to_dyn(params)).await
    })?;
    link.image().note_change();
    if changed > 0 {
        link.note_change();
    }
    Ok(usize::try_from(changed).unwrap_or(usize::MAX))
}

/// The first row that a statement returns, as `read` reads it.
pub(in crate::store) fn one<T>(
    link: &Link,
    sql: &str,
    params: &[Param<'_>],
    read: impl FnOnce(&Row) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let rows = query(link, sql, params)?;
    rows.first().map(read).transpose()
}

/// All rows that a statement returns, as `read` reads them.
pub(in crate::store) fn all<T>(
    link: &Link,
    sql: &str,
    params: &[Param<'_>],
    read: impl FnMut(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    query(link, sql, params)?.iter().map(read).collect()
}

fn query(link: &Link, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
    let only_reads = sql.starts_with("SELECT") || sql.starts_with("WITH");
    if only_reads && let Some(rows) = link.image().answer(sql, params) {
        return Ok(rows);
    }
    let rows = link.ask_behind_deferred(async |client| {
        let statement = link.statement(client, sql).await?;
        tally::count_statement();
        client.query(&statement, &to_dyn(params)).await
    })?;
    if !only_reads {
        link.image().note_change();
    }
    if !rows.is_empty() && !only_reads {
        link.note_change();
    }
    Ok(rows)
}

/// The next write of the group begins.
pub(in crate::store) fn begin_write(link: &Link, scope: Scope) -> Result<(), StoreError> {
    let must_send = link.image().begin_write(scope);
    if must_send { Ok(link.send_deferred()?) } else { Ok(()) }
}

/// Runs a statement later, but before the next question and before the commit.
pub(in crate::store) fn defer(link: &Link, sql: &str, params: &[Param<'_>]) -> Result<(), StoreError> {
    let must_send = link.image().defer(sql, params);
    if must_send { Ok(link.send_deferred()?) } else { Ok(()) }
}

/// An id for a new row of `table`, larger than all that were given before to transactions with the same scope.
pub(in crate::store) fn draw_id(link: &Link, table: &'static str) -> Result<i64, StoreError> {
    if let Some(id) = link.image().id(table) {
        return Ok(id);
    }
    let ids = link.ask(async |client| link.draw_ids(client, table, 1).await)?;
    link.image().learn_ids(table, ids);
    link.image().id(table).ok_or_else(|| StoreError::unreadable("a sequence gave no number"))
}

/// Runs statements without parameters.
#[cfg(test)]
pub(in crate::store) fn batch(link: &Link, sql: &str) -> Result<(), StoreError> {
    link.image().note_change();
    Ok(link.ask_behind_deferred(async |client| client.batch_execute(sql).await)?)
}

fn to_dyn<'a>(params: &'a [Param<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}
