//! Erases the words of customers who left from the bytes of the database's files, not only from its
//! tables.
//!
//! `secure_delete` overwrites a deleted row, and a page when it becomes free. Two kinds of copies
//! stay behind. Pages as they were before the deletion stay in the log until it is truncated. And
//! when SQLite moves rows to another page, it leaves their bytes in the unused space of the page
//! they came from. So, after an erasure, this module truncates the log and then overwrites the
//! unused space of every page.
//!
//! It writes into the file beside SQLite, and only when nothing else can: it holds the write lock
//! and the log is empty, so that no connection can write a page or copy one from the log. The bytes
//! that it overwrites belong to no row. Must never write under another condition.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::header::BUSY_TIMEOUT;
use crate::store::StoreError;

/// The key in `kv` that counts the erasures whose bytes are still to be overwritten.
const PENDING: &str = "erase_pending";
/// The key in `kv` that each batch writes. The change makes every other connection read its pages
/// anew; otherwise it could write back an old copy of a page that was just overwritten.
const CURSOR: &str = "erase_cursor";
/// The bytes of the file that are overwritten under one write lock.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// How long truncating the log may block the writer while a reader uses the log.
const TRUNCATE_WAIT: Duration = Duration::from_millis(50);
/// In larger files, the first byte of an overflow page may look like that of a b-tree page.
const MAX_PAGES: u64 = 1 << 25;

/// Requests that deleted rows are also overwritten in the files, once this is committed.
pub(in crate::store) fn request_erasure(connection: &Connection) -> Result<(), StoreError> {
    let sql = "INSERT INTO kv (key, value) VALUES (?1, '1')
               ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1";
    connection.prepare_cached(sql)?.execute([PENDING])?;
    Ok(())
}

/// What a step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is left to erase.
    Done,
    /// There is more to do.
    More,
    /// Another connection uses the log; try again later.
    Blocked,
}

/// Erases in small steps, on the checkpoint thread.
#[derive(Debug)]
pub(super) struct Eraser {
    /// The database file. It must stay open until no connection of this process is left.
    file: Arc<File>,
    log: PathBuf,
    /// The erasure that is under way, and the next byte of the file.
    current: Option<(String, u64)>,
}

impl Eraser {
    /// Erases in `file`, whose log is `log`.
    pub fn new(file: Arc<File>, log: PathBuf) -> Self {
        Self { file, log, current: None }
    }

    /// Makes one step, if an erasure is pending.
    pub fn step(&mut self, connection: &mut Connection) -> Result<Progress, StoreError> {
        let Some(pending) = pending(connection)? else {
            self.current = None;
            return Ok(Progress::Done);
        };
        let start = match &self.current {
            Some((current, next)) if *current == pending => *next,
            _ => 0,
        };
        // Read the range before the lock is taken, so that the disk delays no commit.
        self.read_ahead(start);
        if !truncate_log(connection)? {
            return Ok(Progress::Blocked);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > 0) {
            // A commit came first. Its pages may have to be copied into the file.
            return Ok(Progress::More);
        }
        let next = self.overwrite_unused(start).map_err(StoreError::unreadable)?;
        let sql = "INSERT INTO kv (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        transaction.prepare_cached(sql)?.execute((CURSOR, next.unwrap_or(0).to_string()))?;
        if next.is_none() {
            let sql = "DELETE FROM kv WHERE key = ?1 AND value = ?2";
            transaction.prepare_cached(sql)?.execute((PENDING, &pending))?;
        }
        transaction.commit()?;
        self.current = next.map(|next| (pending, next));
        // A later erasure may have been requested meanwhile; the next step sees.
        Ok(Progress::More)
    }

    fn read_ahead(&self, start: u64) {
        let mut buffer = vec![0; 1024 * 1024];
        let mut at = start;
        while at < start + BATCH_BYTES {
            match self.file.read_at(&mut buffer, at) {
                Ok(read) if read > 0 => at += read as u64,
                _ => return,
            }
        }
    }

    /// Overwrites the unused space of the pages from `start` on. Returns where the next batch
    /// starts, or `None` at the end of the file.
    fn overwrite_unused(&self, start: u64) -> io::Result<Option<u64>> {
        let (size, page_size) = (self.file.metadata()?.len(), self.page_size()?);
        if size / page_size >= MAX_PAGES {
            tracing::warn!("the database is too large to overwrite what is left of deleted messages in it");
            return Ok(None);
        }
        let mut page = vec![0; usize::try_from(page_size).unwrap_or(4096)];
        let (mut at, mut changed) = (start - start % page_size, false);
        while at + page_size <= size && at < start + BATCH_BYTES {
            self.file.read_exact_at(&mut page, at)?;
            if let Some((from, to)) = unused(&page, at == 0)
                && let Some(bytes) = page.get_mut(from..to)
                && bytes.iter().any(|byte| *byte != 0)
            {
                bytes.fill(0);
                self.file.write_all_at(bytes, at + from as u64)?;
                changed = true;
            }
            at += page_size;
        }
        if changed {
            self.file.sync_data()?;
        }
        Ok((at + page_size <= size).then_some(at))
    }

    fn page_size(&self) -> io::Result<u64> {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, 16)?;
        // The header has 1 for 65536.
        Ok(match u64::from(u16::from_be_bytes(bytes)) {
            1 => 65_536,
            size => size.max(512),
        })
    }
}

/// The range between a b-tree page's cell pointers and its cells, which SQLite's file format leaves
/// unused; `None` for every other kind of page.
fn unused(page: &[u8], is_first: bool) -> Option<(usize, usize)> {
    let header = if is_first { 100 } else { 0 };
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let header_size = match page.get(header)? {
        0x0A | 0x0D => 8,
        0x02 | 0x05 => 12,
        _ => return None,
    };
    let from = header + header_size + 2 * number(header + 3)?;
    let to = match number(header + 5)? {
        0 => 65_536,
        to => to,
    };
    (from < to && to <= page.len()).then_some((from, to))
}

fn pending(connection: &Connection) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM kv WHERE key = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([PENDING], |row| row.get(0)).optional()?)
}

/// Copies the whole log into the file and makes it empty. Returns `false` if a reader or writer is
/// in the way. Delays commits by at most [`TRUNCATE_WAIT`].
pub(super) fn truncate_log(connection: &Connection) -> Result<bool, StoreError> {
    connection.busy_timeout(TRUNCATE_WAIT)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(busy? == 0)
}

#[cfg(test)]
mod tests;
