//! One connection, driven by the thread that waits for it.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::encoding::{Encoded, encode};
use super::error::PostgresError;
use super::image::{Batch, Image};
use super::many;
use crate::store::StoreError;
use crate::store::tally;
use crate::store::value::{Param, Value};

/// The longest time that a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to PostgreSQL. What is sent on it from one thread is answered in order.
pub(in crate::store) struct Link {
    client: Client,
    runtime: Rc<Runtime>,
    /// The prepared statements, by their text.
    statements: RefCell<HashMap<String, Statement>>,
    /// Those for many sets of parameters, by the text of the one that they are made from.
    for_many: RefCell<HashMap<String, Statement>>,
    /// Of the present transaction.
    image: RefCell<Image>,
    /// The first failure of the present transaction, after which the server commits nothing.
    failure: RefCell<Option<PostgresError>>,
    is_lost: Cell<bool>,
    /// The present transaction has changed something.
    has_changes: Cell<bool>,
    /// The name that it has in `pg_stat_activity`.
    pub name: String,
    /// Tells the advisory locks of one schema from those of others.
    pub schema: u32,
    /// The server's process.
    pub pid: i32,
}

/// What an advisory lock protects.
#[derive(Clone, Copy, Debug)]
pub(super) enum LockKind {
    /// All that is stored. Each transaction that writes shares it, or has it alone.
    Write = 0,
    /// The migrations.
    Migration = 1,
    /// Accepting, by a program that serves the database alone.
    Doors = 2,
    /// Sending, by a program that serves the database alone.
    Outbox = 3,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Link {
    /// A connection named `name`, which `runtime` drives.
    pub(super) fn new(client: Client, runtime: Rc<Runtime>, name: String) -> Self {
        Self {
            client,
            runtime,
            statements: RefCell::default(),
            for_many: RefCell::default(),
            image: RefCell::default(),
            failure: RefCell::default(),
            is_lost: Cell::default(),
            has_changes: Cell::default(),
            name,
            schema: 0,
            pid: 0,
        }
    }

    /// The key of an advisory lock.
    pub(super) fn lock_key(&self, kind: LockKind) -> i64 {
        (i64::from(self.schema) << 8) | kind as i64
    }

    /// The first half of the keys in this schema that a [`Scope`](crate::store::Scope) names. PostgreSQL tells them
    /// from those of [`Self::lock_key`].
    pub(super) fn schema_key(&self) -> i32 {
        self.schema.cast_signed()
    }

    /// Waits for what `question` asks the server. A failure is remembered until the transaction ends.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.ask_for(Some(STATEMENT_TIMEOUT), question)
    }

