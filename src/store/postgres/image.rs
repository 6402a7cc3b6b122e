//! What a group of writes knows of the database before its statements ask, and what it has not told it yet.
//!
//! A group asks what its writes will probably read in the trip that locks their scopes, and stores what they change in
//! as few statements as it can, in the trip that commits. Whatever else a write asks is answered by the database, after
//! all that was deferred. An answer is used only as long as nothing of the write's scope has changed since.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::store::scope::Scope;
use crate::store::value::{Param, Value};

/// The most statements that are deferred.
const MAX_BATCHES: usize = 16;

/// The image of one transaction.
#[derive(Default)]
pub(super) struct Image {
    answers: HashMap<String, HashMap<Vec<Value>, Vec<Row>>>,
    /// Ids that were drawn and not given yet, by table.
    ids: HashMap<&'static str, std::vec::IntoIter<i64>>,
    changed: Changed,
    write: Write,
    batches: Vec<Batch>,
}

/// What the writes so far have changed: the keys of their scopes.
enum Changed {
    These(HashSet<i32>),
    Everything,
}

/// The write that is running.
#[derive(Default)]
struct Write {
    /// Of its scope; `None`: everything.
    keys: Option<Vec<i32>>,
    has_changes: bool,
    /// The tables that it has changed by what it deferred.
    tables: Vec<String>,
    /// Nothing else of its scope has changed since the answers were given.
    is_fresh: bool,
    /// The first place for what it defers next: behind its own last statement. So no statement writes one row twice,
    /// because the scopes of the writes that share it have nothing in common.
    next: usize,
}

/// One deferred statement.
pub(super) struct Batch {
    pub sql: String,
    /// The sets of parameters.
    pub sets: Vec<Vec<Value>>,
}

impl Default for Changed {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl Write {
    /// Notes the table of an `INSERT INTO` or an `UPDATE`.
    fn note_table(&mut self, sql: &str) {
        let table = sql.split_whitespace().find(|word| !matches!(*word, "INSERT" | "INTO" | "UPDATE"));
        let table = table.unwrap_or_default();
        if self.tables.iter().all(|known| known != table) {
            self.tables.push(table.to_owned());
        }
    }
}

impl Image {
    /// The answers to `sql` for these sets of parameters.
    pub fn learn(&mut self, sql: String, answers: HashMap<Vec<Value>, Vec<Row>>) {
        self.answers.insert(sql, answers);
    }

    /// The ids that were drawn for new rows of `table`.
    pub fn learn_ids(&mut self, table: &'static str, ids: Vec<i64>) {
        self.ids.insert(table, ids.into_iter());
    }

    /// The next write begins. Returns whether what was deferred must be sent first.
    pub fn begin_write(&mut self, scope: Scope) -> bool {
        let keys = scope.lock_keys();
        let is_fresh = match (&self.changed, &keys) {
            (Changed::Everything, _) => false,
            (Changed::These(changed), None) => changed.is_empty(),
            (Changed::These(changed), Some(keys)) => keys.iter().all(|key| !changed.contains(key)),
        };
        self.write = Write { keys, is_fresh, ..Write::default() };
        !is_fresh
    }

    /// The write changes something other than by what it defers.
    pub fn note_change(&mut self) {
        self.write.is_fresh = false;
        self.note_scope();
    }

    /// Later writes with the same scope can no longer use what was learned before.
    fn note_scope(&mut self) {
        let write = &mut self.write;
        if std::mem::replace(&mut write.has_changes, true) {
            return;
        }
        match (&mut self.changed, &write.keys) {
            (Changed::These(changed), Some(keys)) => changed.extend(keys),
            (changed, _) => *changed = Changed::Everything,
        }
    }

    /// The answer to a question, if it is known. Gives it once.
    pub fn answer(&mut self, sql: &str, params: &[Param<'_>]) -> Option<Vec<Row>> {
        let Write { is_fresh, tables, .. } = &self.write;
        if !is_fresh || tables.iter().any(|table| sql.contains(table.as_str())) {
            return None;
        }
        let params: Vec<Value> = params.iter().copied().map(Value::from).collect();
        self.answers.get_mut(sql)?.remove(&params)
    }

    /// An id for a new row of `table`, if one is left.
    pub fn id(&mut self, table: &str) -> Option<i64> {
        self.ids.get_mut(table)?.next()
    }

    /// Defers a change. Returns whether all that was deferred must be sent.
    pub fn defer(&mut self, sql: &str, params: &[Param<'_>]) -> bool {
        self.note_scope();
        self.write.note_table(sql);
        let set = params.iter().copied().map(Value::from).collect();
        let next = self.write.next;
        let found = self.batches.iter_mut().enumerate().skip(next).find(|(_, batch)| batch.sql == sql);
        if let Some((at, batch)) = found {
            batch.sets.push(set);
            self.write.next = at + 1;
        } else {
            self.batches.push(Batch { sql: sql.to_owned(), sets: vec![set] });
            self.write.next = self.batches.len();
        }
        self.batches.len() >= MAX_BATCHES
    }

    /// Whether something was deferred and not sent yet.
    pub fn has_deferred(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Takes what was deferred, in order.
    pub fn take_deferred(&mut self) -> Vec<Batch> {
        self.write.next = 0;
        std::mem::take(&mut self.batches)
    }
}
