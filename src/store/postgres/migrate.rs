//! Migrations of a PostgreSQL schema, each known by its name and applied once.

use super::connect::{Connector, LOCK_TIMEOUT};
use super::link::{Link, LockKind};
use crate::store::open_error::OpenError;

/// The migrations, in order. Never change a statement of a released one; add the next.
pub(super) const MIGRATIONS: [(&str, &str); 1] =
    [("0001-initial", include_str!("../../../migrations/postgres/0001-initial.sql"))];

/// Applies the missing migrations, each in a transaction, while no other process does.
pub(super) fn migrate(link: &Link, connector: &Connector) -> Result<(), OpenError> {
    let batch = |sql: &str| {
        let done = link.ask_without_limit(async |client| client.batch_execute(sql).await);
        done.map_err(|error| connector.error(&error))
    };
    let lock = link.lock_key(LockKind::Migration);
    batch(&format!(
        "SET lock_timeout = 0; SELECT pg_advisory_lock({lock}); SET lock_timeout = '{LOCK_TIMEOUT}'"
    ))?;
    for (name, migration) in missing(link, connector)? {
        batch(&format!(
            "BEGIN;
             CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL);
             {migration}
             INSERT INTO schema_migration (name, applied_at) VALUES ('{name}', clock_timestamp());
             COMMIT"
        ))?;
    }
    batch(&format!("SELECT pg_advisory_unlock({lock})"))
}

/// Refuses a schema that another version wrote, or none has written. Changes nothing.
pub(super) fn check(link: &Link, connector: &Connector) -> Result<(), OpenError> {
    let missing = missing(link, connector)?.count();
    if missing == 0 {
        return Ok(());
    }
    let (problem, fix) = if missing == MIGRATIONS.len() {
        ("holds no store yet".to_owned(), "run `serve` first, or name the right database")
    } else {
        let fix = "use the program of the running server, or first start `serve` of this version";
        (
            format!(
                "belongs to an older version: {missing} migrations are missing, and a command never migrates"
            ),
            fix,
        )
    };
    Err(OpenError::Postgres { name: connector.name.clone(), problem, fix })
}

/// The migrations that are still to be applied. Fails if the schema is another program's, or a newer version's.
pub(super) fn missing(
    link: &Link,
    connector: &Connector,
) -> Result<impl Iterator<Item = (&'static str, &'static str)> + use<>, OpenError> {
    const KNOWN: &str = "SELECT to_regclass('schema_migration') IS NOT NULL";
    // Tables of extensions do not count.
    const TABLES: &str = "SELECT count(*) FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')";
    let applied = link.ask(async |client| {
        if client.query_one(KNOWN, &[]).await?.try_get(0)? {
            let rows = client.query("SELECT name FROM schema_migration", &[]).await?;
            return Ok(Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?));
        }
        let tables: i64 = client.query_one(TABLES, &[]).await?.try_get(0)?;
        Ok(if tables == 0 { Ok(Vec::new()) } else { Err(tables) })
    });
    let fail = |problem: String, fix| OpenError::Postgres { name: connector.name.clone(), problem, fix };
    let applied = applied.map_err(|error| connector.error(&error))?.map_err(|tables| {
        fail(
            format!("its schema has {tables} tables of another program"),
            "give the bridge a database of its own",
        )
    })?;
    let is_known = |name: &String| MIGRATIONS.iter().any(|(known, _)| known == name);
    if let Some(newer) = applied.iter().find(|name| !is_known(name)) {
        let problem = format!("was written by a newer version, with the migration {newer}");
        return Err(fail(problem, "run that version, or restore a backup"));
    }
    Ok(MIGRATIONS.into_iter().filter(move |(name, _)| !applied.iter().any(|applied| applied == name)))
}