    /// The same for what may take any time.
    pub(super) fn ask_without_limit<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.ask_for(None, question)
    }

    fn ask_for<T>(
        &self,
        limit: Option<Duration>,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        tally::count_trip();
        let answer = self.runtime.block_on(async {
            let answer = question(&self.client);
            let Some(limit) = limit else { return answer.await.map_err(PostgresError::from) };
            match tokio::time::timeout(limit, answer).await {
                Err(_) => Err(PostgresError::Timeout(limit.as_secs())),
                Ok(answer) => answer.map_err(PostgresError::from),
            }
        });
        answer.inspect_err(|error| {
            self.is_lost.set(self.is_lost.get() || error.is_lost() || self.client.is_closed());
            self.failure.borrow_mut().get_or_insert_with(|| error.clone());
        })
    }

    /// The prepared statement with this text.
    pub(super) async fn statement(
        &self,
        client: &Client,
        sql: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(&translate(sql)).await?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The image of the present transaction. Must not be held while a question is asked.
    pub(super) fn image(&self) -> RefMut<'_, Image> {
        self.image.borrow_mut()
    }

    /// Sends what was deferred, and `question` behind it before the first is answered.
    pub(super) fn ask_behind_deferred<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, PostgresError> {
        let deferred = self.encode_deferred()?;
        if deferred.is_empty() {
            return self.ask(question);
        }
        self.ask(async |client| {
            // Few enough to be sent in order.
            let executed = join_all(deferred.iter().map(|deferred| deferred.execute(client)));
            let (executed, answer) = tokio::join!(executed, question(client));
            // After a failed statement, the server refuses those behind it.
            for changed_rows in executed {
                if changed_rows? > 0 {
                    self.note_change();
                }
            }
            answer
        })
    }

    /// Takes what was deferred, ready to be sent: what cannot be sent must be known before anything behind it is.
    fn encode_deferred(&self) -> Result<Vec<Deferred>, PostgresError> {
        let batches = self.image().take_deferred();
        let encode = |batch: Batch| {
            let statement = self.prepared_for_many(&batch.sql)?;
            let sets: Vec<&Vec<Value>> = batch.sets.iter().collect();
            let columns = columns(&sets);
            let each = columns.iter().zip(statement.params());
            let encoded: Result<Vec<_>, _> = each.map(|(column, ty)| encode(column, ty)).collect();
            let columns = encoded.map_err(|error| {
                let error = PostgresError::Client(error.to_string());
                self.failure.borrow_mut().get_or_insert_with(|| error.clone());
                error
            })?;
            Ok(Deferred { statement, columns })
        };
        batches.into_iter().map(encode).collect()
    }

    /// Sends what was deferred.
    pub(super) fn send_deferred(&self) -> Result<(), PostgresError> {
        if self.image().has_deferred() { self.ask_behind_deferred(async |_| Ok(())) } else { Ok(()) }
    }

    /// The answers to `sql` for each set of parameters.
    pub(super) async fn answers(
        &self,
        client: &Client,
        sql: &str,
        sets: &HashSet<Vec<Value>>,
    ) -> Result<HashMap<Vec<Value>, Vec<Row>>, Error> {
        let statement = self.statement_for_many(client, sql).await?;
        let sets: Vec<&Vec<Value>> = sets.iter().collect();
        let columns = columns(&sets);
        tally::count_statement();
        let rows = client.query(&statement, &to_dyn(&columns)).await?;
        let mut answers = vec![Vec::new(); sets.len()];
        for row in rows {
            let number: i64 = row.try_get(row.len() - 1)?;
            if let Some(answer) = usize::try_from(number - 1).ok().and_then(|at| answers.get_mut(at)) {
                answer.push(row);
            }
        }
        Ok(sets.into_iter().cloned().zip(answers).collect())
    }

    /// Draws ids for new rows of `table`, in order.
    pub(super) async fn draw_ids(&self, client: &Client, table: &str, count: i64) -> Result<Vec<i64>, Error> {
        let sql = format!("SELECT nextval('{table}_id_seq') FROM generate_series(1, ?1::int8)");
        let statement = self.statement(client, &sql).await?;
        tally::count_statement();
        client.query(&statement, &[&count]).await?.iter().map(|row| row.try_get(0)).collect()
    }

    /// Prepares the statement with this text, unless it is prepared already.
    pub(super) fn prepare(&self, sql: &str) -> Result<(), PostgresError> {
        let is_known = self.statements.borrow().contains_key(sql);
        if is_known { Ok(()) } else { self.ask(async |client| self.statement(client, sql).await.map(drop)) }
    }

    fn prepared_for_many(&self, sql: &str) -> Result<Statement, PostgresError> {
        let known = self.for_many.borrow().get(sql).cloned();
        match known {
            Some(statement) => Ok(statement),
            None => self.ask(async |client| self.statement_for_many(client, sql).await),
        }
    }

    /// The prepared statement that does for many sets of parameters what the statement with this text does for one.
    async fn statement_for_many(&self, client: &Client, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.for_many.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let of_one = self.statement(client, sql).await?;
        let (text, types) = (translate(sql), of_one.params());
        let text = many::change(&text, types).unwrap_or_else(|| many::select(&text, types));
        let statement = client.prepare(&text).await?;
        self.for_many.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The statements for many sets of parameters so far.
    #[cfg(test)]
    pub(super) fn texts_for_many(&self) -> Vec<String> {
        let texts = self.for_many.borrow().keys().cloned().collect::<Vec<_>>().into_iter().map(|sql| {
            let (text, of_one) = (translate(&sql), self.statements.borrow()[&sql].clone());
            many::change(&text, of_one.params()).unwrap_or_else(|| many::select(&text, of_one.params()))
        });
        texts.collect()
    }

    /// Whether the connection can no longer be used.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.get() || self.client.is_closed()
    }

    /// The first failure since the last call of this method.
    pub(super) fn take_failure(&self) -> Option<PostgresError> {
        self.failure.take()
    }

    /// The present transaction has changed something.
    pub(super) fn note_change(&self) {
        self.has_changes.set(true);
    }

    /// Whether the present transaction has changed something.
    pub(super) fn has_changes(&self) -> bool {
        self.has_changes.get()
    }

    /// Whether something was changed since the last call of this method.
    pub(super) fn take_changes(&self) -> bool {
        self.has_changes.take()
    }

    /// Runs statements without parameters, outside of any write.
    pub(in crate::store) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.ask(async |client| client.batch_execute(sql).await)?)
    }
}

/// The sets of parameters, column by column.
fn columns<'a>(sets: &[&'a Vec<Value>]) -> Vec<Vec<Param<'a>>> {
    let count = sets.first().map_or(0, |set| set.len());
    (0..count)
        .map(|at| sets.iter().map(|set| set.get(at).map_or(Param::Null, Param::from)).collect())
        .collect()
}

fn to_dyn<'a>(columns: &'a [Vec<Param<'a>>]) -> Vec<&'a (dyn ToSql + Sync)> {
    columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect()
}

/// A deferred statement that can be sent.
struct Deferred {
    statement: Statement,
    columns: Vec<Encoded>,
}

impl Deferred {
    async fn execute(&self, client: &Client) -> Result<u64, Error> {
        let columns: Vec<&(dyn ToSql + Sync)> =
            self.columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        tally::count_statement();
        client.execute(&self.statement, &columns).await
    }
}

/// A statement of the store in PostgreSQL's words: its parameters are numbered `$1`, and it names no index.
fn translate(sql: &str) -> String {
    let mut pieces = sql.split(" INDEXED BY ");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let name = piece.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(piece.len());
        text.push_str(&piece[name..]);
    }
    text.replace('?', "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_translated() {
        for (sql, expected) in [
            ("SELECT a FROM t WHERE b = ?1 AND c = ?12", "SELECT a FROM t WHERE b = $1 AND c = $12"),
            (
                "SELECT 1 FROM message INDEXED BY message_held WHERE a = ?1",
                "SELECT 1 FROM message WHERE a = $1",
            ),
            (
                "SELECT 1 FROM t INDEXED BY i\n UNION SELECT 1 FROM u INDEXED BY j",
                "SELECT 1 FROM t\n UNION SELECT 1 FROM u",
            ),
        ] {
            assert_eq!(translate(sql), expected);
        }
    }
}
