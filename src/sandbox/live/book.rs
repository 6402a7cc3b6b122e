//! What the page is told: the wire, the drills, the latencies, and a bounded list of what changed, each with a number
//! that a reader goes on from.
//!
//! A change says only which part is another now; the part is drawn when it is sent, so that a reader who is behind gets
//! the newest once. Nobody is waited for: who falls behind the list must draw everything anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::sandbox::wire::Entry;

/// Calls that are kept.
pub(super) const WIRE_LIMIT: usize = 1_000;
/// Changes that a reader may be behind.
const CHANGES_LIMIT: usize = 1_000;
/// Points of each latency that are kept.
const POINTS: usize = 120;

/// A time, Unix milliseconds, and a latency in milliseconds.
pub type Point = (i64, u64);

/// Latencies, oldest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    pub accept_ms: VecDeque<Point>,
    pub end_to_end_ms: VecDeque<Point>,
}

/// What of the state is another now.
#[derive(Clone, Debug)]
pub enum Change {
    Wire(Arc<Entry>),
    Customer(Arc<str>),
    /// The agent at this place.
    Agent(usize),
    Bridge,
    Counters,
    /// Points that are new.
    Latency(Latency),
    /// The drill at this place.
    Drill(usize),
    Clock,
    Account,
    /// Everything must be drawn anew.
    Everything,
}

/// How a drill stands.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Drill {
    pub state: Stage,
    pub outcome: Option<Value>,
    pub took_ms: Option<u64>,
}

/// Where a drill is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    #[default]
    Idle,
    Running,
    Passed,
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

/// The book. Changes ring a bell that readers wait for.
#[derive(Debug)]
pub struct Book {
    inner: Mutex<Inner>,
    bell: watch::Sender<u64>,
}

/// Another drill is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another drill is running")]
pub struct Busy;

/// The changes after a number.
#[derive(Debug)]
pub enum Since {
    /// Them, and the number of the last one.
    These(u64, Vec<Change>),
    /// They are not kept any more, or the number is none of ours.
    Lost,
}

/// The parts of the book that make up the state, taken at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub sequence: u64,
    pub wire: Vec<Arc<Entry>>,
    pub latency: Latency,
    pub drills: Vec<Drill>,
}

impl Book {
    /// An empty one with so many drills.
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

    /// Something of the state is another now.
    pub fn change(&self, change: Change) {
        self.with(|inner| inner.note(change));
    }

    /// A call is over; `make` gives the entry with the number.
    pub fn called(&self, make: impl FnOnce(u64) -> Entry) {
        self.with(|inner| {
            let entry = Arc::new(make(inner.next_entry));
            inner.next_entry += 1;
            keep(&mut inner.wire, Arc::clone(&entry), WIRE_LIMIT);
            inner.note(Change::Wire(entry));
        });
    }

    /// Latencies were measured.
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

    /// A drill begins, unless one runs already.
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

    /// A drill has ended.
    pub fn end_drill(&self, at: usize, drill: Drill) {
        self.with(|inner| {
            inner.drills[at] = drill;
            inner.note(Change::Drill(at));
        });
    }

    /// How a drill stands.
    pub fn drill(&self, at: usize) -> Drill {
        self.lock().drills[at].clone()
    }

    /// Forgets the wire, the latencies and the outcomes of drills; one that runs goes on.
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

    /// The newest `calls` calls and everything else, at one moment.
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

    /// What changed after the change of this number, `at_once` changes at most.
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

    /// Rings at every change.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    fn with<T>(&self, write: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = write(&mut inner);
        self.bell.send_replace(inner.newest);
        result
    }

    /// A panic elsewhere leaves the book whole: each change is made in one step.
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
