//! Questions that are collected before they are asked, from the methods that ask them.

use std::cell::{Ref, RefCell};
use std::collections::{HashMap, HashSet};

use super::value::{Param, Value};

/// The questions of a group of writes.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// The sets of parameters of each statement.
    asked: RefCell<HashMap<String, HashSet<Vec<Value>>>>,
    /// How many new rows each table will get.
    rows: RefCell<HashMap<&'static str, i64>>,
}

impl Questions {
    /// A statement will be asked. One that changes something cannot be foreseen.
    pub fn ask(&self, sql: &str, params: &[Param<'_>]) {
        if !sql.starts_with("SELECT") && !sql.starts_with("WITH") {
            return;
        }
        let set = params.iter().copied().map(Value::from).collect();
        let mut asked = self.asked.borrow_mut();
        match asked.get_mut(sql) {
            Some(sets) => drop(sets.insert(set)),
            None => drop(asked.insert(sql.to_owned(), HashSet::from([set]))),
        }
    }

    /// A row will be added.
    pub fn add_row(&self, table: &'static str) {
        *self.rows.borrow_mut().entry(table).or_default() += 1;
    }

    /// The sets of parameters of each statement.
    pub fn asked(&self) -> Ref<'_, HashMap<String, HashSet<Vec<Value>>>> {
        self.asked.borrow()
    }

    /// How many new rows each table will get.
    pub fn rows(&self) -> Ref<'_, HashMap<&'static str, i64>> {
        self.rows.borrow()
    }
}
