//! The writer thread: one connection, one queue, group commit.
//!
//! It takes all waiting writes (a single one when idle, hundreds under load), runs them as one
//! transaction, syncs it to disk, and only then answers the callers. There is no timer, so grouping
//! adds no latency to an idle store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::health::Health;
use super::session::Session;
use super::{Outage, StoreError, Tx};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::Millis;

/// The most writes in the queue; further callers wait for room.
const QUEUE_CAPACITY: usize = 4096;
/// The most writes in one transaction.
const MAX_GROUP: usize = 256;
/// How often the writer probes a failing store, whether or not other writes arrive.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

trait Job: Send {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<F, T> {
    work: F,
    result: Option<T>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Write<F, T>
where
    F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { result, caller, .. } = *self;
        // The caller may have gone away and no longer need the result; the write is committed all
        // the same.
        let _ = caller.send(committed.and_then(|()| result.ok_or(StoreError::Closed)));
    }
}

type BoxedJob = Box<dyn Job>;

/// The callers' handle to the queue.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<BoxedJob>,
    health: Arc<Health>,
}

/// Tells the thread to end once its queue is empty.
#[derive(Debug)]
pub(super) struct StopSignal(mpsc::Sender<()>);

impl StopSignal {
    pub(super) fn send(self) {
        drop(self.0);
    }
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    pub(super) async fn submit<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let job: BoxedJob = Box::new(Write { work, result: None, caller });
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.health.outage()
    }

    pub(super) fn panics(&self) -> u64 {
        self.health.panics()
    }
}

/// What the writer needs of a database. It lives in the writer's thread.
pub(super) trait Engine: Send + 'static {
    /// Runs `work` in a transaction and commits it.
    fn transact(
        &mut self,
        work: &mut dyn FnMut(Session<'_>) -> Result<(), StoreError>,
    ) -> Result<Committed, Failure>;
    /// Writes something harmless, to find out whether commits succeed.
    fn probe(&mut self, now: Millis) -> Result<(), StoreError>;
    /// Whether the error says that every other commit would fail too.
    fn is_outage(&self, error: &StoreError) -> bool;
    /// A group was committed, or failed.
    fn tried_group(&mut self);
    /// No write follows.
    fn close(self);
}

/// A transaction that was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// How long the commit took.
    pub took: Duration,
    /// It changed something.
    pub has_changes: bool,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not begin, so that no other could either.
    Begin(StoreError),
    /// A write in it failed, or the commit did.
    Write(StoreError),
}

/// Starts the thread.
pub(super) fn start(
    engine: impl Engine,
    clock: Clock,
    metrics: Metrics,
) -> std::io::Result<(Writer, std::thread::JoinHandle<()>, StopSignal)> {
    let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
    let (stop, stopped) = mpsc::channel(1);
    let health = Arc::new(Health::new(clock.clone(), metrics.clone()));
    let of_thread = Arc::clone(&health);
    let writer = WriterThread { engine, clock, metrics, health: Arc::clone(&health) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| writer.run(&runtime, jobs, stopped))).is_err() {
            of_thread.thread_ended();
        }
    })?;
    Ok((Writer { queue, health }, thread, StopSignal(stop)))
}

struct WriterThread<E> {
    engine: E,
    clock: Clock,
    metrics: Metrics,
    health: Arc<Health>,
}

/// What the thread does next.
enum Step {
    Probe,
    Commit,
    CloseQueue,
    End,
}

