//! Ends the process in time after a stop, whatever hangs: a disk that does not answer, a log that
//! nobody reads, a task that never yields.
//!
//! It has a thread and a runtime of its own, because every other thread may hang. Must never wait
//! for another thread, and never end a process that was not told to stop.

use std::sync::mpsc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Signals;

/// How long after the grace period the process is ended.
const AFTER_GRACE: Duration = Duration::from_millis(1700);
/// How long after a second signal it is ended. Until then, work that does not hang is aborted in
/// order.
const AFTER_SECOND_SIGNAL: Duration = Duration::from_secs(1);
/// Within this time, a stop and a signal are one event.
const SAME_SIGNAL: Duration = Duration::from_millis(300);
/// How long the last log line may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts the thread. It catches the signals from now on; when this returns, a signal no longer
/// kills the process at once. `stop` tells it of a stop without a signal. Fails if the handlers or
/// the thread cannot be made.
pub fn enforce(grace: Duration, stop: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::catch()?
    };
    let watch = async move {
        // Without a signal something failed, so that the exit status is 1.
        let status = tokio::select! {
            _ = signals.next() => 0,
            // The other runtime may report a signal's stop before this one has seen the signal.
            () = stop.cancelled() => {
                i32::from(tokio::time::timeout(SAME_SIGNAL, signals.next()).await.is_err())
            }
        };
        let limit = tokio::time::sleep(grace + AFTER_GRACE);
        tokio::select! {
            () = limit => {}
            _ = signals.next() => tokio::time::sleep(AFTER_SECOND_SIGNAL).await,
        }
        status
    };
    std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        let status = runtime.block_on(watch);
        // The log may be what hangs.
        let (done, written) = mpsc::channel();
        let write = move || {
            tracing::error!(
                "the process did not stop in time and is ended; accepted messages are safe and continue at the \
                 next start"
            );
            let _ = done.send(());
        };
        if std::thread::Builder::new().spawn(write).is_ok() {
            let _ = written.recv_timeout(LAST_WORDS);
        }
        #[expect(clippy::disallowed_methods, reason = "`main` may never return: that is what this is for")]
        std::process::exit(status);
    })?;
    Ok(())
}
