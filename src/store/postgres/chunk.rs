//! The bytes of media in the database: `media.dir` is then only a cache.
//!
//! They are there before a row of `media` names their hash, and go when none does any more. On SQLite `media.dir` itself
//! keeps the bytes, and nothing of this is used.

use crate::model::MediaHash;
use crate::store::session::Session;
use crate::store::value::params;
use crate::store::{StoreError, Tx};

impl Tx<'_> {
    /// Whether the database keeps the bytes of media.
    fn keeps_bytes(&self) -> bool {
        matches!(self.session, Session::Postgres(_))
    }

    /// Keeps a piece of a file, unless it is there already.
    pub fn put_chunk(&self, hash: &MediaHash, number: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO chunk (hash, number, bytes) VALUES (?1, ?2, ?3)
                   ON CONFLICT (hash, number) DO NOTHING";
        self.session.run(sql, params![hash.as_str(), number, bytes])?;
        Ok(())
    }

    /// A piece of a file; `None` behind the last one.
    pub fn chunk(&self, hash: &MediaHash, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM chunk WHERE hash = ?1 AND number = ?2";
        self.session.find(sql, params![hash.as_str(), number])
    }

    /// Drops the bytes of a file that no row names.
    pub fn drop_chunks(&self, hash: &MediaHash) -> Result<(), StoreError> {
        if self.keeps_bytes() && !self.is_file_referenced(hash)? {
            self.session.run("DELETE FROM chunk WHERE hash = ?1", params![hash.as_str()])?;
        }
        Ok(())
    }

    /// Marks the files whose bytes were kept and that got no row, because the process was killed in between.
    pub fn mark_lost_chunks(&self) -> Result<(), StoreError> {
        let sql = "INSERT INTO media_orphan (hash) SELECT DISTINCT c.hash FROM chunk AS c
                   WHERE NOT EXISTS (SELECT 1 FROM media AS m WHERE m.hash = c.hash)
                   ON CONFLICT (hash) DO NOTHING";
        if self.keeps_bytes() {
            self.session.run(sql, params![])?;
        }
        Ok(())
    }

    /// The bytes of all media.
    pub fn media_bytes(&self) -> Result<u64, StoreError> {
        let sql = "SELECT CAST(coalesce(sum(size), 0) AS bigint)
                   FROM (SELECT DISTINCT hash, size FROM media WHERE hash IS NOT NULL) AS files";
        Ok(u64::try_from(self.session.value::<i64>(sql, params![])?).unwrap_or(0))
    }
}
