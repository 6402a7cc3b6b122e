//! Sessions of processes that serve the database: whether they are whole sessions, and how one that is lost is ended.

use super::error::PostgresError;
use super::link::{Link, LockKind};

/// A new session holds no locks.
const HELD_BY_THIS_SESSION: &str =
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";

/// Fails if the session is shared with others: its locks would be nobody's.
pub(super) fn refuse_pooler(link: &Link) -> Result<(), PostgresError> {
    let pooled = link.ask(async |client| client.query_one(HELD_BY_THIS_SESSION, &[]).await?.try_get(0));
    if pooled? { Err(PostgresError::Pooled) } else { Ok(()) }
}

/// Ends the session of a connection that this process has lost. The server may not know yet that it is lost, and keeps
/// its locks and its transaction.
pub(super) fn end_session(link: &Link, former: &str) -> Result<(), PostgresError> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = $1 AND usename = current_user AND datname = current_database()";
    link.ask(async |client| client.query(sql, &[&former]).await).map(drop)
}

/// The processes that serve the database, as their sessions name them. An earlier version serves it alone.
pub(super) fn holders(link: &Link) -> Result<Vec<String>, PostgresError> {
    let sql = "SELECT DISTINCT 'wechat-im-bridge process ' || split_part(a.application_name, ' ', 3)
                   || coalesce(' at ' || host(a.client_addr), '')
               FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (l.classid::bigint << 32) | l.objid::bigint = $1 ORDER BY 1";
    let key = link.lock_key(LockKind::Doors);
    link.ask(async |client| client.query(sql, &[&key]).await?.iter().map(|row| row.try_get(0)).collect())
}
