//! Transactions: a group of writes, or of reads.
//!
//! A group that was running when its connection was lost is run again on the next one. If the answer to its COMMIT was
//! lost, the next transaction looks first whether it committed: each leaves a token of its own in the row of its writer.
//! The number that the server gives to a transaction would not do: after a crash the server gives it again.

use std::time::{Duration, Instant};

use fail::fail_point;
use futures_util::future::join_all;
use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::image::Image;
use super::link::{Link, LockKind};
use super::membership::fence;
use super::{Access, Postgres};
use crate::model::Millis;
use crate::store::StoreError;
use crate::store::questions::Questions;
use crate::store::scope::{Locks, Scope};
use crate::store::session::Session;
use crate::store::tally;
use crate::store::writer::{Committed, Engine, Failure};

/// A group that meets other transactions or loses its connection is run this often at least.
const MIN_TRIES: u32 = 3;
/// And again for this time, at most. Its callers wait for a little longer.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the outcome of a lost COMMIT is asked for.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(30);
const OUTCOME_PAUSE: Duration = Duration::from_millis(100);

const FIND_TOKEN: &str = "SELECT token FROM writer WHERE name = ?1";
/// Whoever buries an instance waits for this lock first. Then the row tells.
const SHARE_FENCE: &str = "SELECT pg_advisory_xact_lock_shared(?1)";
const IS_ALIVE: &str = "SELECT EXISTS (SELECT 1 FROM instance WHERE id = ?1)";
const LEAVE_TOKEN: &str = "INSERT INTO writer (name, token) VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET token = excluded.token";

/// What an attempt needs besides its work.
struct Attempting<'a> {
    access: Access,
    /// The number by which this instance must be alive, if it is to record attempts.
    life: Option<i64>,
    /// The writer's name.
    writer: &'a str,
    locks: Locks,
    /// The token of an attempt whose COMMIT may have succeeded.
    unsure: Option<i64>,
}

/// How an attempt to commit ended.
enum Attempt {
    Committed(Committed),
    /// It could not begin.
    NotBegun(PostgresError),
    /// Nothing of it is stored, for a reason of its own.
    Failed(StoreError),
    /// Nothing of it is stored, and another attempt may succeed.
    Repeat(PostgresError),
    /// The answer to COMMIT was lost.
    Unknown {
        token: i64,
        error: PostgresError,
    },
}

impl Engine for Postgres {
    fn transact(
        &mut self,
        scopes: &[Scope],
        foresee: &dyn Fn(Session<'_>),
        work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
    ) -> Result<Committed, Failure> {
        let writer = self.writer.clone();
        let locks = Locks::of(scopes.iter().copied());
        let life = match &self.access {
            Access::Serve(life) if scopes.iter().any(|scope| scope.is_sending()) => Some(life.get()),
            Access::Serve(_) | Access::Operator | Access::Read => None,
        };
        let access = self.access.clone();
        let mut attempting = Attempting { access, life, writer: &writer, locks, unsure: None };
        let (started, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            // Nobody may hear of a failure, and nothing may be run again, before the outcome of a lost COMMIT is known.
            let must_know = attempting.unsure.is_some() && started.elapsed() < OUTCOME_TIMEOUT;
            let link = match self.link() {
                Ok(link) => link,
                Err(_) if must_know => continue,
                Err(error) => return Err(Failure::Begin(error)),
            };
            let error = match attempt(link, &mut attempting, foresee, work) {
                Attempt::Committed(committed) => return Ok(committed),
                Attempt::Failed(error) => return Err(Failure::Write(error)),
                Attempt::NotBegun(_) | Attempt::Repeat(_) if attempting.unsure.is_some() && must_know => {
                    std::thread::sleep(OUTCOME_PAUSE);
                    continue;
                }
                Attempt::NotBegun(error) if attempting.unsure.is_none() => {
                    return Err(Failure::Write(error.into()));
                }
                Attempt::NotBegun(error) | Attempt::Repeat(error) => error,
                Attempt::Unknown { error, .. } if started.elapsed() > OUTCOME_TIMEOUT => {
                    return Err(Failure::Begin(error.into()));
                }
                Attempt::Unknown { token, error } => {
                    attempting.unsure = Some(token);
                    tracing::debug!(%error, "the answer to a COMMIT was lost");
                    continue;
                }
            };
            if attempting.unsure.is_some() || (tries >= MIN_TRIES && started.elapsed() > REPEAT_TIMEOUT) {
                let may_go_alone = error.is_conflict() && attempting.unsure.is_none();
                let error = StoreError::from(error);
                return Err(if may_go_alone { Failure::Write(error) } else { Failure::Begin(error) });
            }
            tracing::debug!(%error, "a transaction is run again");
        }
    }

    fn probe(&mut self, now: Millis) -> Result<(), StoreError> {
        let sql = "INSERT INTO kv (key, value) VALUES ('probe', ?1)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.link()?;
        if matches!(self.access, Access::Read) {
            return Ok(());
        }
        let now = now.0.to_string();
        let probed = self.transact(&[Scope::kv("probe")], &|_| {}, &mut |session| {
            session.run(sql, &[now.as_str().into()])?;
            Ok(())
        });
        probed.map(drop).map_err(|(Failure::Begin(error) | Failure::Write(error))| error)
    }

    fn is_outage(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Postgres(error) if error.is_outage())
    }

