//! Transactions: a group of writes, or of reads.
//!
//! A group that was running when its connection was lost is run again on the next one. If the answer to its COMMIT was
//! lost, the server is asked first whether it committed: each transaction knows its number.

use std::time::{Duration, Instant};

use fail::fail_point;
use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::link::{Link, LockKind};
use super::{Access, Postgres};
use crate::model::Millis;
use crate::store::StoreError;
use crate::store::scope::{Locks, Scope};
use crate::store::session::Session;
use crate::store::writer::{Committed, Engine, Failure};

/// A group that meets other transactions or loses its connection is run this often at least.
const MIN_TRIES: u32 = 3;
/// And again for this time, at most. Its callers wait for a little longer.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the outcome of a lost COMMIT is asked for.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(30);
const OUTCOME_PAUSE: Duration = Duration::from_millis(100);

/// How an attempt to commit ended.
enum Attempt {
    Committed(Committed),
    /// Nothing of it is stored, for a reason of its own.
    Failed(StoreError),
    /// Nothing of it is stored, and another attempt may succeed.
    Repeat(PostgresError),
    /// The answer to COMMIT was lost.
    Unknown {
        number: String,
        error: PostgresError,
    },
}

impl Engine for Postgres {
    fn transact(
        &mut self,
        scopes: &[Scope],
        work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
    ) -> Result<Committed, Failure> {
        let locks = Locks::of(scopes.iter().copied());
        let (started, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            let access = self.access;
            let link = self.link().map_err(Failure::Begin)?;
            let error = match attempt(link, access, &locks, work) {
                Attempt::Committed(committed) => return Ok(committed),
                Attempt::Failed(error) => return Err(Failure::Write(error)),
                Attempt::Repeat(error) => error,
                Attempt::Unknown { number, error } => match self.has_committed(&number) {
                    Some(true) => return Ok(Committed { took: Duration::ZERO, has_changes: true }),
                    Some(false) => error,
                    None => return Err(Failure::Begin(error.into())),
                },
            };
            if tries >= MIN_TRIES && started.elapsed() > REPEAT_TIMEOUT {
                let is_conflict = error.is_conflict();
                let error = StoreError::from(error);
                return Err(if is_conflict { Failure::Write(error) } else { Failure::Begin(error) });
            }
            tracing::debug!(%error, "a transaction is run again");
        }
    }

    fn probe(&mut self, now: Millis) -> Result<(), StoreError> {
        let sql = "INSERT INTO kv (key, value) VALUES ('probe', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let access = self.access;
        self.link()?;
        if access == Access::Read {
            return Ok(());
        }
        let now = now.0.to_string();
        let probed = self.transact(&[Scope::kv("probe")], &mut |session| {
            session.run(sql, &[now.as_str().into()])?;
            Ok(())
        });
        probed.map(drop).map_err(|(Failure::Begin(error) | Failure::Write(error))| error)
    }

    fn is_outage(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Postgres(error) if error.is_outage())
    }

    fn tried_group(&mut self) {}

    fn close(self) {}
}

/// Runs `work` in one transaction on `link`.
fn attempt(
    link: &Link,
    access: Access,
    locks: &Locks,
    work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
) -> Attempt {
    link.take_failure();
    link.take_changes();
    let number = match begin(link, access, locks) {
        Ok(number) => number,
        Err(error) if error.is_lost() || error.is_conflict() => return Attempt::Repeat(error),
        Err(error) => return roll_back(link, error.into()),
    };
    let result = work(Session::Postgres(link));
    // The server commits nothing after a failed statement, even if `work` went on.
    if let Some(error) = link.take_failure() {
        if link.is_lost() {
            return Attempt::Repeat(error);
        }
        return match roll_back(link, result.err().unwrap_or_else(|| error.clone().into())) {
            Attempt::Failed(_) if error.is_conflict() => Attempt::Repeat(error),
            failed => failed,
        };
    }
    if let Err(error) = result {
        return roll_back(link, error);
    }
    let started = Instant::now();
    fail_point!("store.commit");
    match link.ask(async |client| client.batch_execute("COMMIT").await) {
        Ok(()) => {
            fail_point!("store.committed");
            Attempt::Committed(Committed { took: started.elapsed(), has_changes: link.take_changes() })
        }
        Err(error) if access == Access::Read => Attempt::Repeat(error),
        Err(error) if error.is_lost() => Attempt::Unknown { number, error },
        // A deferred check, or a full disk: the server has rolled it back.
        Err(error) => Attempt::Failed(error.into()),
    }
}

/// Begins a transaction and locks what it may change. Returns its number; none for one that only reads.
fn begin(link: &Link, access: Access, locks: &Locks) -> Result<String, PostgresError> {
    if access == Access::Read {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        link.ask(async |client| client.batch_execute(begin).await)?;
        return Ok(String::new());
    }
    let (lock_all, keys) = match locks {
        Locks::Everything => ("SELECT pg_advisory_xact_lock(?1)", &[][..]),
        Locks::Keys(keys) => ("SELECT pg_advisory_xact_lock_shared(?1)", &keys[..]),
    };
    // `unnest` keeps the order.
    let lock_keys = "SELECT pg_advisory_xact_lock(?1, key) FROM unnest(?2::int4[]) AS key";
    let number = "SELECT pg_current_xact_id()::text";
    link.ask(async |client| {
        let lock_all = link.statement(client, lock_all).await?;
        let lock_keys = link.statement(client, lock_keys).await?;
        let number = link.statement(client, number).await?;
        let all: [&(dyn ToSql + Sync); 1] = [&link.lock_key(LockKind::Write)];
        let keys: [&(dyn ToSql + Sync); 2] = [&link.schema_key(), &keys];
        // All are sent before the first is answered, in this order.
        let (begun, has_all, has_keys, number) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.execute(&lock_all, &all),
            client.execute(&lock_keys, &keys),
            client.query_one(&number, &[]),
        );
        begun?;
        has_all?;
        has_keys?;
        number?.try_get(0)
    })
}

/// Ends a transaction of which nothing must stay.
fn roll_back(link: &Link, error: StoreError) -> Attempt {
    // If it fails, the connection is lost, and the transaction with it.
    let _ = link.batch("ROLLBACK");
    link.take_failure();
    Attempt::Failed(error)
}

impl Postgres {
    /// Whether the transaction `number` was committed; `None` if nobody can tell.
    fn has_committed(&mut self, number: &str) -> Option<bool> {
        let until = Instant::now() + OUTCOME_TIMEOUT;
        while Instant::now() < until {
            // Ends the former session, so that the transaction is no longer running.
            if let Ok(link) = self.link() {
                let sql = "SELECT pg_xact_status(?1::text::xid8)";
                let status: Result<Option<String>, PostgresError> = link.ask(async |client| {
                    let statement = link.statement(client, sql).await?;
                    client.query_one(&statement, &[&number]).await?.try_get(0)
                });
                link.take_failure();
                match status {
                    Ok(Some(status)) if status == "committed" => return Some(true),
                    Ok(Some(status)) if status == "aborted" => return Some(false),
                    // It is still running, or the connection was lost again.
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) if error.is_lost() => {}
                    // The number is in the future of a server that took over and lost the last commits.
                    Err(_) => return Some(false),
                }
            }
            std::thread::sleep(OUTCOME_PAUSE);
        }
        None
    }
}
