//! The checkpointer: carries what was committed from the write-ahead log into the database, beside the writer.
//!
//! The writer would otherwise do it within a commit, and everyone in that commit would wait for thousands of pages.
//! It must never be needed for a commit to succeed: where it falls behind or fails, the writer does its work.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

/// Pages in the log that are worth a checkpoint: 4 MB.
const WORTHWHILE: i64 = 1_000;
/// Pages in the log at which the writer finishes the checkpoint itself, so that the log begins anew: 32 MB. Hardly
/// anything is left to do then.
pub(super) const WRITERS_TURN: i64 = 8_000;
/// The least time between two looks at the log.
const PAUSE: Duration = Duration::from_millis(20);

/// The writer's end.
#[derive(Debug)]
pub(super) struct Checkpointer {
    committed: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts a thread that works on `connection`, which is its own.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (committed, commits) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&connection, &commits))?;
        Ok(Self { committed, thread })
    }

    /// Something was committed. Never waits.
    pub(super) fn committed(&self) {
        match self.committed.try_send(()) {
            // One that waits stands for all since; one that has ended leaves its work to the writer.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Waits until its connection is closed.
    pub(super) fn end(self) {
        drop(self.committed);
        if self.thread.join().is_err() {
            tracing::error!("the store's checkpoint thread had ended by a panic");
        }
    }
}

fn run(connection: &Connection, commits: &Receiver<()>) {
    while commits.recv().is_ok() {
        match waiting(connection) {
            Ok(pages) if pages < WORTHWHILE => {}
            Ok(_) => {
                if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                    tracing::debug!(%error, "a checkpoint is left to the writer");
                }
            }
            Err(error) => tracing::debug!(%error, "the log cannot be looked at"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Pages of the log that are not yet in the database.
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
