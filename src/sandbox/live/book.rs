//! The page's data: the calls, the drills, the latencies, and a bounded list of numbered changes
//! from which a reader continues.
//!
//! A change only names the part that changed. The part is rendered when it is sent, so a slow
//! reader gets the newest version once. The log never waits for a reader: a reader that falls
//! behind the list must load the whole state again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::sandbox::wire::Entry;

/// Calls that the log keeps.
pub(super) const WIRE_LIMIT: usize = 1_000;
/// Changes that the log keeps for slow readers.
const CHANGES_LIMIT: usize = 1_000;
/// Points of each latency that the log keeps.
const POINTS: usize = 120;

/// A time, Unix milliseconds, and a latency in milliseconds.
pub type Point = (i64, u64);

/// Measured latencies, oldest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// From a push or a webhook to the bridge's answer.
    pub accept_ms: VecDeque<Point>,
    /// From a message to its arrival on the other platform.
    pub end_to_end_ms: VecDeque<Point>,
}

/// A part of the state that changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A call has ended.
    Wire(Arc<Entry>),
    /// The customer with this openid.
    Customer(Arc<str>),
    /// The agent at this index.
    Agent(usize),
    /// The bridge's process or its readiness.
    Bridge,
    /// The bridge's counters.
    Counters,
    /// New points of latencies.
    Latency(Latency),
    /// The drill at this index.
    Drill(usize),
    /// WeChat's clock was moved.
    Clock,
    /// The account's type.
    Account,
    /// The page must load the whole state again.
    Everything,
}

/// The state of a drill.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Drill {
    /// The phase.
    pub state: Stage,
    /// The text key and values of the outcome, once the drill has ended.
    pub outcome: Option<Value>,
    /// The duration in milliseconds, once the drill has ended.
    pub took_ms: Option<u64>,
}

/// The phase of a drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Never run, or reset.
    #[default]
    Idle,
    /// Running now.
    Running,
    /// Every condition was met.
    Passed,
    /// A condition was not met in time.
    Failed,
}

#[derive(Debug)]
struct Inner {
    /// The number of the newest change.
    newest: u64,
    changes: VecDeque<Change>,
    wire: VecDeque<Arc<Entry>>,
    next_entry: u64,
    latency: Latency,
    drills: Vec<Drill>,
}

/// The log. Readers can wait for the next change.
#[derive(Debug)]
pub struct Book {
    inner: Mutex<Inner>,
    bell: watch::Sender<u64>,
}

/// The error that another drill is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another drill is running")]
pub struct Busy;

/// The changes after a number.
#[derive(Debug)]
pub enum Since {
    /// The number of the last change in this batch, and the changes.
    These(u64, Vec<Change>),
    /// The log no longer keeps these changes, or the number is not from this log.
    Lost,
}

/// A consistent copy of the log's parts of the state.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the newest change in this copy.
    pub sequence: u64,
    /// The newest calls, oldest first.
    pub wire: Vec<Arc<Entry>>,
    /// The latencies.
    pub latency: Latency,
    /// The state of each drill, in the order of the drills.
    pub drills: Vec<Drill>,
}

impl Book {
    /// An empty log with `drills` idle drills.
    pub fn new(drills: usize) -> Self {
        let inner = Inner {
            newest: 0,
            changes: VecDeque::new(),
            wire: VecDeque::new(),
            next_entry: 1,
            latency: Latency::default(),
            drills: vec![Drill::default(); drills],
        };
        Self { inner: Mutex::new(inner), bell: watch::Sender::new(0) }
    }

    /// Adds a change.
    pub fn change(&self, change: Change) {
        self.with(|inner| inner.note(change));
    }

    /// Adds a call that has ended; `make` builds it with the given id.
    pub fn called(&self, make: impl FnOnce(u64) -> Entry) {
        self.with(|inner| {
            let entry = Arc::new(make(inner.next_entry));
            inner.next_entry += 1;
            keep(&mut inner.wire, Arc::clone(&entry), WIRE_LIMIT);
            inner.note(Change::Wire(entry));
        });
    }

    /// Adds measured latencies.
    pub fn measured(&self, accept: Option<Point>, end_to_end: impl IntoIterator<Item = Point>) {
        let new = Latency {
            accept_ms: accept.into_iter().collect(),
            end_to_end_ms: end_to_end.into_iter().collect(),
        };
        if new.accept_ms.is_empty() && new.end_to_end_ms.is_empty() {
            return;
        }
        self.with(|inner| {
            for point in &new.accept_ms {
                keep(&mut inner.latency.accept_ms, *point, POINTS);
            }
            for point in &new.end_to_end_ms {
                keep(&mut inner.latency.end_to_end_ms, *point, POINTS);
            }
            inner.note(Change::Latency(new));
        });
    }

