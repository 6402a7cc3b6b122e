//! The writer thread: one connection, one queue, group commit.
//!
//! It takes all waiting writes (a single one when idle, hundreds under load), runs them as one
//! transaction, syncs it to disk, and only then answers the callers. There is no timer, so grouping
//! adds no latency to an idle store.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::health::Health;
use super::open_error::OpenError;
use super::scope::Scope;
use super::session::Session;
use super::tally::{self, Tally};
use super::{Outage, StoreError, Tx};
use crate::model::Millis;

/// The most writes in the queue; further callers wait for room.
const QUEUE_CAPACITY: usize = 4096;
/// The most writes in one transaction.
const MAX_GROUP: usize = 256;
/// How often the writer probes a failing store, whether or not other writes arrive.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

trait Job: Send {
    fn scope(&self) -> Scope;
    fn foresee(&self, tx: &Tx<'_>);
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<G, F, T> {
    scope: Scope,
    foresee: G,
    work: F,
    result: Option<T>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<G, F, T> Job for Write<G, F, T>
where
    G: Fn(&Tx<'_>) + Send,
    F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn scope(&self) -> Scope {
        self.scope
    }

    fn foresee(&self, tx: &Tx<'_>) {
        (self.foresee)(tx);
    }

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
    load: Arc<AtomicUsize>,
}

/// A job that its caller waits for.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the thread to end once its queue is empty.
#[derive(Debug)]
struct StopSignal(mpsc::Sender<()>);

impl StopSignal {
    fn send(self) {
        drop(self.0);
    }
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    /// Runs a job on the thread. `foresee` asks what `work` will probably ask.
    pub(super) async fn submit<T, F>(
        &self,
        scope: Scope,
        foresee: impl Fn(&Tx<'_>) + Send + 'static,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.load.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.load);
        let (caller, result) = oneshot::channel();
        let job: BoxedJob = Box::new(Write { scope, foresee, work, result: None, caller });
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether both are handles to one queue.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// How many callers wait for their jobs.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.health.outage()
    }

    pub(super) fn recoveries(&self) -> u64 {
        self.health.recoveries()
    }

    pub(super) fn panics(&self) -> u64 {
        self.health.panics()
    }
}

/// What the writer needs of a database. It lives in the writer's thread.
pub(super) trait Engine {
    /// Runs `work` in a transaction and commits it. Where others may write too, it locks the scopes first. Where
    /// questions cost time, it asks what `foresee` asks in one go.
    fn transact(
        &mut self,
        scopes: &[Scope],
        foresee: &dyn Fn(Session<'_>),
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

/// A thread of the store, which ends once its queue is empty and it is told to.
#[derive(Debug)]
pub(super) struct Thread {
    handle: std::thread::JoinHandle<()>,
    stop: StopSignal,
}

impl Thread {
    /// Waits until every accepted job is done, then closes the connection. Blocks.
    pub fn close(self) {
        self.stop.send();
        if self.handle.join().is_err() {
            tracing::error!("a thread of the store panicked before the store was closed");
        }
    }
}

/// Starts a thread, which opens its engine itself and drives it. Blocks until the engine is open.
pub(super) fn start<E: Engine>(
    name: &str,
    health: Health,
    open: impl FnOnce(&Rc<Runtime>) -> Result<E, OpenError> + Send + 'static,
) -> Result<(Writer, Thread), OpenError> {
    let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
    let (stop, stopped) = mpsc::channel(1);
    let health = Arc::new(health);
    let of_thread = Arc::clone(&health);
    let (opened, is_open) = std::sync::mpsc::channel();
    let run = move || {
        let build = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let opening = build.map_err(OpenError::Thread).and_then(|runtime| {
            let runtime = Rc::new(runtime);
            Ok((open(&runtime)?, runtime))
        });
        let (engine, runtime) = match opening {
            Ok(opening) => opening,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let _ = opened.send(Ok(()));
        let writer = WriterThread { engine, health: Arc::clone(&of_thread) };
        if catch_unwind(AssertUnwindSafe(|| writer.run(&runtime, jobs, stopped))).is_err() {
            of_thread.thread_ended();
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(OpenError::Thread)?;
    let died = |_| OpenError::Thread(std::io::Error::other("the store's thread panicked while opening it"));
    is_open.recv().map_err(died)??;
    let writer = Writer { queue, health, load: Arc::default() };
    Ok((writer, Thread { handle: thread, stop: StopSignal(stop) }))
}

struct WriterThread<E> {
    engine: E,
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
        tally::take();
        let result = self.try_commit_group(group);
        let Tally { statements, trips } = tally::take();
        self.health.metrics.record_transaction(statements, trips);
        match &result {
            Ok(committed) => {
                self.health.metrics.record_commit(committed.took);
                self.health.succeeded(committed.has_changes);
            }
            Err(Failure::Begin(error)) => self.health.failed(error),
            Err(Failure::Write(error)) if self.engine.is_outage(error) => self.health.failed(error),
            Err(Failure::Write(error)) => {
                self.health.withdrawn();
                if matches!(error, StoreError::Buried) && group.len() == 1 {
                    self.health.metrics.record_fenced();
                }
                // A bad row or a bug fails one write. The store fails only if a harmless write does.
                if matches!(error, StoreError::Database(_) | StoreError::Postgres(_)) {
                    self.probe();
                }
            }
        }
        result.map(drop)
    }

    fn try_commit_group(&mut self, group: &mut [BoxedJob]) -> Result<Committed, Failure> {
        let health = &self.health;
        let scopes: Vec<Scope> = group.iter().map(|job| job.scope()).collect();
        let group = RefCell::new(group);
        let foresee = |session: Session<'_>| {
            let tx = Tx { session, now: health.clock.now() };
            for job in group.borrow().iter() {
                if catch_unwind(AssertUnwindSafe(|| job.foresee(&tx))).is_err() {
                    health.panicked();
                }
            }
        };
        self.engine.transact(&scopes, &foresee, &mut |session| {
            let tx = Tx { session, now: health.clock.now() };
            group.borrow_mut().iter_mut().try_for_each(|job| {
                session.begin_write(job.scope())?;
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
        match self.engine.probe(self.health.clock.now()) {
            Ok(()) => drop(self.health.succeeded(true)),
            Err(error) => self.health.failed(&error),
        }
    }
}

#[cfg(test)]
mod tests;
