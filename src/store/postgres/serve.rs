//! Keeps a second process from serving the same database.
//!
//! Each connection that writes holds a lock of its own for as long as it lives, so that one that has lost its lock can
//! write nothing either, and a second process must wait until all of them are gone.

use std::time::Duration;

use super::connect::Connector;
use super::error::PostgresError;
use super::link::{Link, LockKind};
use crate::store::open_error::OpenError;
use crate::store::scope::Queue;

/// How often, and at which interval, the lock is tried before another process is taken to hold it. The server needs a
/// moment to notice that a process was killed.
const TRIES: u32 = 20;
/// A new session holds no locks.
const HELD_BY_THIS_SESSION: &str =
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";
const PAUSE: Duration = Duration::from_millis(50);

fn lock_of(queue: Queue) -> LockKind {
    match queue {
        Queue::Doors => LockKind::Doors,
        Queue::Outbox => LockKind::Outbox,
    }
}

/// Takes the lock for the session of `link`.
pub(super) fn claim(link: &Link, queue: Queue, connector: &Connector) -> Result<(), OpenError> {
    let key = link.lock_key(lock_of(queue));
    let pooled = link.ask(async |client| client.query_one(HELD_BY_THIS_SESSION, &[]).await?.try_get(0));
    if pooled.map_err(|error| connector.error(&error))? {
        return Err(connector.error(&PostgresError::Pooled));
    }
    for tries in 0.. {
        if try_claim(link, key).map_err(|error| connector.error(&error))? {
            return Ok(());
        }
        if tries == TRIES {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let holder = holder(link, key).map_err(|error| connector.error(&error))?;
    let problem = format!("is in use by {}", holder.unwrap_or_else(|| "another process".to_owned()));
    let fix = "stop it first, or give this instance its own database";
    Err(OpenError::Postgres { name: connector.name.clone(), problem, fix })
}

/// Takes the lock for the connection that follows a lost one of this process, whose session is ended first.
pub(super) fn claim_again(link: &Link, queue: Queue, former: &str) -> Result<bool, PostgresError> {
    end_session(link, former)?;
    try_claim(link, link.lock_key(lock_of(queue)))
}

fn try_claim(link: &Link, key: i64) -> Result<bool, PostgresError> {
    link.ask(async |client| client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await?.try_get(0))
}

/// Ends the session of a connection that this process has lost. The server may not know yet that it is lost, and keeps
/// its locks and its transaction.
pub(super) fn end_session(link: &Link, former: &str) -> Result<(), PostgresError> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = $1 AND usename = current_user AND datname = current_database()";
    link.ask(async |client| client.query(sql, &[&former]).await).map(drop)
}

/// The process that serves the database, as its session names it.
pub(super) fn holder_now(link: &Link) -> Result<Option<String>, PostgresError> {
    holder(link, link.lock_key(LockKind::Doors))
}

fn holder(link: &Link, key: i64) -> Result<Option<String>, PostgresError> {
    let sql = "SELECT a.application_name || coalesce(' at ' || host(a.client_addr), '')
               FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (l.classid::bigint << 32) | l.objid::bigint = $1";
    link.ask(async |client| match client.query_opt(sql, &[&key]).await? {
        Some(row) => row.try_get(0),
        None => Ok(None),
    })
}