    fn tried_group(&mut self) {}

    fn close(mut self) {
        let writer = std::mem::take(&mut self.writer);
        if matches!(self.access, Access::Operator)
            && let Ok(link) = self.link()
        {
            // If this fails, a row that nobody reads stays.
            let sql = "DELETE FROM writer WHERE name = $1";
            let _ = link.ask(async |client| client.execute(sql, &[&writer]).await);
        }
    }
}

/// Runs the work in one transaction on `link`.
fn attempt(
    link: &Link,
    attempting: &mut Attempting<'_>,
    foresee: &dyn Fn(Session<'_>),
    work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
) -> Attempt {
    link.take_failure();
    link.take_changes();
    *link.image() = Image::default();
    let questions = Questions::default();
    if attempting.unsure.is_none() {
        foresee(Session::Questions(&questions));
    }
    let begun = begin(link, attempting, &questions).and_then(|is_alive| {
        // Its locks are ours now, so that it has ended.
        let Some(token) = attempting.unsure else { return Ok((is_alive, false)) };
        Ok((is_alive, find_token(link, attempting.writer)? == Some(token)))
    });
    match begun {
        Ok((false, false)) => {
            roll_back(link);
            return Attempt::Failed(StoreError::Buried);
        }
        Ok((true, false)) => attempting.unsure = None,
        Ok((_, true)) => {
            roll_back(link);
            return Attempt::Committed(Committed { took: Duration::ZERO, has_changes: true });
        }
        Err(error) if error.is_lost() || error.is_conflict() => {
            roll_back(link);
            return Attempt::Repeat(error);
        }
        Err(error) => {
            roll_back(link);
            return Attempt::NotBegun(error);
        }
    }
    let result = work(Session::Postgres(link));
    // The server commits nothing after a failed statement, even if `work` went on.
    if let Some(error) = link.take_failure() {
        if link.is_lost() {
            return Attempt::Repeat(error);
        }
        roll_back(link);
        return if error.is_conflict() {
            Attempt::Repeat(error)
        } else {
            Attempt::Failed(result.err().unwrap_or_else(|| error.into()))
        };
    }
    if let Err(error) = result {
        roll_back(link);
        return Attempt::Failed(error);
    }
    let started = Instant::now();
    fail_point!("store.commit");
    let may_change = link.has_changes() || link.image().has_deferred();
    let token = rand::random();
    let committed = if may_change {
        commit(link, attempting.writer, token)
    } else {
        link.ask(async |client| client.batch_execute("COMMIT").await)
    };
    match committed {
        Ok(()) => {
            fail_point!("store.committed");
            Attempt::Committed(Committed { took: started.elapsed(), has_changes: link.take_changes() })
        }
        Err(error) if error.is_lost() && may_change => Attempt::Unknown { token, error },
        // Nothing was to be stored.
        Err(error) if error.is_lost() || error.is_conflict() => {
            roll_back(link);
            Attempt::Repeat(error)
        }
        // What was deferred fails, or the disk is full: the server has rolled it back.
        Err(error) => {
            roll_back(link);
            Attempt::Failed(error.into())
        }
    }
}

/// Begins a transaction, locks what it may change, and asks what it will probably read. Returns whether this instance
/// is alive, as far as it must be.
fn begin(link: &Link, attempting: &Attempting<'_>, questions: &Questions) -> Result<bool, PostgresError> {
    if matches!(attempting.access, Access::Read) {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        return link.ask(async |client| client.batch_execute(begin).await).map(|()| true);
    }
    let (lock_all, keys) = match &attempting.locks {
        Locks::Everything => ("SELECT pg_advisory_xact_lock(?1)", &[][..]),
        Locks::Keys(keys) => ("SELECT pg_advisory_xact_lock_shared(?1)", &keys[..]),
    };
    // `unnest` keeps the order.
    let lock_keys = "SELECT pg_advisory_xact_lock(?1, key) FROM unnest(?2::int4[]) AS key";
    let (asked, rows) = (questions.asked(), questions.rows());
    link.ask(async |client| {
        let lock_all = link.statement(client, lock_all).await?;
        let lock_keys = link.statement(client, lock_keys).await?;
        let share_fence = link.statement(client, SHARE_FENCE).await?;
        let is_alive = link.statement(client, IS_ALIVE).await?;
        let prove = async {
            let Some(id) = attempting.life else { return Ok(true) };
            tally::count_statement();
            tally::count_statement();
            let (fence, id): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&fence(id)], [&id]);
            let (shared, found) =
                tokio::join!(client.execute(&share_fence, &fence), client.query_one(&is_alive, &id));
            shared?;
            found?.try_get(0)
        };
        let all: [&(dyn ToSql + Sync); 1] = [&link.lock_key(LockKind::Write)];
        let keys: [&(dyn ToSql + Sync); 2] = [&link.schema_key(), &keys];
        let answers = asked.iter().map(|(sql, sets)| link.answers(client, sql, sets));
        let ids = rows.iter().map(|(table, count)| link.draw_ids(client, table, *count));
        tally::count_statement();
        tally::count_statement();
        // All are sent before the first is answered, in this order.
        let (begun, is_alive, has_all, has_keys, answers, ids) = tokio::join!(
            client.batch_execute("BEGIN"),
            prove,
            client.execute(&lock_all, &all),
            client.execute(&lock_keys, &keys),
            join_all(answers),
            join_all(ids),
        );
        begun?;
        has_all?;
        has_keys?;
        let mut image = link.image();
        for (sql, answers) in asked.keys().zip(answers) {
            image.learn(sql.clone(), answers?);
        }
        for (table, ids) in rows.keys().zip(ids) {
            image.learn_ids(table, ids?);
        }
        is_alive
    })
}

