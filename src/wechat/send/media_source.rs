//! Where an agent's file comes from: our disk, or its URL. A link of our own is never downloaded: its
//! file is on our disk already.

use fail::fail_point;
use tokio::io::AsyncReadExt as _;

use crate::media::download::{DownloadError, Downloader};
use crate::media::file_type::HEAD_BYTES;
use crate::media::link::ReadLink;
use crate::media::{FileType, Media};
use crate::metrics::Metrics;
use crate::model::{FailureClass, MediaHash, MediaName, MediaOrigin, Millis, OpenId};
use crate::outbox::PrepareError;
use crate::store::{MediumFile, PendingCall, Scope, Store, StoreError, Tx};

/// After this many attempts, a file that cannot be downloaded or uploaded is sent as a link.
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// Gets agents' files.
#[derive(Debug)]
pub struct MediaSource {
    /// Downloads files from the URLs that agents' clients sent.
    pub downloader: Downloader,
    /// The files on our disk, the links to them, and what converts them.
    pub media: Media,
    /// Remembers the owner of each file.
    pub store: Store,
    /// The metrics.
    pub metrics: Metrics,
    /// The largest file that is downloaded, in bytes.
    pub max_bytes: u64,
}

/// Why a file was not uploaded.
#[derive(Debug)]
pub(super) enum UploadError {
    /// A later attempt may succeed.
    NotReady(PrepareError),
    /// The customer gets a link. `why` is the reason for the agent, if the agent should know it.
    Link {
        /// The reason, as the agent reads it.
        why: Option<String>,
    },
    /// Nobody may follow the file's address: the customer gets only the word for the file.
    Hidden {
        /// The reason, as the agent reads it.
        why: String,
    },
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::NotReady(PrepareError { class: FailureClass::Busy, why: error.to_string() })
    }
}

/// A file on our disk.
#[derive(Debug)]
pub(super) struct LocalFile {
    /// The hash, which is its name on disk.
    pub hash: MediaHash,
    /// The size in bytes.
    pub size: u64,
    /// Its type.
    pub kind: FileType,
    /// When the message with it was accepted.
    pub created_at: Millis,
}

/// What a link of our own leads to.
#[derive(Debug)]
enum OwnLink {
    /// A file that is here.
    File(MediumFile, Millis),
    /// A file that is still being fetched.
    Pending,
    /// Nothing: the link is changed or expired, or its file is gone.
    Gone,
}

/// Why a file could not be downloaded.
#[derive(Debug)]
enum FetchError {
    Download(DownloadError),
    Store(StoreError),
}

