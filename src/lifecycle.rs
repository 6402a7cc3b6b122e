//! From start to end: signals, the two stages of stopping, every long-lived task, readiness.
//!
//! Soft stop: nothing new is begun, what runs is finished. Hard stop: everything is cut; the store makes that
//! safe. A task that ends before it was told to is a fault, which stops the process and shows in its exit status.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a hard stop, how long tasks may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As ordered; everything was finished.
    Finished,
    /// As ordered; something was cut, by a second signal or at the end of the grace.
    Cut,
    /// A task ended by itself.
    Failed {
        /// The task.
        task: &'static str,
        /// Whether it panicked; else it just ended.
        panicked: bool,
    },
}

/// Where the process stands, for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything runs yet.
    Starting,
    /// Pushes can be accepted, as far as the process is concerned.
    Ready,
    /// A stop has been asked for.
    Stopping,
}

/// The readiness of the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    ready: Arc<AtomicBool>,
    soft: CancellationToken,
}

impl Readiness {
    /// Everything runs.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Where the process stands.
    pub fn state(&self) -> State {
        if self.soft.is_cancelled() {
            State::Stopping
        } else if self.ready.load(Ordering::Acquire) {
            State::Ready
        } else {
            State::Starting
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

/// The signals that end the process. Until this exists, they end it in the system's way.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches SIGTERM and SIGINT from now on.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of them: its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Lifecycle {
    /// Cancelled when nothing new may be begun.
    pub fn soft(&self) -> &CancellationToken {
        &self.readiness.soft
    }

    /// Cancelled when everything must end at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// The tasks that [`Self::drain`] waits for, for short ones that need no name.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Whether the process is ready.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Runs a task that must not end before the soft stop. At the hard stop it is dropped where it stands.
    pub fn spawn(&self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = tokio::spawn(work);
        let life = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                ended = &mut running => life.ended(task, &ended),
                () = life.hard.cancelled() => {
                    running.abort();
                    // Until it is gone it may hold what the caller of `drain` wants to close.
                    let _ = running.await;
                }
            }
        });
    }

    fn ended(&self, task: &'static str, ended: &Result<(), JoinError>) {
        let panicked = ended.as_ref().is_err_and(JoinError::is_panic);
        if !panicked && self.soft().is_cancelled() {
            return;
        }
        tracing::error!(task, panicked, "a task ended by itself: this is a bug; stopping");
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(Outcome::Failed { task, panicked });
        self.soft().cancel();
    }

    /// Waits until a stop is asked for, by a signal or a task's fault. From then on, a further signal is the hard stop.
    pub async fn wait_for_signal(&self, mut signals: Signals) {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopping: finishing what runs; a second signal ends at once");
                self.soft().cancel();
            }
            () = self.soft().cancelled() => {}
        }
        let life = self.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::warn!(signal = name, "ending at once");
            life.hard.cancel();
        });
    }

    /// Stops softly, waits up to `grace` for every task, then cuts. Says how the run ended.
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
                "not everything was finished in time; it goes on at the next start"
            );
            self.hard.cancel();
            let _ = tokio::time::timeout(CUT, self.tasks.wait()).await;
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.unwrap_or(if finished { Outcome::Finished } else { Outcome::Cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_runs_is_finished_before_the_end() {
        let life = Lifecycle::default();
        let (soft, done) = (life.soft().clone(), Arc::new(AtomicBool::new(false)));
        let written = Arc::clone(&done);
        life.spawn("outbox", async move {
            soft.cancelled().await;
            tokio::task::yield_now().await;
            written.store(true, Ordering::Relaxed);
        });
        assert_eq!(life.drain(GRACE).await, Outcome::Finished);
        assert!(done.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_stops_the_process_and_shows() {
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
    async fn a_panic_while_stopping_shows_too() {
        let life = Lifecycle::default();
        let soft = life.soft().clone();
        life.spawn("faller", async move {
            soft.cancelled().await;
            panic!("on purpose");
        });
        assert_eq!(life.drain(GRACE).await, Outcome::Failed { task: "faller", panicked: true });
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_ends_what_does_not_end_by_itself() {
        let life = Lifecycle::default();
        life.spawn("stuck", std::future::pending());
        assert_eq!(life.drain(GRACE).await, Outcome::Cut);
        assert!(life.tasks().is_empty());
    }

    #[tokio::test]
    async fn a_hard_stop_does_not_wait_for_the_grace() {
        let life = Lifecycle::default();
        life.spawn("stuck", std::future::pending());
        life.hard().cancel();
        assert_eq!(life.drain(Duration::from_hours(1)).await, Outcome::Cut);
    }

    #[test]
    fn readiness_goes_one_way() {
        let life = Lifecycle::default();
        assert_eq!(life.readiness().state(), State::Starting);
        life.readiness().set_ready();
        assert_eq!(life.readiness().state(), State::Ready);
        life.soft().cancel();
        life.readiness().set_ready();
        assert_eq!(life.readiness().state(), State::Stopping);
    }
}
