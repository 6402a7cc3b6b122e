//! Migrations of a PostgreSQL schema, each known by its name and applied once.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::connect::{Connector, LOCK_TIMEOUT};
use super::error::PostgresError;
use super::link::{Link, LockKind};
use crate::store::open_error::OpenError;

/// A step from one schema to the next. Never change the statements of a released one; add the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    /// Its name, by which the schema knows that it was applied.
    pub name: &'static str,
    statements: &'static str,
    /// The oldest program that may work on the schema after it: the number of migrations which that program knows.
    compatible: i64,
}

/// The migrations, in order.
pub(super) const MIGRATIONS: [Migration; 12] = [
    Migration {
        name: "0001-initial",
        statements: include_str!("../../../migrations/postgres/0001-initial.sql"),
        compatible: 1,
    },
    Migration {
        name: "0002-instances",
        statements: include_str!("../../../migrations/postgres/0002-instances.sql"),
        compatible: 1,
    },
    Migration {
        name: "0003-working-hours",
        statements: include_str!("../../../migrations/postgres/0003-working-hours.sql"),
        compatible: 1,
    },
    Migration {
        name: "0004-served-by",
        statements: include_str!("../../../migrations/postgres/0004-served-by.sql"),
        compatible: 1,
    },
    Migration {
        name: "0005-bursts",
        statements: include_str!("../../../migrations/postgres/0005-bursts.sql"),
        compatible: 1,
    },
    Migration {
        name: "0006-questions",
        statements: include_str!("../../../migrations/postgres/0006-questions.sql"),
        compatible: 1,
    },
    Migration {
        name: "0007-escalation",
        statements: include_str!("../../../migrations/postgres/0007-escalation.sql"),
        compatible: 1,
    },
    Migration {
        name: "0008-ended-conversations",
        statements: include_str!("../../../migrations/postgres/0008-ended-conversations.sql"),
        compatible: 1,
    },
    Migration {
        name: "0009-line",
        statements: include_str!("../../../migrations/postgres/0009-line.sql"),
        compatible: 1,
    },
    Migration {
        name: "0010-visits",
        statements: include_str!("../../../migrations/postgres/0010-visits.sql"),
        compatible: 1,
    },
    Migration {
        name: "0011-ratings",
        statements: include_str!("../../../migrations/postgres/0011-ratings.sql"),
        compatible: 1,
    },
    Migration {
        name: "0012-groups",
        statements: include_str!("../../../migrations/postgres/0012-groups.sql"),
        compatible: 1,
    },
];

/// The number of migrations that this program knows.
#[expect(clippy::cast_possible_wrap, reason = "there are few")]
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// A change to a table waits for those who use it, and those who come later wait for the change: it must not wait long.
const PATIENCE: &str = "2s";
/// How often a change that would have to wait longer is tried again, and after which pause.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Applies the missing migrations, each in a transaction, while no other process does. Fails if an instance that is
/// alive could not work on the schema any more.
pub(super) fn migrate(link: &Link, connector: &Connector) -> Result<(), OpenError> {
    let batch = |sql: &str| link.ask_without_limit(async |client| client.batch_execute(sql).await);
    let fail = |error: PostgresError| connector.error(&error);
    let lock = link.lock_key(LockKind::Migration);
    batch(&format!(
        "SET lock_timeout = 0; SELECT pg_advisory_lock({lock}); SET lock_timeout = '{LOCK_TIMEOUT}'"
    ))
    .map_err(fail)?;
    for Migration { name, statements, compatible } in missing(link, connector)? {
        refuse_beside_old_instances(link, connector, name, compatible)?;
        let applied_at = "clock_timestamp()";
        let record = if name == MIGRATIONS[0].name {
            format!("INSERT INTO schema_migration (name, applied_at) VALUES ('{name}', {applied_at})")
        } else {
            format!(
                "INSERT INTO schema_migration (name, applied_at, compatible)
                 VALUES ('{name}', {applied_at}, {compatible})"
            )
        };
        let sql = format!(
            "BEGIN; SET LOCAL lock_timeout = '{PATIENCE}';
             CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL);
             {statements}
             {record};
             COMMIT"
        );
        let mut tries = 0;
        while let Err(error) = batch(&sql) {
            let must_wait = matches!(&error, PostgresError::Refused { code, .. } if *code == SqlState::LOCK_NOT_AVAILABLE);
            tries += 1;
            if !must_wait || tries == TRIES {
                return Err(fail(error));
            }
            batch("ROLLBACK").map_err(fail)?;
            tracing::info!(migration = name, "a table is in use; the migration is tried again in a second");
            std::thread::sleep(PAUSE);
        }
    }
    batch(&format!("SELECT pg_advisory_unlock({lock})")).map_err(fail)
}

/// Fails if an instance is alive whose program could not work on the schema after this migration.
fn refuse_beside_old_instances(
    link: &Link,
    connector: &Connector,
    migration: &str,
    compatible: i64,
) -> Result<(), OpenError> {
    let known = "SELECT to_regclass('instance') IS NOT NULL";
    let old = "SELECT name FROM instance WHERE version < $1 AND NOT pg_try_advisory_xact_lock_shared(id) ORDER BY 1";
    let names = link.ask(async |client| {
        if !client.query_one(known, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(Vec::new());
        }
        let rows = client.query(old, &[&compatible]).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()
    });
    let names = names.map_err(|error| connector.error(&error))?;
    if names.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "needs the migration {migration}, which these instances of an older version could not work with: {}",
        names.join(", ")
    );
    let fix = "first replace them by the version between, or stop them";
    Err(OpenError::Postgres { name: connector.name.clone(), problem, fix })
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

/// The migrations that are still to be applied. Fails if the schema is another program's, or a newer version's on which
/// this program cannot work.
pub(super) fn missing(
    link: &Link,
    connector: &Connector,
) -> Result<impl Iterator<Item = Migration> + use<>, OpenError> {
    const KNOWN: &str = "SELECT to_regclass('schema_migration') IS NOT NULL";
    // Tables of extensions do not count.
    const TABLES: &str = "SELECT count(*) FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')";
    // The first schema had no such column.
    const APPLIED: &str =
        "SELECT name, coalesce((to_jsonb(m) ->> 'compatible')::bigint, 1) FROM schema_migration AS m";
    let applied = link.ask(async |client| {
        if client.query_one(KNOWN, &[]).await?.try_get(0)? {
            let rows = client.query(APPLIED, &[]).await?;
            let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
            return Ok(Ok(rows
                .iter()
                .map(read)
                .collect::<Result<Vec<(String, i64)>, tokio_postgres::Error>>()?));
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
    let is_known = |name: &String| MIGRATIONS.iter().any(|known| known.name == name);
    let is_too_new = |(name, compatible): &&(String, i64)| !is_known(name) && *compatible > VERSION;
    if let Some((newer, _)) = applied.iter().find(is_too_new) {
        let problem = format!("was written by a newer version, with the migration {newer}");
        return Err(fail(problem, "run that version, or restore a backup"));
    }
    Ok(MIGRATIONS.into_iter().filter(move |known| !applied.iter().any(|(applied, _)| applied == known.name)))
}
