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
const WORTHWHILE: i64 = 1_000;
/// When the log has this many pages (32 MB), the writer finishes the checkpoint itself, so that the
/// log starts again from its beginning. By then hardly any pages are left to copy.
pub(super) const WRITERS_TURN: i64 = 8_000;
/// The shortest time between two checks of the log.
const PAUSE: Duration = Duration::from_millis(20);

/// The writer's handle to the checkpoint thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    committed: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread. It owns `connection`.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (committed, commits) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&connection, &commits))?;
        Ok(Self { committed, thread })
    }

    /// Signals that the writer committed. Never blocks.
    pub(super) fn committed(&self) {
        match self.committed.try_send(()) {
            // One pending signal covers all commits since. If the thread has ended, the writer
            // checkpoints by itself.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Stops the thread and waits until its connection is closed.
    pub(super) fn end(self) {
        drop(self.committed);
        if self.thread.join().is_err() {
            tracing::error!("the store's checkpoint thread panicked; the writer checkpointed in its place");
        }
    }
}

fn run(connection: &Connection, commits: &Receiver<()>) {
    while commits.recv().is_ok() {
        match waiting(connection) {
            Ok(pages) if pages < WORTHWHILE => {}
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
fn waiting(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_reaches_the_database_without_the_writers_doing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .unwrap();
        let checkpointer = Checkpointer::start(Connection::open(&path).unwrap()).unwrap();
        let begun = std::time::Instant::now();
        let mut rows = 0;
        while std::fs::metadata(&path).unwrap().len() < 4_096 * 500 {
            writer.execute("INSERT INTO t VALUES (zeroblob(20000))", []).unwrap();
            checkpointer.committed();
            rows += 1;
            assert!(begun.elapsed() < Duration::from_secs(30), "{rows} rows and no checkpoint");
        }
        checkpointer.end();
        let kept: i64 = writer.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, rows);
    }
}
