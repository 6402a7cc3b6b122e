//! One connection, driven by the thread that waits for it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Statement};

use super::error::PostgresError;
use crate::store::StoreError;

/// The longest time that a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to PostgreSQL. What is sent on it from one thread is answered in order.
pub(in crate::store) struct Link {
    client: Client,
    runtime: Rc<Runtime>,
    /// The prepared statements, by their text.
    statements: RefCell<HashMap<String, Statement>>,
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
    /// Serving the database: the session that accepts.
    Doors = 2,
    /// Serving the database: the session that sends.
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

    /// Whether something was changed since the last call of this method.
    pub(super) fn take_changes(&self) -> bool {
        self.has_changes.take()
    }

    /// Runs statements without parameters.
    pub(in crate::store) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.ask(async |client| client.batch_execute(sql).await)?)
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