impl MediaSource {
    /// Returns the file `name`, of at most `max` bytes: from our disk, or else downloaded from `url`.
    pub(super) async fn fetch(
        &self,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<LocalFile, UploadError> {
        if let Some(local) = self.local_file(name).await? {
            return Ok(local);
        }
        if let Some(local) = self.own_file(pending, name, url).await? {
            return Ok(local);
        }
        let downloaded = self.download(pending, name, url, max).await;
        let outcome = match &downloaded {
            Ok(_) => "ok",
            Err(FetchError::Download(error)) => error.name(),
            Err(FetchError::Store(_)) => "store",
        };
        self.metrics.record_download(outcome);
        match downloaded {
            Ok(local) => Ok(local),
            Err(FetchError::Store(error)) => Err(error.into()),
            Err(FetchError::Download(error)) if error.is_retryable() && pending.attempts < MAX_ATTEMPTS => {
                Err(UploadError::NotReady(PrepareError {
                    class: FailureClass::SourceUnavailable,
                    why: error.to_string(),
                }))
            }
            // The agent gets no reason: neither the agent nor the operator can change WeChat's size
            // limit.
            Err(FetchError::Download(DownloadError::TooLarge(_))) => Err(UploadError::Link { why: None }),
            Err(FetchError::Download(DownloadError::Forbidden(why))) => {
                Err(UploadError::Hidden { why: why.to_string() })
            }
            Err(FetchError::Download(error)) => Err(UploadError::Link { why: Some(error.to_string()) }),
        }
    }

    /// The file of a medium, if it is on our disk.
    async fn local_file(&self, name: &MediaName) -> Result<Option<LocalFile>, UploadError> {
        let lookup = name.clone();
        let Some(medium) = self.store.read(move |tx| tx.medium(&lookup)).await? else { return Ok(None) };
        let Some(file) = medium.file else { return Ok(None) };
        Ok(self.open(file, medium.created_at).await)
    }

    /// The file on our disk; `None` if it is lost. If the disk fails, the next step reports it.
    async fn open(&self, file: MediumFile, created_at: Millis) -> Option<LocalFile> {
        let MediumFile { hash, size } = file;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let opened = self.media.files.read(&hash).await.ok()??;
        opened.take(HEAD_BYTES as u64).read_to_end(&mut head).await.ok()?;
        Some(LocalFile { hash, size, kind: FileType::detect(&head), created_at })
    }

    /// The file behind a link of our own, which from now on is also the file of `name`; `None` if `url`
    /// is no such link.
    async fn own_file(
        &self,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
    ) -> Result<Option<LocalFile>, UploadError> {
        let (links, customer) = (self.media.links.clone(), pending.lane.customer.clone());
        let (name, url) = (name.clone(), url.to_owned());
        // One transaction, so that the file cannot lose its last row in between.
        let found = self.store.write(move |tx| {
            let target = match links.read(&url, tx.now()) {
                ReadLink::Foreign => return Ok(None),
                ReadLink::Invalid => return Ok(Some(OwnLink::Gone)),
                ReadLink::Valid(target) => target,
            };
            let file = tx.medium(&target.name)?.and_then(|medium| medium.file);
            Ok(Some(match file {
                Some(file) => {
                    let created_at = keep(tx, &name, &customer, &file)?;
                    OwnLink::File(file, created_at)
                }
                None if tx.is_fetch_pending(&target.name)? => OwnLink::Pending,
                None => OwnLink::Gone,
            }))
        });
        match found.await? {
            None => Ok(None),
            Some(OwnLink::File(file, created_at)) => match self.open(file, created_at).await {
                Some(local) => Ok(Some(local)),
                None => Err(gone()),
            },
            Some(OwnLink::Pending) if pending.attempts < MAX_ATTEMPTS => {
                Err(UploadError::NotReady(PrepareError {
                    class: FailureClass::SourceUnavailable,
                    why: "the customer's file is still being fetched".to_owned(),
                }))
            }
            Some(OwnLink::Pending | OwnLink::Gone) => Err(gone()),
        }
    }

    async fn download(
        &self,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<LocalFile, FetchError> {
        let downloaded = self.downloader.download(url, &self.media.files, max).await;
        let stored = downloaded.map_err(FetchError::Download)?;
        let file = MediumFile { hash: stored.hash.clone(), size: stored.size };
        let (name, customer) = (name.clone(), pending.lane.customer.clone());
        // The file stays while `stored` lives, so that nothing else has to wait.
        let scope = Scope::lane(&pending.lane);
        let kept = self.store.write_for(scope, move |tx| keep(tx, &name, &customer, &file));
        let created_at = kept.await.map_err(FetchError::Store)?;
        fail_point!("media.fetched");
        Ok(LocalFile { hash: stored.hash.clone(), size: stored.size, kind: stored.kind, created_at })
    }
}

/// Records `file` as that of `name`. Returns when the message with it was accepted.
fn keep(tx: &Tx<'_>, name: &MediaName, customer: &OpenId, file: &MediumFile) -> Result<Millis, StoreError> {
    // A message may have been held longer than its files are kept, so the row may be gone.
    let is_known = || Ok::<_, StoreError>(tx.customer(customer)?.is_some_and(|one| one.known));
    if tx.medium(name)?.is_none() && is_known()? {
        tx.add_medium(name, customer, MediaOrigin::Agent)?;
    }
    tx.set_medium_file(name, file)?;
    Ok(tx.medium(name)?.map_or(tx.now(), |medium| medium.created_at))
}

fn gone() -> UploadError {
    UploadError::Link {
        why: Some("the link is the bridge's own, but its file is not here any more".to_owned()),
    }
}
