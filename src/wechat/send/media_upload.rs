//! Prepares an agent's file for WeChat: downloads it, detects its format and uploads it. If that
//! fails for good, the customer gets a text with a link instead.
//!
//! All of this happens before the attempt is recorded, and may be repeated at any time. A repeat is
//! cheap: the downloaded file is in `media.dir`, and the store remembers the upload.

use std::sync::Arc;

use fail::fail_point;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::client::{Client, Failure, NotAllowed, PLATFORM, call_report, verdict};
use super::code;
use super::media_type::{MediaType, UPLOAD_LIFE_MS, accepts_voice_length};
use super::transport::{FilePart, Source};
use crate::media::download::{DownloadError, Downloader};
use crate::media::file_type::HEAD_BYTES;
use crate::media::{FileType, Files, LinkSigner};
use crate::metrics::Metrics;
use crate::model::{
    Attachment, AttachmentKind, FailureClass, MediaHash, MediaName, MediaOrigin, Millis, Verdict,
};
use crate::outbox::{Payload, PrepareError};
use crate::store::{MediumFile, PendingCall, Store, StoreError};
use crate::upstream::{ApiLabel, RateLimiter, paced};

/// The API that uploads a file.
const MEDIA_UPLOAD: ApiLabel = ApiLabel { platform: PLATFORM, api: "media_upload" };
/// After this many attempts, a file that cannot be downloaded or uploaded is sent as a link.
const MAX_ATTEMPTS: u32 = 5;
/// The thumbnail, plain grey, of a video that comes without a usable one: WeChat requires a
/// thumbnail.
const PLACEHOLDER_THUMBNAIL: &[u8] = include_bytes!("no-picture.jpg");

/// Downloads agents' files and uploads them to WeChat.
#[derive(Debug)]
pub struct MediaUploader {
    /// Downloads files from the URLs that agents' clients sent.
    pub downloader: Downloader,
    /// Stores the files on disk.
    pub files: Files,
    /// Makes links to the stored files.
    pub links: LinkSigner,
    /// Remembers the owner of each file, and the uploads.
    pub store: Store,
    /// The rate limit of `media/upload`.
    pub rate_limiter: Arc<RateLimiter>,
    /// The metrics.
    pub metrics: Metrics,
    /// The largest file that is downloaded, in bytes.
    pub max_bytes: u64,
    /// Serialise uploads of the same file, so that only the first caller uploads it.
    pub upload_locks: UploadLocks,
}

/// One lock for each first hex digit of a file's hash.
#[derive(Debug, Default)]
pub struct UploadLocks([tokio::sync::Mutex<()>; 16]);

impl UploadLocks {
    async fn lock(&self, hash: &MediaHash) -> tokio::sync::MutexGuard<'_, ()> {
        let digit = hash.as_str().chars().next().and_then(|first| first.to_digit(16)).unwrap_or_default();
        self.0[digit as usize % self.0.len()].lock().await
    }
}

/// A file on our disk.
#[derive(Debug)]
struct LocalFile {
    hash: MediaHash,
    size: u64,
    kind: FileType,
    created_at: Millis,
}

/// WeChat's copy of a file.
#[derive(Debug)]
struct UploadedCopy {
    id: String,
    /// An earlier upload made the copy.
    reused: bool,
}

/// Why a file was not uploaded.
#[derive(Debug)]
enum UploadError {
    /// A later attempt may succeed.
    NotReady(PrepareError),
    /// The customer gets a link. `why` is the reason for the agent, if the agent should know it.
    Link { why: Option<String> },
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::NotReady(PrepareError { class: FailureClass::Busy, why: error.to_string() })
    }
}

impl MediaUploader {
    /// Prepares the form in which `attachment` can be sent.
    pub(super) async fn prepare(
        &self,
        client: &Client,
        pending: &PendingCall,
        attachment: &Attachment,
    ) -> Result<Payload, PrepareError> {
        let mut link = attachment.url.clone();
        match self.upload(client, pending, attachment, &mut link).await {
            Ok(form) => Ok(form),
            Err(UploadError::Link { why }) => Ok(Payload::Text { text: attachment.as_text(&link), why }),
            Err(UploadError::NotReady(not_ready)) => Err(not_ready),
        }
    }

