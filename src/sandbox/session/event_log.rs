//! The page's data: the calls, the drills, the latencies, and a bounded list of numbered changes
//! from which a reader continues.
//!
//! A change only names the part that changed. The part is rendered when it is sent, so a slow
//! reader gets the newest version once. The log never waits for a reader: a reader that falls
//! behind the list must load the whole state again.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::sandbox::wire::WireCall;

/// Calls that the log keeps.
pub(super) const WIRE_LIMIT: usize = 1_000;
/// Changes that the log keeps for slow readers.
const CHANGES_LIMIT: usize = 1_000;
/// Points of each latency that the log keeps.
const POINTS_LIMIT: usize = 120;

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
    Wire(Arc<WireCall>),
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
    /// The desk's line or hours.
    Desk,
    /// Whether the script runs, or how it ended.
    Script,
    /// The page must load the whole state again.
    Everything,
}

/// The state of a drill.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DrillState {
    /// The phase.
    pub state: DrillPhase,
    /// The text key and values of the outcome, once the drill has ended.
    pub outcome: Option<Value>,
    /// The duration in milliseconds, once the drill has ended.
    pub took_ms: Option<u64>,
    /// When the drill began, while it runs.
    #[serde(skip)]
    pub began: Option<Instant>,
}

/// The phase of a drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillPhase {
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
    wire: VecDeque<Arc<WireCall>>,
    next_entry: u64,
    latency: Latency,
    drills: Vec<DrillState>,
}

/// The log. Readers can wait for the next change.
#[derive(Debug)]
pub struct EventLog {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

/// The error that another drill is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another drill is running")]
pub struct Busy;

/// The changes after a number.
#[derive(Debug)]
pub enum ChangeBatch {
    /// The number of the last change in this batch, and the changes.
    Changes(u64, Vec<Change>),
    /// The log no longer keeps these changes, or the number is not from this log.
    Unavailable,
}

/// A consistent copy of the log's parts of the state.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the newest change in this copy.
    pub sequence: u64,
    /// The newest calls, oldest first.
    pub wire: Vec<Arc<WireCall>>,
    /// The latencies.
    pub latency: Latency,
    /// The state of each drill, in the order of the drills.
    pub drills: Vec<DrillState>,
}

impl EventLog {
    /// An empty log with `drills` idle drills.
    pub fn new(drills: usize) -> Self {
        let inner = Inner {
            newest: 0,
            changes: VecDeque::new(),
            wire: VecDeque::new(),
            next_entry: 1,
            latency: Latency::default(),
            drills: vec![DrillState::default(); drills],
        };
        Self { inner: Mutex::new(inner), changed: watch::Sender::new(0) }
    }

    /// Adds a change.
    pub fn add_change(&self, change: Change) {
        self.update(|inner| inner.push_change(change));
    }

    /// Adds a call that has ended; `make` builds it with the given id.
    pub fn add_call(&self, make: impl FnOnce(u64) -> WireCall) {
        self.update(|inner| {
            let entry = Arc::new(make(inner.next_entry));
            inner.next_entry += 1;
            push_bounded(&mut inner.wire, Arc::clone(&entry), WIRE_LIMIT);
            inner.push_change(Change::Wire(entry));
        });
    }

    /// Adds measured latencies.
    pub fn add_latencies(&self, accept: Option<Point>, end_to_end: impl IntoIterator<Item = Point>) {
        let new = Latency {
            accept_ms: accept.into_iter().collect(),
            end_to_end_ms: end_to_end.into_iter().collect(),
        };
        if new.accept_ms.is_empty() && new.end_to_end_ms.is_empty() {
            return;
        }
        self.update(|inner| {
            for point in &new.accept_ms {
                push_bounded(&mut inner.latency.accept_ms, *point, POINTS_LIMIT);
            }
            for point in &new.end_to_end_ms {
                push_bounded(&mut inner.latency.end_to_end_ms, *point, POINTS_LIMIT);
            }
            inner.push_change(Change::Latency(new));
        });
    }

    /// Marks the drill at index `at` as running. Fails if one is running already.
    pub fn begin_drill(&self, index: usize) -> Result<(), Busy> {
        self.update(|inner| {
            if inner.is_drill_running() {
                return Err(Busy);
            }
            let began = Some(Instant::now());
            inner.drills[index] = DrillState { state: DrillPhase::Running, began, ..DrillState::default() };
            inner.push_change(Change::Drill(index));
            Ok(())
        })
    }

    /// Whether a drill is running.
    pub fn is_drill_running(&self) -> bool {
        self.inner.lock().is_drill_running()
    }

    /// Stores the final state of the drill at index `at`.
    pub fn end_drill(&self, index: usize, drill: DrillState) {
        self.update(|inner| {
            inner.drills[index] = drill;
            inner.push_change(Change::Drill(index));
        });
    }

