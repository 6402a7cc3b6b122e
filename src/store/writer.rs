//! The writer thread: one connection, one queue, group commit.
//!
//! It takes all waiting writes (a single one when idle, hundreds under load), runs them as one
//! transaction, syncs it to disk, and only then answers the callers. There is no timer, so grouping
//! adds no latency to an idle store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fail::fail_point;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::checkpoint::Checkpointer;
use super::{Failing, StoreError, Tx};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The most writes in the queue; further callers wait for room.
const QUEUE: usize = 4096;
/// The most writes in one transaction.
const GROUP: usize = 256;
/// How often the writer probes a failing store, whether or not other writes arrive.
const PULSE: Duration = Duration::from_millis(500);

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

type Boxed = Box<dyn Job>;

/// The callers' handle to the queue.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Boxed>,
    failing: Arc<Mutex<Option<Failing>>>,
}

/// Tells the thread to end once its queue is empty.
#[derive(Debug)]
pub(super) struct Stop(mpsc::Sender<()>);

impl Stop {
    pub(super) fn now(self) {
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
        let (caller, answer) = oneshot::channel();
        let job: Boxed = Box::new(Write { work, result: None, caller });
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn failing(&self) -> Option<Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the thread.
pub(super) fn start(
    connection: Connection,
    checkpointer: Option<Checkpointer>,
    clock: Clock,
    metrics: Metrics,
) -> std::io::Result<(Writer, std::thread::JoinHandle<()>, Stop)> {
    let (queue, jobs) = mpsc::channel(QUEUE);
    let (stop, stopped) = mpsc::channel(1);
    let failing = Arc::new(Mutex::new(None));
    let state = State { connection, checkpointer, clock, metrics, failing: Arc::clone(&failing) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || runtime.block_on(state.run(jobs, stopped)))?;
    Ok((Writer { queue, failing }, thread, Stop(stop)))
}

struct State {
    connection: Connection,
    checkpointer: Option<Checkpointer>,
    clock: Clock,
    metrics: Metrics,
    failing: Arc<Mutex<Option<Failing>>>,
}

impl State {
    async fn run(mut self, mut jobs: mpsc::Receiver<Boxed>, mut stopped: mpsc::Receiver<()>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut pulse_at = Instant::now();
        loop {
            let is_failing = self.is_failing();
            if !is_failing {
                pulse_at = Instant::now() + PULSE;
            }
            tokio::select! {
                biased;
                // While the store fails, callers are turned away, so the writer itself must probe
                // whether the disk has recovered. This branch comes first, or constant reads would
                // keep it from running.
                () = tokio::time::sleep_until(pulse_at), if is_failing => {
                    self.pulse();
                    pulse_at = Instant::now() + PULSE;
                }
                taken = jobs.recv_many(&mut group, GROUP) => if taken == 0 { break },
                _ = stopped.recv() => {
                    jobs.close();
                    continue;
                }
            }
            self.commit(&mut group);
            if let Some(checkpointer) = &self.checkpointer {
                checkpointer.committed();
            }
        }
        if let Some(checkpointer) = self.checkpointer {
            checkpointer.end();
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "the final checkpoint failed; the next start makes it");
        }
    }

    fn commit(&mut self, group: &mut Vec<Boxed>) {
        if group.is_empty() {
            return;
        }
        match self.together(group) {
            Ok(written) => {
                self.healthy_if(written);
                for job in group.drain(..) {
                    job.finish(Ok(()));
                }
            }
            // One write of the group failed, or the commit did. Run each write alone, so that none
            // fails because of another.
            Err(_) if group.len() > 1 => {
                for job in group.drain(..) {
                    self.alone(job);
                }
            }
            Err(error) => {
                self.note(&error);
                for job in group.drain(..) {
                    job.finish(Err(error.clone()));
                }
            }
        }
    }

    /// Runs the group as one transaction. Returns whether it wrote anything.
    fn together(&mut self, group: &mut [Boxed]) -> Result<bool, StoreError> {
        let (now, changes) = (self.clock.now(), self.connection.total_changes());
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tx = Tx { connection: &transaction, now };
        for job in group.iter_mut() {
            // A bug in one closure must not end the store for all callers. Its transaction is
            // rolled back.
            catch_unwind(AssertUnwindSafe(|| job.run(&tx))).unwrap_or(Err(StoreError::Panicked))?;
        }
        let started = std::time::Instant::now();
        fail_point!("store.commit");
        transaction.commit()?;
        fail_point!("store.committed");
        self.metrics.record_commit(started.elapsed());
        Ok(self.connection.total_changes() > changes)
    }

    fn alone(&mut self, mut job: Boxed) {
        let result = self.together(std::slice::from_mut(&mut job));
        match &result {
            Ok(written) => self.healthy_if(*written),
            Err(error) => self.note(error),
        }
        job.finish(result.map(drop));
    }

    fn pulse(&mut self) {
        let beat = self.clock.now().0;
        let sql = "INSERT INTO fact (name, value) VALUES ('pulse', ?1)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        match self.connection.execute(sql, [beat]) {
            Ok(_) => self.healthy_if(true),
            Err(error) => self.note(&error.into()),
        }
    }

