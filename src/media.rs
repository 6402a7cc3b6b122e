//! Media: the files of conversations on disk, and the signed links to them.
//!
//! A file is stored once, under the hash of its bytes; rows in the store say to whom it belongs. A
//! file is never held in memory as a whole, never kept without a row, and served only for a signed
//! link. This module knows neither platform.

pub mod fetch_events;
pub mod ffmpeg;
pub mod download;
pub mod files;
pub mod file_type;
pub mod duration;
pub mod link;
pub mod measure;
pub mod scale;
pub mod sweep;

use std::path::Path;
use std::time::Duration;

use crate::clock::{self, Clock};
use crate::config::BaseUrl;
use crate::store::{Store, StoreError};

pub use fetch_events::{FetchEvents, WaitOutcome};
pub use ffmpeg::{Ffmpeg, FfmpegError};
pub use file_type::FileType;
pub use files::{Files, FilesError, StoredFile};
pub use link::LinkSigner;
pub use measure::FileInfo;
pub use scale::{Scale, Scaler};
pub use sweep::Sweeper;

/// Everything that this module offers. Clones share it.
#[derive(Clone, Debug)]
pub struct Media {
    /// The files of `media.dir`.
    pub files: Files,
    /// Creates and verifies links.
    pub links: LinkSigner,
    /// Removes unreferenced files. Wake it after rows are deleted.
    pub sweeper: Sweeper,
    /// Signals requested and completed fetches.
    pub fetch_events: FetchEvents,
    /// Converts recordings and videos; `None` if the machine has no ffmpeg.
    pub ffmpeg: Option<Ffmpeg>,
    /// Makes smaller copies of pictures.
    pub scaler: Scaler,
}

/// Why the media directory or the links cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum MediaOpenError {
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
        retention: Duration,
        clock: Clock,
    ) -> Result<Self, MediaOpenError> {
        let dir = dir.to_owned();
        let (of_files, kept_in) = (clock.clone(), store.keeps_media().then(|| store.clone()));
        let open = move || Files::open_cache(&dir, of_files, kept_in).map(|files| (files, Ffmpeg::find()));
        let opened = tokio::task::spawn_blocking(open).await;
        let (files, ffmpeg) = opened.map_err(|_| StoreError::Closed)??;
        let retention_ms = clock::millis(retention);
        let links = LinkSigner::load(store, public_url, retention_ms).await?;
        let sweeper = Sweeper::new(store.clone(), files.clone(), retention_ms, clock);
        let scaler = Scaler::new(files.clone());
        Ok(Self { files, links, sweeper, fetch_events: FetchEvents::default(), ffmpeg, scaler })
    }
}
