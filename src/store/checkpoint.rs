//! The checkpointer copies committed pages from the write-ahead log into the database file, in a
//! thread of its own.
//!
//! Otherwise the writer would do this within a commit, and all callers in that commit would wait
//! for thousands of pages. No commit depends on the checkpointer: if it falls behind or fails, the
//! writer checkpoints by itself.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

/// A checkpoint runs when the log has this many pages: 4 MB.
const MIN_CHECKPOINT_PAGES: i64 = 1_000;
/// When the log has this many pages (32 MB), the writer finishes the checkpoint itself, so that the
/// log starts again from its beginning. By then hardly any pages are left to copy.
pub(super) const WRITER_CHECKPOINT_PAGES: i64 = 8_000;
/// The shortest time between two checks of the log.
const PAUSE: Duration = Duration::from_millis(20);

/// The writer's handle to the checkpoint thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    commits_sender: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread. It owns `connection`.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (commits_sender, commits) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&connection, &commits))?;
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

fn run(connection: &Connection, commits: &Receiver<()>) {
    while commits.recv().is_ok() {
        match pages_to_copy(connection) {
            Ok(pages) if pages < MIN_CHECKPOINT_PAGES => {}
            Ok(_) => {
                if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
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
        std::thread::sleep(PAUSE);
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
        let checkpointer = Checkpointer::start(Connection::open(&path).unwrap()).unwrap();
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
}