    fn is_failing(&self) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// A transaction that wrote nothing succeeds on a full disk too, so it proves nothing.
    fn healthy_if(&self, written: bool) {
        if !written {
            return;
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = failing.take() {
            tracing::info!(
                store.failed_for_ms = self.clock.now().since(before.since),
                "the store commits again"
            );
        }
    }

    fn note(&self, error: &StoreError) {
        let StoreError::Database(why) = error else { return };
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.is_none() {
            tracing::error!(
                %error,
                "the store cannot commit: pushes and callbacks are refused until it can; free the disk or repair it"
            );
            *failing = Some(Failing { since: self.clock.now(), why: why.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Store};
    use super::*;

    #[tokio::test]
    async fn a_refused_write_leaves_nothing_behind_and_harms_no_neighbour() {
        let (store, closing) =
            Store::open(&Place::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let writes = (0..50).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |tx| {
                        tx.put_fact(&format!("fact{n}"), "kept")?;
                        if n % 7 == 0 { Err(StoreError::Unreadable("no".into())) } else { Ok(()) }
                    })
                    .await
            })
        });
        let results = futures_util::future::join_all(writes).await;
        for (n, result) in results.into_iter().enumerate() {
            let kept = store.read(move |tx| tx.fact(&format!("fact{n}"))).await.unwrap();
            assert_eq!(result.unwrap().is_ok(), n % 7 != 0);
            assert_eq!(kept.is_some(), n % 7 != 0, "write {n}");
        }
        assert_eq!(store.failing(), None, "a refused write is no failure of the store");
        closing.close();
    }

    #[tokio::test]
    async fn what_writes_nothing_does_not_make_a_failing_store_well() {
        let (store, closing) =
            Store::open(&Place::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let run = |sql: &'static str| move |tx: &Tx<'_>| Ok(tx.connection.execute_batch(sql)?);
        let refuse = "CREATE TEMP TRIGGER full BEFORE INSERT ON fact BEGIN SELECT RAISE(ABORT, 'full'); END";
        store.write(run(refuse)).await.unwrap();
        store.write(|tx| tx.put_fact("a", "b")).await.unwrap_err();
        assert!(store.failing().is_some());
        store.write(|tx| tx.fact("a")).await.unwrap();
        assert!(store.failing().is_some());
        store.write(run("DROP TRIGGER full")).await.unwrap();
        // The writer notices by itself, although all other transactions write nothing.
        let finds_out = async {
            while store.failing().is_some() {
                store.write(|tx| tx.fact("a")).await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), finds_out).await.unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_write_or_read_and_nothing_else() {
        let (store, closing) =
            Store::open(&Place::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let falls = store.write(|tx| -> Result<(), StoreError> {
            tx.put_fact("a", "half")?;
            panic!("on purpose")
        });
        let stands = store.write(|tx| tx.put_fact("b", "whole"));
        let (falls, stands) = tokio::join!(falls, stands);
        assert!(matches!(falls, Err(StoreError::Panicked)), "{falls:?}");
        stands.unwrap();
        let kept = store.read(|tx| Ok((tx.fact("a")?, tx.fact("b")?))).await.unwrap();
        assert_eq!(kept, (None, Some("whole".to_owned())));
        assert_eq!(store.failing(), None);
        closing.close();
    }

    #[tokio::test]
    async fn closing_waits_for_what_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::File(folder.path().join("bridge.db"));
        let (store, closing) =
            Store::open(&place, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let write = tokio::spawn(async move { store.write(|tx| tx.put_fact("a", "b")).await });
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
        let written = write.await.unwrap().is_ok();
        let (store, closing) =
            Store::open(&place, Clock::system(), crate::metrics::Metrics::default()).unwrap();
        assert_eq!(store.read(|tx| tx.fact("a")).await.unwrap().is_some(), written);
        closing.close();
    }
}
