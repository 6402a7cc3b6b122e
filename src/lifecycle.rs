//! The life of the process: signals, the two stages of a stop, long-lived tasks, readiness.
//!
//! After a soft stop, no new work starts and running work finishes. A hard stop aborts all work;
//! the store makes that safe. A task that ends before a stop is a bug: it stops the process, and
//! the exit status shows it.

pub mod deadline;
pub mod open_files;

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait for tasks to end after a hard stop.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All work was finished.
    Finished,
    /// Some work was aborted, by a second signal or at the end of the grace period.
    Aborted,
    /// A task ended before a stop, or panicked.
    Failed {
        /// The name of the task.
        task: &'static str,
        /// Whether it panicked. If not, it returned.
        panicked: bool,
    },
}

/// The state of the process, for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some tasks do not run yet.
    Starting,
    /// All tasks run, so the process can accept pushes.
    Ready,
    /// A stop was requested.
    Stopping,
}

/// The readiness of the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    ready: Arc<AtomicBool>,
    soft: CancellationToken,
}

impl Readiness {
    /// Declares that all tasks run.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The state of the process.
    pub fn phase(&self) -> Phase {
        if self.soft.is_cancelled() {
            Phase::Stopping
        } else if self.ready.load(Ordering::Acquire) {
            Phase::Ready
        } else {
            Phase::Starting
        }
    }
}

/// The life of one process, or of one bridge in a test. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    readiness: Readiness,
    hard: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<Mutex<Option<Outcome>>>,
}

/// The signals that stop the process. Before this value exists, they kill it at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches SIGTERM and SIGINT from now on, and SIGHUP, which asks for changed files and must not kill
    /// the process. Fails if the handlers cannot be installed.
    pub fn catch() -> std::io::Result<Self> {
        // The handler stays for the life of the process, also when this value is dropped.
        let _ = signal(SignalKind::hangup())?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Lifecycle {
    /// Cancelled when no new work may start.
    pub fn soft(&self) -> &CancellationToken {
        &self.readiness.soft
    }

    /// Cancelled when all work must end at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// The tasks for which [`Self::drain`] waits. Short tasks without a name can be spawned here.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The readiness of the process.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Spawns a task that must not end before the soft stop. A hard stop aborts it.
    pub fn spawn(&self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = tokio::spawn(work);
        let life = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                ended = &mut running => life.on_task_end(task, &ended),
                () = life.hard.cancelled() => {
                    running.abort();
                    // The task may hold resources that the caller of `drain` closes next, so wait
                    // until it is dropped.
                    let _ = running.await;
                }
            }
        });
    }

    /// The same for a task that the other tasks need to the end, so that [`Self::drain`] does not wait for it: its owner
    /// ends it after that.
    pub fn spawn_beside(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let (life, running) = (self.clone(), tokio::spawn(work));
        tokio::spawn(async move { life.on_task_end(task, &running.await) })
    }

    fn on_task_end(&self, task: &'static str, ended: &Result<(), JoinError>) {
        let panicked = ended.as_ref().is_err_and(JoinError::is_panic);
        if !panicked && self.soft().is_cancelled() {
            return;
        }
        tracing::error!(task, panicked, "a task ended unexpectedly, which is a bug; the process stops");
        let mut failed = self.failed.lock();
        failed.get_or_insert(Outcome::Failed { task, panicked });
        self.soft().cancel();
    }

    /// Waits for a stop: a signal, or a task that ended unexpectedly. A further signal then
    /// triggers the hard stop.
    pub async fn wait_for_signal(&self, mut signals: Signals) {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(
                    signal = name,
                    "stopping: running work is finished first; a second signal stops at once"
                );
                self.soft().cancel();
            }
            () = self.soft().cancelled() => {}
        }
        let life = self.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::warn!(signal = name, "received a signal while stopping: stopping at once");
            life.hard.cancel();
        });
    }

    /// Stops softly, waits up to `grace` for every task, then stops hard. Returns how the run
    /// ended.
    pub async fn drain(&self, grace: Duration) -> Outcome {
        self.soft().cancel();
        self.tasks.close();
        let finished = tokio::select! {
            finished = tokio::time::timeout(grace, self.tasks.wait()) => finished.is_ok(),
            () = self.hard.cancelled() => false,
        };
        if !finished {
            tracing::warn!(
                tasks = self.tasks.len(),
                "some work did not finish in time and was aborted; it continues at the next start"
            );
            self.hard.cancel();
            let _ = tokio::time::timeout(ABORT_TIMEOUT, self.tasks.wait()).await;
        }
        let failed = self.failed.lock().clone();
        failed.unwrap_or(if finished { Outcome::Finished } else { Outcome::Aborted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn running_work_finishes_before_the_end() {
        let life = Lifecycle::default();
        let (soft, done) = (life.soft().clone(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&done);
        life.spawn("outbox", async move {
            soft.cancelled().await;
            tokio::task::yield_now().await;
            flag.store(true, Ordering::Relaxed);
        });
        assert_eq!(life.drain(GRACE).await, Outcome::Finished);
        assert!(done.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_task_that_ends_unexpectedly_stops_the_process() {
        let life = Lifecycle::default();
        life.spawn("quitter", async {});
        life.soft().cancelled().await;
        assert_eq!(life.drain(GRACE).await, Outcome::Failed { task: "quitter", panicked: false });

        let life = Lifecycle::default();
        let soft = life.soft().clone();
        life.spawn("faller", async { panic!("on purpose") });
        life.spawn("other", async move { soft.cancelled().await });
        life.soft().cancelled().await;
        assert_eq!(life.drain(GRACE).await, Outcome::Failed { task: "faller", panicked: true });
    }

    #[tokio::test]
    async fn a_panic_while_stopping_is_reported() {
        let life = Lifecycle::default();
        let soft = life.soft().clone();
        life.spawn("faller", async move {
            soft.cancelled().await;
            panic!("on purpose");
        });
        assert_eq!(life.drain(GRACE).await, Outcome::Failed { task: "faller", panicked: true });
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_aborted_after_the_grace_period() {
        let life = Lifecycle::default();
        life.spawn("stuck", std::future::pending());
        assert_eq!(life.drain(GRACE).await, Outcome::Aborted);
        assert!(life.tasks().is_empty());
    }

    #[tokio::test]
    async fn a_hard_stop_does_not_wait_for_the_grace() {
        let life = Lifecycle::default();
        life.spawn("stuck", std::future::pending());
        life.hard().cancel();
        assert_eq!(life.drain(Duration::from_hours(1)).await, Outcome::Aborted);
    }

    #[test]
    fn readiness_goes_one_way() {
        let life = Lifecycle::default();
        assert_eq!(life.readiness().phase(), Phase::Starting);
        life.readiness().set_ready();
        assert_eq!(life.readiness().phase(), Phase::Ready);
        life.soft().cancel();
        life.readiness().set_ready();
        assert_eq!(life.readiness().phase(), Phase::Stopping);
    }
}
