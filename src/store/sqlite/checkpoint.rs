//! The checkpointer copies committed pages from the write-ahead log into the database file, in a
//! thread of its own.
//!
//! Otherwise the writer would do this within a commit, and all callers in that commit would wait
//! for thousands of pages. No commit depends on the checkpointer: if it falls behind or fails, the
//! writer checkpoints by itself. The thread also makes a log small again that a long reader let
//! grow, and overwrites what is left of erased data ([`super::erase`]).

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::erase::{Eraser, Progress, truncate_log};
use crate::store::StoreError;

/// A checkpoint runs when the log has this many pages: 4 MB.
const MIN_CHECKPOINT_PAGES: i64 = 1_000;
/// When the log has this many pages (32 MB), the writer finishes the checkpoint itself, so that the
/// log starts again from its beginning. By then hardly any pages are left to copy.
pub(super) const WRITER_CHECKPOINT_PAGES: i64 = 8_000;
/// A log of more bytes than this is truncated once nothing reads it any more. In normal work the
/// writer starts it anew before it gets this large.
const MAX_LOG_BYTES: u64 = 48 * 1024 * 1024;
/// The shortest time between two checks of the log.
const PAUSE: Duration = Duration::from_millis(20);
/// The shortest and the longest time before an attempt to truncate the log is repeated.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(1);
/// After this time, the log says why an erasure is not finished.
const ERASURE_WARNING: Duration = Duration::from_secs(5);

/// The writer's handle to the checkpoint thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    commits_sender: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread. It owns `connection`. `log` is the log's file.
    pub(super) fn start(connection: Connection, eraser: Eraser, log: PathBuf) -> std::io::Result<Self> {
        Self::start_with(connection, Some(eraser), log, MAX_LOG_BYTES)
    }

    fn start_with(
        connection: Connection,
        eraser: Option<Eraser>,
        log: PathBuf,
        max_log_bytes: u64,
    ) -> std::io::Result<Self> {
        let (commits_sender, commits) = sync_channel(1);
        let mut worker = Worker { connection, eraser, log, max_log_bytes, blocked_since: None };
        let thread =
            std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || worker.run(&commits))?;
        Ok(Self { commits_sender, thread })
    }

    /// Signals that the writer committed. Never blocks.
    pub(super) fn notify_commit(&self) {
        match self.commits_sender.try_send(()) {
            // One pending signal covers all commits since. If the thread has ended, the writer
            // checkpoints by itself.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Stops the thread and waits until its connection is closed.
    pub(super) fn end(self) {
        drop(self.commits_sender);
        if self.thread.join().is_err() {
            tracing::error!("the store's checkpoint thread panicked; the writer checkpointed in its place");
        }
    }
}

struct Worker {
    connection: Connection,
    eraser: Option<Eraser>,
    log: PathBuf,
    max_log_bytes: u64,
    /// Since when an erasure waits for another connection, and whether that was logged.
    blocked_since: Option<(Instant, bool)>,
}

impl Worker {
    fn run(&mut self, commits: &Receiver<()>) {
        // An earlier process may have left an erasure or a large log behind.
        let (mut is_finished, mut retry, mut retry_at) = (false, RETRY, Instant::now());
        loop {
            let signal = if is_finished {
                commits.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                commits.recv_timeout(retry_at.saturating_duration_since(Instant::now()))
            };
            if signal == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            self.copy();
            if is_finished || Instant::now() >= retry_at {
                let progress = self.truncate_and_erase().unwrap_or_else(|error| {
                    tracing::debug!(%error, "the store's files could not be cleaned; it is tried again");
                    Progress::Blocked
                });
                retry = if progress == Progress::Blocked { (retry * 2).min(MAX_RETRY) } else { RETRY };
                retry_at = Instant::now() + if progress == Progress::More { Duration::ZERO } else { retry };
                is_finished = progress == Progress::Done;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Copies pages from the log into the file when there are many.
    fn copy(&self) {
        match pages_to_copy(&self.connection) {
            Ok(pages) if pages < MIN_CHECKPOINT_PAGES => {}
            Ok(_) => {
                let copied = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                if let Err(error) = copied {
                    tracing::debug!(
                        %error,
                        "a checkpoint failed; the writer checkpoints when the log has grown"
                    );
                }
            }
            Err(error) => tracing::debug!(
                %error,
                "cannot read the size of the write-ahead log; the next commit tries again"
            ),
        }
    }

    /// Truncates a log that is too large, and makes a step of a pending erasure.
    fn truncate_and_erase(&mut self) -> Result<Progress, StoreError> {
        let is_large = std::fs::metadata(&self.log).is_ok_and(|log| log.len() > self.max_log_bytes);
        if is_large {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            // While a reader keeps pages in the log, an attempt would only delay commits.
            if pages_to_copy(&self.connection)? > 0 || !truncate_log(&self.connection)? {
                return Ok(Progress::Blocked);
            }
        }
        let Some(eraser) = &mut self.eraser else { return Ok(Progress::Done) };
        let progress = eraser.step(&mut self.connection)?;
        if progress == Progress::Blocked {
            let (since, is_logged) = self.blocked_since.get_or_insert((Instant::now(), false));
            if !*is_logged && since.elapsed() > ERASURE_WARNING {
                *is_logged = true;
                tracing::warn!(
                    "another program reads the database: the words of a customer who left stay in its log \
                     until that program ends"
                );
            }
        } else {
            self.blocked_since = None;
        }
        Ok(progress)
    }
}

/// The number of pages in the log that are not yet in the database file.
fn pages_to_copy(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_reach_the_database_file_without_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .unwrap();
        let log = folder.path().join("log.db-wal");
        let checkpointer =
            Checkpointer::start_with(Connection::open(&path).unwrap(), None, log, u64::MAX).unwrap();
        let started = std::time::Instant::now();
        let mut rows = 0;
        while std::fs::metadata(&path).unwrap().len() < 4_096 * 500 {
            writer.execute("INSERT INTO t VALUES (zeroblob(20000))", []).unwrap();
            checkpointer.notify_commit();
            rows += 1;
            assert!(started.elapsed() < Duration::from_secs(30), "{rows} rows and no checkpoint");
        }
        checkpointer.end();
        let stored_rows: i64 = writer.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(stored_rows, rows);
    }

    #[test]
    fn the_log_is_small_again_after_a_long_reader() {
        const LIMIT: u64 = 400_000;
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("log.db"), folder.path().join("log.db-wal"));
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        let checkpointer =
            Checkpointer::start_with(Connection::open(&path).unwrap(), None, log.clone(), LIMIT).unwrap();
        let length = || std::fs::metadata(&log).unwrap().len();
        while length() < 3 * LIMIT {
            writer.execute("INSERT INTO t VALUES (zeroblob(20000))", []).unwrap();
            checkpointer.notify_commit();
        }
        reader.execute_batch("COMMIT").unwrap();
        // No further commit wakes the thread.
        let started = std::time::Instant::now();
        while length() > LIMIT {
            // The pages that no reader needs any more are copied with the next check.
            assert!(started.elapsed() < Duration::from_secs(30), "the log still has {} bytes", length());
            std::thread::sleep(Duration::from_millis(20));
        }
        checkpointer.end();
    }
}
