//! Media: the files of conversations on disk, and the signed links to them.
//!
//! A file is stored once, under the hash of its bytes; rows in the store say to whom it belongs. A
//! file is never held in memory as a whole, never kept without a row, and served only for a signed
//! link. This module knows neither platform.

pub mod arrivals;
pub mod download;
pub mod files;
pub mod kind;
pub mod length;
pub mod link;
pub mod measure;
pub mod mp3;
pub mod scale;
pub mod sweep;

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::BaseUrl;
use crate::store::{Store, StoreError};

pub use arrivals::{Arrivals, Awaited};
pub use files::{Files, FilesError, Incoming, Stored};
pub use kind::Kind;
pub use link::{Asked, Links};
pub use measure::Measured;
pub use mp3::Mp3;
pub use scale::{Scale, Scaler};
pub use sweep::Sweeper;

/// Everything that this module offers. Clones share it.
#[derive(Clone, Debug)]
pub struct Media {
    /// The files of `media.dir`.
    pub files: Files,
    /// Creates and verifies links.
    pub links: Links,
    /// Removes unreferenced files. Wake it after rows are deleted.
    pub sweeper: Sweeper,
    /// Signals requested and completed fetches.
    pub arrivals: Arrivals,
    /// Converts recordings to MP3; `None` if the machine has no ffmpeg.
    pub mp3: Option<Mp3>,
    /// Makes smaller copies of pictures.
    pub scaler: Scaler,
}

/// Why the media directory or the links cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The link key cannot be read or stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Media {
    /// Opens the directory `dir` and the links below `public_url`. Files and links are valid for
    /// `keep`.
    pub async fn open(
        store: &Store,
        dir: &Path,
        public_url: Option<BaseUrl>,
        keep: Duration,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let dir = dir.to_owned();
        let opened = move || {
            let mp3 = std::env::var_os("PATH").and_then(|search| Mp3::find(&search));
            Files::open(&dir, clock).map(|files| (files, mp3))
        };
        let opened = tokio::task::spawn_blocking(opened).await;
        let (files, mp3) = opened.map_err(|_| StoreError::Closed)??;
        let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let links = Links::load(store, public_url, keep_ms).await?;
        let sweeper = Sweeper::new(store.clone(), files.clone(), keep_ms);
        let scaler = Scaler::new(files.clone());
        Ok(Self { files, links, sweeper, arrivals: Arrivals::default(), mp3, scaler })
    }
}
