//! Why a store cannot be opened, for operators: each error names the setting, the fault and the remedy.

use std::path::PathBuf;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves this file.
    #[error("store.url: {path} is in use by {holder}; stop it first, or give this instance its own file")]
    InUse {
        /// The database file.
        path: PathBuf,
        /// The process that holds the lock.
        holder: String,
    },
    /// The lock file could not be created or locked.
    #[error("store.url: cannot lock {path}: {source}; the folder must exist and be writable")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file is not a database of this program.
    #[error("store.url: {path} is not a database of this program; give another file")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The file is no SQLite database.
    #[error(
        "store.url: cannot open {path}: the file is damaged or not a database; restore a backup, or move it away to \
         start afresh"
    )]
    NotADatabase {
        /// The file.
        path: String,
    },
    /// The file has more than one name.
    #[error(
        "store.url: {path} is one of {links} names of the same file (hard links), and SQLite keeps its log beside \
         each name; remove the other names"
    )]
    HardLinks {
        /// The file.
        path: PathBuf,
        /// The number of its names.
        links: u64,
    },
    /// Another version wrote the file, and a command must not migrate it.
    #[error(
        "store.url: {path} belongs to another version (schema {found}, this program has {known}), and a command \
         never migrates it; use the program of the running server, or first start `serve` of this version"
    )]
    OtherVersion {
        /// The database file.
        path: String,
        /// The schema version of the file.
        found: i64,
        /// The schema version of this program.
        known: usize,
    },
    /// A newer version wrote the file.
    #[error(
        "store.url: {path} was written by a newer version (schema {found}, this program knows {known}); \
         run that version, or restore a backup"
    )]
    Newer {
        /// The database file.
        path: String,
        /// The schema version of the file.
        found: i64,
        /// The newest schema version that this program knows.
        known: usize,
    },
    /// SQLite returned an error.
    #[error("store.url: cannot open {path}: {source}; {fix}")]
    Sqlite {
        /// The database file.
        path: String,
        /// The error of SQLite.
        source: rusqlite::Error,
        /// What the operator can do about it.
        fix: &'static str,
    },
    /// PostgreSQL's database cannot be used.
    #[error("store.url: {name} cannot be used: {problem}; {fix}")]
    Postgres {
        /// The server and the database, without the user and the password.
        name: String,
        /// What is wrong.
        problem: String,
        /// What the operator can do about it.
        fix: &'static str,
    },
    /// There is no database file.
    #[error("store.url: there is no database at {0}; run `serve` first, or name the right file")]
    Missing(PathBuf),
    /// A thread of the store could not be started.
    #[error("cannot start the store's thread: {0}")]
    Thread(std::io::Error),
}