impl<E: Engine> WriterThread<E> {
    fn run(mut self, runtime: &Runtime, mut jobs: mpsc::Receiver<BoxedJob>, mut stopped: mpsc::Receiver<()>) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        let mut probe_at = Instant::now();
        loop {
            let is_failing = self.health.is_failing();
            if !is_failing {
                probe_at = Instant::now();
            }
            let next = async {
                tokio::select! {
                    biased;
                    // While the store fails, callers are turned away, so the writer itself must probe
                    // whether the disk has recovered. This branch comes first, or constant reads would
                    // keep it from running.
                    () = tokio::time::sleep_until(probe_at), if is_failing => Step::Probe,
                    count = jobs.recv_many(&mut group, MAX_GROUP) => {
                        if count == 0 { Step::End } else { Step::Commit }
                    }
                    _ = stopped.recv() => Step::CloseQueue,
                }
            };
            match runtime.block_on(next) {
                Step::Probe => {
                    self.probe();
                    probe_at = Instant::now() + PROBE_INTERVAL;
                    self.engine.tried_group();
                }
                Step::Commit => {
                    self.commit(&mut group);
                    self.engine.tried_group();
                }
                Step::CloseQueue => jobs.close(),
                Step::End => break,
            }
        }
        self.engine.close();
    }

    fn commit(&mut self, group: &mut Vec<BoxedJob>) {
        match self.commit_group(group) {
            Ok(()) => group.drain(..).for_each(|job| job.finish(Ok(()))),
            // One write of the group failed, or the commit did. Run each write alone, so that none
            // fails because of another.
            Err(Failure::Write(_)) if group.len() > 1 => {
                for mut job in group.drain(..) {
                    let result = self.commit_group(std::slice::from_mut(&mut job));
                    job.finish(result.map_err(|(Failure::Begin(error) | Failure::Write(error))| error));
                }
            }
            Err(Failure::Begin(error) | Failure::Write(error)) => {
                group.drain(..).for_each(|job| job.finish(Err(error.clone())));
            }
        }
    }

    /// Runs the group as one transaction.
    fn commit_group(&mut self, group: &mut [BoxedJob]) -> Result<(), Failure> {
        self.health.begin();
        let result = self.try_commit_group(group);
        match &result {
            Ok(committed) => {
                self.metrics.record_commit(committed.took);
                self.health.succeeded(committed.has_changes);
            }
            Err(Failure::Begin(error)) => self.health.failed(error),
            Err(Failure::Write(error)) if self.engine.is_outage(error) => self.health.failed(error),
            Err(Failure::Write(error)) => {
                self.health.withdrawn();
                // A bad row or a bug fails one write. The store fails only if a harmless write does.
                if matches!(error, StoreError::Database(_)) {
                    self.probe();
                }
            }
        }
        result.map(drop)
    }

    fn try_commit_group(&mut self, group: &mut [BoxedJob]) -> Result<Committed, Failure> {
        let (now, health) = (self.clock.now(), &self.health);
        self.engine.transact(&mut |session| {
            let tx = Tx { session, now };
            group.iter_mut().try_for_each(|job| {
                // A bug in one closure must not end the store for all callers. Its transaction is
                // rolled back.
                catch_unwind(AssertUnwindSafe(|| job.run(&tx))).unwrap_or_else(|_| {
                    health.panicked();
                    Err(StoreError::Panicked)
                })
            })
        })
    }

    fn probe(&mut self) {
        self.health.begin();
        match self.engine.probe(self.clock.now()) {
            Ok(()) => drop(self.health.succeeded(true)),
            Err(error) => self.health.failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Store, StoreLocation};
    use super::*;

    #[tokio::test]
    async fn a_failed_write_is_rolled_back_and_the_others_of_its_group_commit() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let writes = (0..50).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |tx| {
                        tx.put_kv(&format!("key{n}"), "kept")?;
                        if n % 7 == 0 { Err(StoreError::unreadable("no")) } else { Ok(()) }
                    })
                    .await
            })
        });
        let results = futures_util::future::join_all(writes).await;
        for (n, result) in results.into_iter().enumerate() {
            let stored = store.read(move |tx| tx.kv(&format!("key{n}"))).await.unwrap();
            assert_eq!(result.unwrap().is_ok(), n % 7 != 0);
            assert_eq!(stored.is_some(), n % 7 != 0, "write {n}");
        }
        assert_eq!(store.outage(), None, "a refused write is no failure of the store");
        closing.close();
    }

    #[tokio::test]
    async fn reads_do_not_mark_a_failing_store_healthy() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let run = |sql: &'static str| move |tx: &Tx<'_>| tx.session.batch(sql);
        let make_inserts_fail =
            "CREATE TEMP TRIGGER full BEFORE INSERT ON kv BEGIN SELECT RAISE(ABORT, 'full'); END";
        store.write(run(make_inserts_fail)).await.unwrap();
        store.write(|tx| tx.put_kv("a", "b")).await.unwrap_err();
        assert!(store.outage().is_some());
        store.write(|tx| tx.kv("a")).await.unwrap();
        assert!(store.outage().is_some());
        store.write(run("DROP TRIGGER full")).await.unwrap();
        // The writer notices by itself, although all other transactions write nothing.
        let recovers = async {
            while store.outage().is_some() {
                store.write(|tx| tx.kv("a")).await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), recovers).await.unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_write_or_read_and_nothing_else() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let panics = store.write(|tx| -> Result<(), StoreError> {
            tx.put_kv("a", "half")?;
            panic!("on purpose")
        });
        let commits = store.write(|tx| tx.put_kv("b", "whole"));
        let (panics, commits) = tokio::join!(panics, commits);
        assert!(matches!(panics, Err(StoreError::Panicked)), "{panics:?}");
        commits.unwrap();
        let stored = store.read(|tx| Ok((tx.kv("a")?, tx.kv("b")?))).await.unwrap();
        assert_eq!(stored, (None, Some("whole".to_owned())));
        assert_eq!(store.outage(), None);
        closing.close();
    }

    #[tokio::test]
    async fn closing_waits_for_accepted_writes() {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::File(folder.path().join("bridge.db"));
        let (store, closing) =
            Store::open(&location, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let write = tokio::spawn(async move { store.write(|tx| tx.put_kv("a", "b")).await });
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
        let written = write.await.unwrap().is_ok();
        let (store, closing) =
            Store::open(&location, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        assert_eq!(store.read(|tx| tx.kv("a")).await.unwrap().is_some(), written);
        closing.close();
    }
}
