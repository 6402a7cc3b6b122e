//! Files whose bytes the database keeps: `media.dir` is a cache of them.
//!
//! Must never let a row name a file before its bytes are in the database.

use std::path::PathBuf;
use std::time::SystemTime;

use tokio::io::AsyncReadExt as _;

use super::{Files, FilesError, Keep};
use crate::model::MediaHash;
use crate::store::{Scope, Store};

/// The bytes of one row, which is written and read as a whole.
const CHUNK_BYTES: usize = 256 * 1024;

impl Files {
    /// Copies a complete file into the database, where that keeps the bytes.
    pub(super) async fn keep(&self, hash: &MediaHash) -> Result<(), FilesError> {
        let Some(store) = &self.0.kept_in else { return Ok(()) };
        let path = self.path(hash);
        let failed = |source| self.write_failed(&path, source);
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        for number in 0.. {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut bytes).await.map_err(failed)?;
            if bytes.is_empty() && number > 0 {
                break;
            }
            let key = hash.clone();
            store.write_for(Scope::media(hash), move |tx| tx.put_chunk(&key, number, &bytes)).await?;
        }
        Ok(())
    }

    /// Copies a file from the database into the cache. Returns whether the database has it.
    pub(super) async fn restore(&self, hash: &MediaHash) -> Result<bool, FilesError> {
        let Some(store) = &self.0.kept_in else { return Ok(false) };
        let Some(mut bytes) = chunk(store, hash, 0).await? else { return Ok(false) };
        let mut incoming = self.create(u64::MAX).await?;
        for next in 1.. {
            incoming.write(&bytes).await?;
            match chunk(store, hash, next).await? {
                Some(more) => bytes = more,
                None => break,
            }
        }
        // Some pieces may be missing after a crash: then it got no row.
        Ok(incoming.complete(Keep::Cached).await?.hash == *hash)
    }

    /// Removes the files that were cached longest ago, until all together have at most `max_bytes` bytes. Blocks.
    pub(in crate::media) fn shrink_cache(&self, max_bytes: u64) -> Result<(), FilesError> {
        let listed =
            std::fs::read_dir(&self.0.dir).map_err(|source| self.write_failed(&self.0.dir, source))?;
        let mut files: Vec<(SystemTime, u64, PathBuf)> = listed
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let found = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= max_bytes {
                break;
            }
            // A file that is missing is restored when it is asked for.
            if std::fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
        self.0.total_bytes.store(total, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

async fn chunk(store: &Store, hash: &MediaHash, number: u32) -> Result<Option<Vec<u8>>, FilesError> {
    let hash = hash.clone();
    Ok(store.read(move |tx| tx.chunk(&hash, number)).await?)
}
