//! Media files: which conversation each belongs to, and which files are no longer needed.
//!
//! A deleted row leaves the hash of its file behind in the same transaction, so that a file is
//! still removed after a crash in between.

use const_format::formatcp;

use super::column::{DEFERRED, HELD, OPEN, QUEUED};
use super::session::Row;
use super::value::{Column, FromColumn, Mismatch, Param, params};
use super::{StoreError, Tx};
use crate::model::{MediaHash, MediaName, MediaOrigin, Millis, OpenId};

/// A stored medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Its name in links.
    pub name: MediaName,
    /// The customer whose conversation it belongs to.
    pub openid: OpenId,
    /// Who sent it.
    pub origin: MediaOrigin,
    /// When the message that contained it was accepted.
    pub created_at: Millis,
    /// Its file; `None` until it has been downloaded.
    pub file: Option<MediumFile>,
}

/// The file of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumFile {
    /// The SHA-256 of its bytes, which is its name on disk.
    pub hash: MediaHash,
    /// Its size in bytes.
    pub size: u64,
}

fn read(row: Row<'_>) -> Result<Medium, StoreError> {
    let file = match (row.get(4)?, row.get::<Option<i64>>(5)?) {
        (Some(file), Some(size)) => {
            Some(MediumFile { hash: parse_hash(file)?, size: u64::try_from(size).unwrap_or(0) })
        }
        _ => None,
    };
    Ok(Medium {
        name: MediaName::new(row.get::<String>(0)?).map_err(StoreError::unreadable)?,
        openid: OpenId::new(row.get::<String>(1)?).map_err(StoreError::unreadable)?,
        origin: row.get(2)?,
        created_at: Millis(row.get(3)?),
        file,
    })
}

fn parse_hash(text: String) -> Result<MediaHash, StoreError> {
    MediaHash::new(text).map_err(StoreError::unreadable)
}

impl Tx<'_> {
    /// Stores a medium whose file has not been downloaded yet.
    pub fn add_medium(
        &self,
        name: &MediaName,
        openid: &OpenId,
        origin: MediaOrigin,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO media (name, openid, origin, created_at) VALUES (?1, ?2, ?3, ?4)";
        self.session.run(sql, params![name.as_str(), openid.as_str(), origin, self.now.0])?;
        Ok(())
    }

    /// Records the file of a medium. `false` if the medium was deleted in the meantime; the file is
    /// then marked for removal.
    pub fn set_medium_file(&self, name: &MediaName, file: &MediumFile) -> Result<bool, StoreError> {
        let sql = "UPDATE media SET hash = ?2, size = ?3 WHERE name = ?1";
        let size = i64::try_from(file.size).unwrap_or(i64::MAX);
        let known = self.session.run(sql, params![name.as_str(), file.hash.as_str(), size])? > 0;
        if !known {
            self.mark_orphan(&file.hash)?;
        }
        Ok(known)
    }

    /// Finds a medium by its name.
    pub fn medium(&self, name: &MediaName) -> Result<Option<Medium>, StoreError> {
        let sql = "SELECT name, openid, origin, created_at, hash, size FROM media WHERE name = ?1";
        self.session.one(sql, params![name.as_str()], read)
    }

    /// Deletes the oldest media, up to `limit`, created before `before`. Returns how many were deleted.
    pub fn prune_media(&self, before: Millis, limit: u32) -> Result<usize, StoreError> {
        let sql = "DELETE FROM media WHERE name IN (
                       SELECT name FROM media WHERE created_at < ?1 ORDER BY created_at, name LIMIT ?2)";
        self.session.run(sql, params![before.0, limit])
    }

    /// Deletes the oldest media, at most `limit`, until `bytes` bytes are deleted. Media of customers
    /// with messages that wait, are held, deferred or queued stay. Returns how many were deleted.
    pub fn prune_oldest_media(&self, bytes: u64, limit: u32) -> Result<usize, StoreError> {
        let oldest = formatcp!(
            "SELECT name, size FROM media WHERE hash IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.direction = 0 AND m.openid = media.openid AND m.{OPEN})
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.direction = 1 AND m.openid = media.openid AND m.{OPEN})
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.openid = media.openid AND m.{HELD})
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.openid = media.openid AND m.{DEFERRED})
             AND NOT EXISTS (SELECT 1 FROM message m WHERE m.openid = media.openid AND m.{QUEUED})
             ORDER BY created_at, name LIMIT ?1"
        );
        let rows: Vec<(String, i64)> =
            self.session.all(oldest, params![limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (mut deleted, mut freed) = (0, 0_u64);
        for (name, size) in rows {
            if freed >= bytes {
                break;
            }
            deleted += self.session.run("DELETE FROM media WHERE name = ?1", params![&name])?;
            freed = freed.saturating_add(size.unsigned_abs());
        }
        Ok(deleted)
    }

    /// Marks a file that may have lost its last reference; it is removed later unless a row
    /// references it by then.
    pub fn mark_orphan(&self, hash: &MediaHash) -> Result<(), StoreError> {
        let sql = "INSERT INTO media_orphan (hash) VALUES (?1) ON CONFLICT (hash) DO NOTHING";
        self.session.run(sql, params![hash.as_str()])?;
        Ok(())
    }

    /// Up to `limit` files that may have lost their last reference.
    pub fn orphans(&self, limit: u32) -> Result<Vec<MediaHash>, StoreError> {
        let sql = "SELECT hash FROM media_orphan ORDER BY hash LIMIT ?1";
        self.session.all(sql, params![limit], |row| parse_hash(row.get(0)?))
    }

    /// Whether a row references the file.
    pub fn is_file_referenced(&self, hash: &MediaHash) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media WHERE hash = ?1)";
        self.session.value(sql, params![hash.as_str()])
    }

    /// Unmarks a file that has been removed, or is referenced again.
    pub fn unmark_orphan(&self, hash: &MediaHash) -> Result<(), StoreError> {
        let sql = "DELETE FROM media_orphan WHERE hash = ?1";
        self.session.run(sql, params![hash.as_str()])?;
        Ok(())
    }
}

impl From<MediaOrigin> for Param<'_> {
    fn from(origin: MediaOrigin) -> Self {
        Self::Int(match origin {
            MediaOrigin::Customer => 0,
            MediaOrigin::Agent => 1,
        })
    }
}

impl FromColumn for MediaOrigin {
    fn from_column(column: Column<'_>) -> Result<Self, Mismatch> {
        match column {
            Column::Int(0) => Ok(Self::Customer),
            Column::Int(1) => Ok(Self::Agent),
            _ => Err(Mismatch),
        }
    }
}