/// Sends what was deferred, leaves the token and commits. All are sent before the first is answered.
fn commit(link: &Link, writer: &str, token: i64) -> Result<(), PostgresError> {
    // The first time, what is deferred is sent before the token and the commit.
    link.prepare(LEAVE_TOKEN)?;
    link.ask_behind_deferred(async |client| {
        let leave = link.statement(client, LEAVE_TOKEN).await?;
        let values: [&(dyn ToSql + Sync); 2] = [&writer, &token];
        tally::count_statement();
        let (left, committed) = tokio::join!(client.execute(&leave, &values), client.batch_execute("COMMIT"));
        // After a failed statement the server answers COMMIT with success, and rolls back.
        left?;
        committed
    })
}

/// The token of the last transaction that a writer committed.
fn find_token(link: &Link, writer: &str) -> Result<Option<i64>, PostgresError> {
    link.ask(async |client| {
        let find = link.statement(client, FIND_TOKEN).await?;
        client.query_opt(&find, &[&writer]).await?.map(|row| row.try_get(0)).transpose()
    })
}

/// Ends a transaction of which nothing must stay.
fn roll_back(link: &Link) {
    // If it fails, the connection is lost, and the transaction with it.
    let _ = link.batch("ROLLBACK");
    link.take_failure();
}