    /// Uploads the file. Once the file is on our disk, and if the bridge has a public address,
    /// `link` is replaced by a link to our copy.
    async fn upload(
        &self,
        client: &Client,
        pending: &PendingCall,
        attachment: &Attachment,
        link: &mut String,
    ) -> Result<Payload, UploadError> {
        let media_type = match attachment.kind {
            AttachmentKind::Image => MediaType::Image,
            AttachmentKind::Sound { second } if accepts_voice_length(second) => MediaType::Voice,
            AttachmentKind::Sound { .. } => return Err(UploadError::Link { why: None }),
            AttachmentKind::Video { .. } => MediaType::Video,
        };
        let max = media_type.max_bytes().min(self.max_bytes);
        if attachment.size > max {
            return Err(UploadError::Link { why: None });
        }
        let file = self.fetch(pending, &attachment.name, &attachment.url, max).await?;
        if let Some(our_link) = self.links.link_to(&attachment.name, file.kind.extension(), file.created_at) {
            *link = our_link;
        }
        let copy = self.copy_of_file(client, pending, media_type, &file).await?;
        let thumb = match &attachment.kind {
            AttachmentKind::Video { thumb_url, thumb } => {
                Some(self.thumbnail(client, pending, thumb, thumb_url).await?)
            }
            AttachmentKind::Image | AttachmentKind::Sound { .. } => None,
        };
        let remembered = [Some(&copy), thumb.as_ref()]
            .into_iter()
            .flatten()
            .filter(|copy| copy.reused)
            .map(|copy| copy.id.clone())
            .collect();
        let thumb = thumb.map(|thumb| thumb.id);
        Ok(Payload::Uploaded { id: copy.id, thumb, kind: media_type.name(), maybe_expired: remembered })
    }

