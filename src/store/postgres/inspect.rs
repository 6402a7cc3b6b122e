//! What `check` tells about a server, without a change to it.

use super::connect::{Connector, PostgresLocation};
use super::error::PostgresError;
use super::link::Link;
use super::{migrate, runtime, serve};
use crate::clock::Clock;
use crate::store::open_error::OpenError;

/// The clocks of this machine and of the server may differ by this much, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 1_000;

/// What is not as it should be, and what to do about it.
pub type Warning = (String, &'static str);

/// The state of a database that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The server and the database, without the user and the password.
    pub name: String,
    /// The server's version, such as `15.3`.
    pub version: String,
    /// It holds no store yet.
    pub is_empty: bool,
    /// Its schema lacks migrations.
    pub is_outdated: bool,
    /// The processes that serve it.
    pub holders: Vec<String>,
    /// What works and is not as it should be.
    pub warnings: Vec<Warning>,
}

/// Looks at the server. Fails if the store could not work on it. Blocks.
pub fn inspect_server(location: &PostgresLocation, clock: &Clock) -> Result<ServerState, OpenError> {
    let runtime = runtime()?;
    let connector = Connector::new(location)?;
    let error = |error: PostgresError| connector.error(&error);
    let link = connector.connect(&runtime).map_err(error)?;
    let second = connector.connect(&runtime).map_err(error)?;
    if link.pid == second.pid {
        return Err(error(PostgresError::Pooled));
    }
    drop(second);
    let may_create = check_rights(&link, &connector)?;
    let missing = migrate::missing(&link, &connector)?.count();
    if missing > 0 && !may_create {
        return Err(OpenError::Postgres {
            name: connector.name.clone(),
            problem: "this user may not create tables in the schema".to_owned(),
            fix: "grant CREATE on the schema, or connect as its owner",
        });
    }
    let is_empty = missing == migrate::MIGRATIONS.len();
    let (version, warnings) = settings(&link, clock).map_err(error)?;
    let holders = serve::holders(&link).map_err(error)?;
    let name = connector.name.clone();
    Ok(ServerState { name, version, is_empty, is_outdated: missing > 0, holders, warnings })
}

/// Fails if the user may not change what is stored. Returns whether the user may create tables.
fn check_rights(link: &Link, connector: &Connector) -> Result<bool, OpenError> {
    const SCHEMA: &str = "SELECT has_schema_privilege(current_schema(), 'CREATE'), pg_is_in_recovery(),
        current_setting('default_transaction_read_only')::bool";
    const TABLES: &str = "SELECT c.relname::text FROM pg_class AS c
        WHERE to_regclass('schema_migration') IS NOT NULL
        AND c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT (
            has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        ) ORDER BY 1 LIMIT 1";
    let found = link.ask(async |client| {
        let row = client.query_one(SCHEMA, &[]).await?;
        let closed: Option<String> = match client.query_opt(TABLES, &[]).await? {
            Some(row) => row.try_get(0)?,
            None => None,
        };
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, closed))
    });
    let (may_create, is_standby, is_read_only, closed): (bool, bool, bool, Option<String>) =
        found.map_err(|error| connector.error(&error))?;
    let fail = |problem: String, fix| Err(OpenError::Postgres { name: connector.name.clone(), problem, fix });
    if is_standby {
        return fail("it is a standby, which only reads".to_owned(), "name the primary");
    }
    if is_read_only {
        let fix = "reset default_transaction_read_only for this user and database";
        return fail("its transactions are read-only".to_owned(), fix);
    }
    if let Some(table) = closed {
        let fix = "grant SELECT, INSERT, UPDATE and DELETE, or connect as the owner of the tables";
        return fail(format!("this user may not change the table {table}"), fix);
    }
    Ok(may_create)
}

/// The server's version, and what is not as it should be.
fn settings(link: &Link, clock: &Clock) -> Result<(String, Vec<Warning>), PostgresError> {
    const SETTINGS: &str = "SELECT split_part(current_setting('server_version'), ' ', 1),
        current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let asked = clock.now();
    let (version, fsync, full_pages, now): (String, bool, bool, i64) = link.ask(async |client| {
        let row = client.query_one(SETTINGS, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    })?;
    let answered = clock.now();
    let mut warnings = Vec::new();
    if !fsync || !full_pages {
        let problem = "fsync or full_page_writes is off: a crash of the server's machine loses messages";
        warnings.push((problem.to_owned(), "set both to on in postgresql.conf"));
    }
    // How far it is outside the time in which it answered.
    let ahead_ms = if now > answered.0 { now - answered.0 } else { (now - asked.0).min(0) };
    if ahead_ms.abs() > CLOCK_TOLERANCE_MS {
        let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let problem = format!("the server's clock is {} ms {direction} this machine's", ahead_ms.abs());
        warnings.push((problem, "set both clocks, such as with chrony"));
    }
    Ok((version, warnings))
}