    /// Marks the drill at index `at` as running. Fails if one is running already.
    pub fn begin_drill(&self, at: usize) -> Result<(), Busy> {
        self.with(|inner| {
            if inner.drills.iter().any(|drill| drill.state == Stage::Running) {
                return Err(Busy);
            }
            inner.drills[at] = Drill { state: Stage::Running, ..Drill::default() };
            inner.note(Change::Drill(at));
            Ok(())
        })
    }

    /// Stores the final state of the drill at index `at`.
    pub fn end_drill(&self, at: usize, drill: Drill) {
        self.with(|inner| {
            inner.drills[at] = drill;
            inner.note(Change::Drill(at));
        });
    }

    /// The state of the drill at index `at`.
    pub fn drill(&self, at: usize) -> Drill {
        self.lock().drills[at].clone()
    }

    /// Clears the calls, the latencies and the outcomes of drills. A running drill stays running.
    pub fn reset(&self) {
        self.with(|inner| {
            inner.wire.clear();
            inner.latency = Latency::default();
            for drill in inner.drills.iter_mut().filter(|drill| drill.state != Stage::Running) {
                *drill = Drill::default();
            }
            inner.note(Change::Everything);
        });
    }

    /// Copies the newest `calls` calls and everything else under one lock.
    pub fn snapshot(&self, calls: usize) -> Snapshot {
        let inner = self.lock();
        let skipped = inner.wire.len().saturating_sub(calls);
        Snapshot {
            sequence: inner.newest,
            wire: inner.wire.iter().skip(skipped).cloned().collect(),
            latency: inner.latency.clone(),
            drills: inner.drills.clone(),
        }
    }

    /// The changes after `number`, at most `at_once` of them.
    pub fn since(&self, number: u64, at_once: usize) -> Since {
        let inner = self.lock();
        let kept = u64::try_from(inner.changes.len()).unwrap_or(u64::MAX);
        match inner.newest.checked_sub(number) {
            Some(behind) if behind <= kept => {
                let skipped = usize::try_from(kept - behind).unwrap_or(usize::MAX);
                let changes: Vec<_> = inner.changes.iter().skip(skipped).take(at_once).cloned().collect();
                Since::These(number + u64::try_from(changes.len()).unwrap_or_default(), changes)
            }
            _ => Since::Lost,
        }
    }

    /// The number of the newest change.
    pub fn newest(&self) -> u64 {
        self.lock().newest
    }

    /// A receiver that wakes at every change.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    fn with<T>(&self, write: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = write(&mut inner);
        self.bell.send_replace(inner.newest);
        result
    }

    /// Ignores poisoning: each change is made in one step, so a panic leaves the log consistent.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, change: Change) {
        self.newest += 1;
        keep(&mut self.changes, change, CHANGES_LIMIT);
    }
}

fn keep<T>(list: &mut VecDeque<T>, one: T, limit: usize) {
    while list.len() >= limit {
        list.pop_front();
    }
    list.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(book: &Book, after: u64) -> Option<(u64, usize)> {
        match book.since(after, 10) {
            Since::These(last, changes) => Some((last, changes.len())),
            Since::Lost => None,
        }
    }

    #[test]
    fn a_reader_goes_on_from_a_number_and_one_that_is_too_far_behind_or_ahead_is_lost() {
        let book = Book::new(1);
        assert_eq!(numbers(&book, 0), Some((0, 0)));
        assert_eq!(numbers(&book, 1), None);
        for _ in 0..CHANGES_LIMIT + 5 {
            book.change(Change::Clock);
        }
        let newest = CHANGES_LIMIT as u64 + 5;
        assert_eq!(numbers(&book, newest), Some((newest, 0)));
        assert_eq!(numbers(&book, newest - 3), Some((newest, 3)));
        assert_eq!(numbers(&book, 5), Some((15, 10)), "ten at once");
        assert_eq!(numbers(&book, 4), None);
        assert_eq!(numbers(&book, newest + 1), None);
    }

    #[test]
    fn one_drill_runs_at_a_time_and_a_reset_leaves_it_running() {
        let book = Book::new(2);
        assert_eq!(book.begin_drill(0), Ok(()));
        assert_eq!(book.begin_drill(1), Err(Busy));
        book.reset();
        assert_eq!(book.drill(0).state, Stage::Running);
        book.end_drill(0, Drill { state: Stage::Passed, ..Drill::default() });
        assert_eq!(book.begin_drill(1), Ok(()));
        book.reset();
        assert_eq!((book.drill(0).state, book.drill(1).state), (Stage::Idle, Stage::Running));
    }

    #[test]
    fn the_latest_points_are_kept_and_nothing_measured_is_no_change() {
        let book = Book::new(0);
        book.measured(None, []);
        assert_eq!(book.snapshot(0).sequence, 0);
        for at in 0..200 {
            book.measured(Some((at, 1)), [(at, 2), (at, 3)]);
        }
        let latency = book.snapshot(0).latency;
        assert_eq!((latency.accept_ms.len(), latency.end_to_end_ms.len()), (POINTS, POINTS));
        assert_eq!(latency.accept_ms[0], (80, 1));
    }
}