    /// The state of the drill at index `at`.
    pub fn drill(&self, index: usize) -> DrillState {
        self.inner.lock().drills[index].clone()
    }

    /// Clears the calls, the latencies and the outcomes of drills. A running drill stays running.
    pub fn reset(&self) {
        self.update(|inner| {
            inner.wire.clear();
            inner.latency = Latency::default();
            for drill in inner.drills.iter_mut().filter(|drill| drill.state != DrillPhase::Running) {
                *drill = DrillState::default();
            }
            inner.push_change(Change::Everything);
        });
    }

    /// Copies the newest `calls` calls and everything else under one lock.
    pub fn snapshot(&self, calls: usize) -> Snapshot {
        let inner = self.inner.lock();
        let skipped = inner.wire.len().saturating_sub(calls);
        Snapshot {
            sequence: inner.newest,
            wire: inner.wire.iter().skip(skipped).cloned().collect(),
            latency: inner.latency.clone(),
            drills: inner.drills.clone(),
        }
    }

    /// The newest call that fulfils the condition.
    pub fn find_call(&self, condition: impl Fn(&WireCall) -> bool) -> Option<Arc<WireCall>> {
        self.inner.lock().wire.iter().rev().find(|call| condition(call)).cloned()
    }

    /// The changes after `number`, at most `at_once` of them.
    pub fn since(&self, number: u64, limit: usize) -> ChangeBatch {
        let inner = self.inner.lock();
        let log_len = u64::try_from(inner.changes.len()).unwrap_or(u64::MAX);
        match inner.newest.checked_sub(number) {
            Some(behind) if behind <= log_len => {
                let skipped = usize::try_from(log_len - behind).unwrap_or(usize::MAX);
                let changes: Vec<_> = inner.changes.iter().skip(skipped).take(limit).cloned().collect();
                ChangeBatch::Changes(number + u64::try_from(changes.len()).unwrap_or_default(), changes)
            }
            _ => ChangeBatch::Unavailable,
        }
    }

    /// The number of the newest change.
    pub fn newest(&self) -> u64 {
        self.inner.lock().newest
    }

    /// A receiver that wakes at every change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn update<T>(&self, write: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = write(&mut inner);
        self.changed.send_replace(inner.newest);
        result
    }
}

impl Inner {
    fn is_drill_running(&self) -> bool {
        self.drills.iter().any(|drill| drill.state == DrillPhase::Running)
    }

    fn push_change(&mut self, change: Change) {
        self.newest += 1;
        push_bounded(&mut self.changes, change, CHANGES_LIMIT);
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    while list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_after(log: &EventLog, after: u64) -> Option<(u64, usize)> {
        match log.since(after, 10) {
            ChangeBatch::Changes(last, changes) => Some((last, changes.len())),
            ChangeBatch::Unavailable => None,
        }
    }

    #[test]
    fn a_reader_continues_from_its_number_unless_it_is_too_far_behind_or_ahead() {
        let log = EventLog::new(1);
        assert_eq!(batch_after(&log, 0), Some((0, 0)));
        assert_eq!(batch_after(&log, 1), None);
        for _ in 0..CHANGES_LIMIT + 5 {
            log.add_change(Change::Clock);
        }
        let newest = CHANGES_LIMIT as u64 + 5;
        assert_eq!(batch_after(&log, newest), Some((newest, 0)));
        assert_eq!(batch_after(&log, newest - 3), Some((newest, 3)));
        assert_eq!(batch_after(&log, 5), Some((15, 10)), "ten at once");
        assert_eq!(batch_after(&log, 4), None);
        assert_eq!(batch_after(&log, newest + 1), None);
    }

    #[test]
    fn one_drill_runs_at_a_time_and_a_reset_leaves_it_running() {
        let log = EventLog::new(2);
        assert_eq!(log.begin_drill(0), Ok(()));
        assert_eq!(log.begin_drill(1), Err(Busy));
        log.reset();
        assert_eq!(log.drill(0).state, DrillPhase::Running);
        log.end_drill(0, DrillState { state: DrillPhase::Passed, ..DrillState::default() });
        assert_eq!(log.begin_drill(1), Ok(()));
        log.reset();
        assert_eq!((log.drill(0).state, log.drill(1).state), (DrillPhase::Idle, DrillPhase::Running));
    }

    #[test]
    fn the_log_keeps_the_latest_points_and_ignores_empty_measurements() {
        let log = EventLog::new(0);
        log.add_latencies(None, []);
        assert_eq!(log.snapshot(0).sequence, 0);
        for at in 0..200 {
            log.add_latencies(Some((at, 1)), [(at, 2), (at, 3)]);
        }
        let latency = log.snapshot(0).latency;
        assert_eq!((latency.accept_ms.len(), latency.end_to_end_ms.len()), (POINTS_LIMIT, POINTS_LIMIT));
        assert_eq!(latency.accept_ms[0], (80, 1));
    }
}
