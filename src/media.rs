//! Media: files of conversations on disk, and the links by which they are fetched.
//!
//! A file is stored once under the hash of its bytes; rows in the store say whose it is. A file is never whole in
//! memory, never kept without a row, and never served but by a signed link. Knows neither platform.

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

/// Everything this room gives to others. Clones share it.
#[derive(Clone, Debug)]
pub struct Media {
    /// The directory.
    pub files: Files,
    /// Makes and knows the links.
    pub links: Links,
    /// Removes what nobody needs; wake it when rows have gone.
    pub sweeper: Sweeper,
    /// Tells who waits of what has come.
    pub arrivals: Arrivals,
    /// Copies recordings as MP3; `None`: the machine has no ffmpeg.
    pub mp3: Option<Mp3>,
    /// Makes smaller copies of pictures.
    pub scaler: Scaler,
}

/// Why the room cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The key of the links cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Media {
    /// Opens `dir` and the links below `public_url`; both are good for `keep`.
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
