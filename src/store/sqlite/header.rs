//! Reads the header of a database file without SQLite, which would change the file: it switches the
//! journal, or rolls back what another program left.
//!
//! Must never write, and never open a file that a connection of this process has open: closing it
//! again would release SQLite's locks.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Marks a SQLite file as this program's (`PRAGMA application_id`): "WIMB".
pub(super) const APPLICATION_ID: i32 = 0x5749_4D42;

/// How long a statement waits for another connection that has locked the database.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(1500);
/// The same for an operator's command, which waits while a busy server commits.
pub(super) const OPERATOR_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The file beside `database` whose name ends in `suffix` too.
pub(super) fn sibling_path(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The bytes with which every SQLite file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The header, and the start of the schema's page behind it.
const HEAD_BYTES: usize = 108;
/// The sizes of the log's header and of the header of each page in it.
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// There is no file, or a database without content.
    Empty,
    /// A database of this program.
    Ours,
    /// A database of another program.
    Foreign,
    /// Not a database.
    Other,
}

/// Tells what the file at `path` is. Changes nothing. Fails if the file cannot be read.
pub(super) fn kind_of(path: &Path) -> io::Result<FileKind> {
    let head = match File::open(path) {
        Ok(file) => read_up_to(file, HEAD_BYTES)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileKind::Empty),
        Err(error) => return Err(error),
    };
    if head.is_empty() {
        return Ok(FileKind::Empty);
    }
    if !head.starts_with(MAGIC) || head.len() < HEAD_BYTES {
        return Ok(FileKind::Other);
    }
    Ok(match kind_of_page(&head) {
        // The content may still be in the log, because the process was killed before it was copied.
        FileKind::Empty => kind_of_log(&sibling_path(path, "-wal"))?,
        kind => kind,
    })
}

/// Tells what a first page belongs to, by its application id and by whether its schema is empty.
fn kind_of_page(page: &[u8]) -> FileKind {
    let number =
        |at: usize| page.get(at..at + 4).map(|bytes| bytes.iter().fold(0, |n, b| n << 8 | i64::from(*b)));
    let (application, pages) = (number(68).unwrap_or(0), number(28).unwrap_or(0));
    let has_no_schema = page.get(100) == Some(&0x0D) && page.get(103..105) == Some(&[0, 0]);
    if application == i64::from(APPLICATION_ID) {
        FileKind::Ours
    } else if application == 0 && pages <= 1 && has_no_schema {
        FileKind::Empty
    } else {
        FileKind::Foreign
    }
}

/// Looks for the first page in the log.
fn kind_of_log(path: &Path) -> io::Result<FileKind> {
    let mut file = match File::open(path) {
        Ok(file) => io::BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileKind::Empty),
        Err(error) => return Err(error),
    };
    let header = read_up_to(&mut file, LOG_HEADER_BYTES)?;
    let page_size =
        header.get(8..12).map_or(0, |bytes| bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)));
    if !(512..=65_536).contains(&page_size) {
        return Ok(FileKind::Empty);
    }
    loop {
        let frame = read_up_to(&mut file, FRAME_HEADER_BYTES + page_size)?;
        if frame.len() < FRAME_HEADER_BYTES + page_size {
            return Ok(FileKind::Empty);
        }
        if frame.starts_with(&[0, 0, 0, 1]) {
            return Ok(kind_of_page(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default()));
        }
    }
}

fn read_up_to(file: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(limit);
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_file_is_told_by_its_header_or_by_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        assert_eq!(kind_of(&path).unwrap(), FileKind::Empty);
        std::fs::write(&path, "").unwrap();
        assert_eq!(kind_of(&path).unwrap(), FileKind::Empty);
        std::fs::write(&path, "notes of another program".repeat(10)).unwrap();
        assert_eq!(kind_of(&path).unwrap(), FileKind::Other);
        std::fs::remove_file(&path).unwrap();

        for (id, kind) in [(0, FileKind::Foreign), (1, FileKind::Foreign), (APPLICATION_ID, FileKind::Ours)] {
            let (path, copy) = (folder.path().join("b.db"), folder.path().join("c.db"));
            let raw = Connection::open(&path).unwrap();
            raw.execute_batch("PRAGMA journal_mode = WAL").unwrap();
            raw.execute_batch(&format!("BEGIN; CREATE TABLE a (x); PRAGMA application_id = {id}; COMMIT"))
                .unwrap();
            // A copy, because the file must not be opened beside its connection.
            for end in ["", "-wal"] {
                std::fs::copy(sibling_path(&path, end), sibling_path(&copy, end)).unwrap();
            }
            let head = std::fs::read(&copy).unwrap();
            assert_eq!(kind_of_page(&head), FileKind::Empty, "all of it is in the log");
            assert_eq!(kind_of(&copy).unwrap(), kind, "application id {id}, in the log");
            raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            std::fs::copy(&path, &copy).unwrap();
            std::fs::remove_file(sibling_path(&copy, "-wal")).unwrap();
            assert_eq!(kind_of(&copy).unwrap(), kind, "application id {id}, in the file");
            drop(raw);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
