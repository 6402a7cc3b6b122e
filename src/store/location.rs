//! Where a store is.

use std::path::{Path, PathBuf};

use super::PostgresLocation;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A file. SQLite keeps its `-wal` and `-shm` files beside it.
    File(PathBuf),
    /// In memory. The data is lost when the process ends.
    Memory,
    /// A PostgreSQL database.
    Postgres(Box<PostgresLocation>),
}

impl StoreLocation {
    /// SQLite's file, if the store is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Memory | Self::Postgres(_) => None,
        }
    }
}