    /// Returns the file `name`: from our disk, or else downloaded from `url`.
    async fn fetch(
        &self,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<LocalFile, UploadError> {
        if let Some(local) = self.local_file(name).await? {
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
            Err(FetchError::Download(error)) => Err(UploadError::Link { why: Some(error.to_string()) }),
        }
    }

    async fn local_file(&self, name: &MediaName) -> Result<Option<LocalFile>, UploadError> {
        let lookup = name.clone();
        let Some(medium) = self.store.read(move |tx| tx.medium(&lookup)).await? else { return Ok(None) };
        let Some(MediumFile { hash, size }) = medium.file else { return Ok(None) };
        let mut head = Vec::with_capacity(HEAD_BYTES);
        match self.files.read(&hash).await {
            Ok(Some(file)) => {
                if file.take(HEAD_BYTES as u64).read_to_end(&mut head).await.is_err() {
                    return Ok(None);
                }
            }
            // A lost file is downloaded again. If the disk fails, that download reports it.
            Ok(None) | Err(_) => return Ok(None),
        }
        Ok(Some(LocalFile { hash, size, kind: FileType::detect(&head), created_at: medium.created_at }))
    }

    async fn download(
        &self,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<LocalFile, FetchError> {
        let stored = self.downloader.download(url, &self.files, max).await.map_err(FetchError::Download)?;
        let file = MediumFile { hash: stored.hash.clone(), size: stored.size };
        let (name, customer) = (name.clone(), pending.lane.customer.clone());
        let created_at = self
            .store
            .write(move |tx| {
                // A message may have been held longer than its files are kept, so the row may be
                // gone.
                let is_known = || Ok::<_, StoreError>(tx.customer(&customer)?.is_some_and(|one| one.known));
                if tx.medium(&name)?.is_none() && is_known()? {
                    tx.add_medium(&name, &customer, MediaOrigin::Agent)?;
                }
                tx.set_medium_file(&name, &file)?;
                Ok(tx.medium(&name)?.map_or(tx.now(), |medium| medium.created_at))
            })
            .await
            .map_err(FetchError::Store)?;
        fail_point!("media.fetched");
        Ok(LocalFile { hash: stored.hash.clone(), size: stored.size, kind: stored.kind, created_at })
    }

    /// Returns WeChat's copy of a file: from an earlier upload, or else from a new one.
    async fn copy_of_file(
        &self,
        client: &Client,
        pending: &PendingCall,
        media_type: MediaType,
        file: &LocalFile,
    ) -> Result<UploadedCopy, UploadError> {
        let Some((extension, content_type)) = media_type.format(file.kind) else {
            return Err(UploadError::Link { why: None });
        };
        let path = self.files.path(&file.hash);
        let part = FilePart {
            source: Source::Disk(&path),
            size: file.size,
            filename: &format!("{}.{extension}", media_type.name()),
            content_type,
        };
        self.upload_once(client, pending, media_type, &file.hash, part).await
    }

    async fn upload_once(
        &self,
        client: &Client,
        pending: &PendingCall,
        media_type: MediaType,
        hash: &MediaHash,
        part: FilePart<'_>,
    ) -> Result<UploadedCopy, UploadError> {
        let _lock = self.upload_locks.lock(hash).await;
        let (kind, lookup) = (media_type.name(), hash.clone());
        if let Some(id) = self.store.read(move |tx| tx.uploaded_media_id(&lookup, kind)).await? {
            return Ok(UploadedCopy { id, reused: true });
        }
        let call = client.upload(media_type, part);
        let outcome = paced(&self.rate_limiter, &self.metrics, MEDIA_UPLOAD, call, call_report).await;
        fail_point!("media.uploaded");
        let id = outcome.map_err(|failure| error_for_failure(pending, &failure))?;
        let (hash, new_id) = (hash.clone(), id.clone());
        self.store
            .write(move |tx| tx.put_upload(&hash, kind, &new_id, tx.now().plus(UPLOAD_LIFE_MS)))
            .await?;
        fail_point!("media.recorded");
        Ok(UploadedCopy { id, reused: false })
    }

    /// Returns the copy of a video's thumbnail, or of a plain grey one if the video's own is not
    /// available.
    async fn thumbnail(
        &self,
        client: &Client,
        pending: &PendingCall,
        name: &MediaName,
        url: &str,
    ) -> Result<UploadedCopy, UploadError> {
        let max = MediaType::Thumb.max_bytes().min(self.max_bytes);
        if !url.is_empty()
            && let Ok(file) = self.fetch(pending, name, url, max).await
            && let Ok(copy) = self.copy_of_file(client, pending, MediaType::Thumb, &file).await
        {
            return Ok(copy);
        }
        let part = FilePart {
            source: Source::Memory(PLACEHOLDER_THUMBNAIL),
            size: PLACEHOLDER_THUMBNAIL.len() as u64,
            filename: "thumb.jpg",
            content_type: "image/jpeg",
        };
        let hash = MediaHash::of_digest(Sha256::digest(PLACEHOLDER_THUMBNAIL).into());
        self.upload_once(client, pending, MediaType::Thumb, &hash, part).await
    }

    /// Forgets uploads that WeChat has dropped. WeChat has not sent the message, so it may be
    /// retried at once with fresh uploads.
    pub(super) async fn forget_uploads(&self, media_ids: &[String], why: String) -> Verdict {
        let media_ids = media_ids.to_vec();
        let result =
            self.store.write(move |tx| media_ids.iter().try_for_each(|id| tx.forget_upload(id))).await;
        match result {
            Ok(()) => Verdict::Retry { class: FailureClass::LostUpload, pause: None, why },
            Err(error) => Verdict::Retry { class: FailureClass::Busy, pause: None, why: error.to_string() },
        }
    }
}

/// What a failed upload means for the message.
fn error_for_failure(pending: &PendingCall, failure: &Failure) -> UploadError {
    let link = |why| UploadError::Link { why: Some(why) };
    match verdict(failure, NotAllowed::Refuse) {
        // An upload whose response was lost may be repeated, but not forever.
        Verdict::Unknown { why, .. } | Verdict::Unsettled { why } if pending.attempts < MAX_ATTEMPTS => {
            UploadError::NotReady(PrepareError { class: FailureClass::Unreachable, why })
        }
        Verdict::Retry { class: FailureClass::Quota, why, .. } => {
            if matches!(failure, Failure::Code { code: code::MINUTE_QUOTA, .. }) {
                return UploadError::NotReady(PrepareError { class: FailureClass::Quota, why });
            }
            // While the day's uploads are used up, texts can still be sent.
            link(why)
        }
        Verdict::Retry { class, why, .. } => UploadError::NotReady(PrepareError { class, why }),
        Verdict::Hold { why, .. }
        | Verdict::Refuse { why }
        | Verdict::Unknown { why, .. }
        | Verdict::Unsettled { why } => link(why),
        Verdict::Delivered => link(failure.to_string()),
    }
}

/// Why a file could not be downloaded.
#[derive(Debug)]
enum FetchError {
    Download(DownloadError),
    Store(StoreError),
}
