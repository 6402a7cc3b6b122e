//! Prepares an agent's file for WeChat: downloads it, detects its format and uploads it. If that
//! fails for good, the customer gets a text with a link instead.
//!
//! All of this happens before the attempt is recorded, and may be repeated at any time. A repeat is
//! cheap: the downloaded file is in `media.dir`, and the store remembers the upload.

use std::sync::Arc;
use std::time::Instant;

use fail::fail_point;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::client::{Client, Failure, NotAllowed, said, verdict};
use super::code;
use super::courier::PLATFORM;
use super::upload::{LIFE_MS, MediaType, takes_voice_of};
use super::wire::{FilePart, Source};
use crate::media::download::{DownloadError, Downloader};
use crate::media::file_type::HEAD_BYTES;
use crate::media::{FileType, Files, LinkSigner};
use crate::metrics::Metrics;
use crate::model::{
    Attachment, AttachmentKind, FailureClass, MediaHash, MediaName, MediaOrigin, Millis, Verdict,
};
use crate::outbox::rate_limit::RateLimiter;
use crate::outbox::{Payload, PrepareError};
use crate::store::{MediumFile, PendingCall, Store, StoreError};

/// The API's name in metrics.
const MEDIA_UPLOAD: &str = "media_upload";
/// After this many attempts, a file that cannot be downloaded or uploaded is sent as a link.
const TRIES: u32 = 5;
/// The thumbnail, plain grey, of a video that comes without a usable one: WeChat requires a
/// thumbnail.
const NO_PICTURE: &[u8] = include_bytes!("no-picture.jpg");

/// Downloads agents' files and uploads them to WeChat.
#[derive(Debug)]
pub struct Attachments {
    /// Downloads files from the URLs that agents' clients sent.
    pub downloader: Downloader,
    /// Stores the files on disk.
    pub files: Files,
    /// Makes links to the stored files.
    pub links: LinkSigner,
    /// Remembers the owner of each file, and the uploads.
    pub store: Store,
    /// The rate limit of `media/upload`.
    pub pace: Arc<RateLimiter>,
    /// The metrics.
    pub metrics: Metrics,
    /// The largest file that is downloaded, in bytes.
    pub max_bytes: u64,
    /// Serialise uploads of the same file, so that only the first caller uploads it.
    pub turns: Turns,
}

/// One lock for each first hex digit of a file's hash.
#[derive(Debug, Default)]
pub struct Turns([tokio::sync::Mutex<()>; 16]);

impl Turns {
    async fn take(&self, hash: &MediaHash) -> tokio::sync::MutexGuard<'_, ()> {
        let digit = hash.as_str().chars().next().and_then(|first| first.to_digit(16)).unwrap_or_default();
        self.0[digit as usize % self.0.len()].lock().await
    }
}

/// A file on our disk.
#[derive(Debug)]
struct Local {
    hash: MediaHash,
    size: u64,
    kind: FileType,
    created_at: Millis,
}

/// WeChat's copy of a file.
#[derive(Debug)]
struct Copy {
    id: String,
    /// An earlier upload made the copy.
    remembered: bool,
}

/// Why a file was not uploaded.
#[derive(Debug)]
enum Stopped {
    /// A later attempt may succeed.
    NotReady(PrepareError),
    /// The customer gets a link. `why` is the reason for the agent, if the agent should know it.
    Link { why: Option<String> },
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::NotReady(PrepareError { class: FailureClass::Busy, why: error.to_string() })
    }
}

impl Attachments {
    /// Prepares the form in which `attachment` can be sent.
    pub(super) async fn prepare(
        &self,
        client: &Client,
        owed: &PendingCall,
        attachment: &Attachment,
    ) -> Result<Payload, PrepareError> {
        let mut link = attachment.url.clone();
        match self.upload(client, owed, attachment, &mut link).await {
            Ok(form) => Ok(form),
            Err(Stopped::Link { why }) => Ok(Payload::Text { text: attachment.as_text(&link), why }),
            Err(Stopped::NotReady(not_ready)) => Err(not_ready),
        }
    }

    /// Uploads the file. Once the file is on our disk, and if the bridge has a public address,
    /// `link` is replaced by a link to our copy.
    async fn upload(
        &self,
        client: &Client,
        owed: &PendingCall,
        attachment: &Attachment,
        link: &mut String,
    ) -> Result<Payload, Stopped> {
        let media_type = match attachment.kind {
            AttachmentKind::Image => MediaType::Image,
            AttachmentKind::Sound { second } if takes_voice_of(second) => MediaType::Voice,
            AttachmentKind::Sound { .. } => return Err(Stopped::Link { why: None }),
            AttachmentKind::Video { .. } => MediaType::Video,
        };
        let max = media_type.max_bytes().min(self.max_bytes);
        if attachment.size > max {
            return Err(Stopped::Link { why: None });
        }
        let file = self.fetch(owed, &attachment.name, &attachment.url, max).await?;
        if let Some(ours) = self.links.link_to(&attachment.name, file.kind.extension(), file.created_at) {
            *link = ours;
        }
        let copy = self.copy(client, owed, media_type, &file).await?;
        let thumb = match &attachment.kind {
            AttachmentKind::Video { thumb_url, thumb } => {
                Some(self.picture(client, owed, thumb, thumb_url).await?)
            }
            AttachmentKind::Image | AttachmentKind::Sound { .. } => None,
        };
        let remembered = [Some(&copy), thumb.as_ref()]
            .into_iter()
            .flatten()
            .filter(|copy| copy.remembered)
            .map(|copy| copy.id.clone())
            .collect();
        let thumb = thumb.map(|thumb| thumb.id);
        Ok(Payload::Uploaded { id: copy.id, thumb, kind: media_type.name(), maybe_expired: remembered })
    }

    /// Returns the file `name`: from our disk, or else downloaded from `url`.
    async fn fetch(
        &self,
        owed: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<Local, Stopped> {
        if let Some(local) = self.local(name).await? {
            return Ok(local);
        }
        let downloaded = self.download(owed, name, url, max).await;
        let outcome = match &downloaded {
            Ok(_) => "ok",
            Err(Trouble::Download(error)) => error.name(),
            Err(Trouble::Store(_)) => "store",
        };
        self.metrics.record_download(outcome);
        match downloaded {
            Ok(local) => Ok(local),
            Err(Trouble::Store(error)) => Err(error.into()),
            Err(Trouble::Download(error)) if error.is_retryable() && owed.attempts < TRIES => {
                Err(Stopped::NotReady(PrepareError {
                    class: FailureClass::SourceUnavailable,
                    why: error.to_string(),
                }))
            }
            // The agent gets no reason: neither the agent nor the operator can change WeChat's size
            // limit.
            Err(Trouble::Download(DownloadError::TooLarge(_))) => Err(Stopped::Link { why: None }),
            Err(Trouble::Download(error)) => Err(Stopped::Link { why: Some(error.to_string()) }),
        }
    }

    async fn local(&self, name: &MediaName) -> Result<Option<Local>, Stopped> {
        let asked = name.clone();
        let Some(medium) = self.store.read(move |tx| tx.medium(&asked)).await? else { return Ok(None) };
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
        Ok(Some(Local { hash, size, kind: FileType::detect(&head), created_at: medium.created_at }))
    }

    async fn download(
        &self,
        owed: &PendingCall,
        name: &MediaName,
        url: &str,
        max: u64,
    ) -> Result<Local, Trouble> {
        let stored = self.downloader.download(url, &self.files, max).await.map_err(Trouble::Download)?;
        let file = MediumFile { hash: stored.hash.clone(), size: stored.size };
        let (name, customer) = (name.clone(), owed.lane.customer.clone());
        let created_at = self
            .store
            .write(move |tx| {
                // A message may have been held longer than its files are kept, so the row may be
                // gone.
                let known = || Ok::<_, StoreError>(tx.customer(&customer)?.is_some_and(|one| one.known));
                if tx.medium(&name)?.is_none() && known()? {
                    tx.add_medium(&name, &customer, MediaOrigin::Agent)?;
                }
                tx.set_medium_file(&name, &file)?;
                Ok(tx.medium(&name)?.map_or(tx.now(), |medium| medium.created_at))
            })
            .await
            .map_err(Trouble::Store)?;
        fail_point!("media.fetched");
        Ok(Local { hash: stored.hash.clone(), size: stored.size, kind: stored.kind, created_at })
    }

    /// Returns WeChat's copy of a file: from an earlier upload, or else from a new one.
    async fn copy(
        &self,
        client: &Client,
        owed: &PendingCall,
        media_type: MediaType,
        file: &Local,
    ) -> Result<Copy, Stopped> {
        let Some((extension, content_type)) = media_type.format(file.kind) else {
            return Err(Stopped::Link { why: None });
        };
        let path = self.files.path(&file.hash);
        let part = FilePart {
            source: Source::Disk(&path),
            size: file.size,
            filename: &format!("{}.{extension}", media_type.name()),
            content_type,
        };
        self.copy_of(client, owed, media_type, &file.hash, part).await
    }

    async fn copy_of(
        &self,
        client: &Client,
        owed: &PendingCall,
        media_type: MediaType,
        hash: &MediaHash,
        part: FilePart<'_>,
    ) -> Result<Copy, Stopped> {
        let _turn = self.turns.take(hash).await;
        let (kind, asked) = (media_type.name(), hash.clone());
        if let Some(id) = self.store.read(move |tx| tx.uploaded_media_id(&asked, kind)).await? {
            return Ok(Copy { id, remembered: true });
        }
        self.pace.until_ready(MEDIA_UPLOAD).await;
        let started = Instant::now();
        let outcome = client.upload(media_type, part).await;
        self.metrics.record_call(PLATFORM, MEDIA_UPLOAD, said(&outcome), started.elapsed());
        fail_point!("media.uploaded");
        let id = outcome.map_err(|failure| self.refused(owed, &failure))?;
        let (hash, given) = (hash.clone(), id.clone());
        self.store.write(move |tx| tx.put_upload(&hash, kind, &given, tx.now().plus(LIFE_MS))).await?;
        fail_point!("media.recorded");
        Ok(Copy { id, remembered: false })
    }

    fn refused(&self, owed: &PendingCall, failure: &Failure) -> Stopped {
        let link = |why| Stopped::Link { why: Some(why) };
        match verdict(failure, NotAllowed::Refuse) {
            // An upload whose response was lost may be repeated, but not forever.
            Verdict::Unknown { why, .. } | Verdict::Unsettled { why } if owed.attempts < TRIES => {
                Stopped::NotReady(PrepareError { class: FailureClass::Unreachable, why })
            }
            Verdict::Retry { class: FailureClass::Quota, why, .. } => {
                if matches!(failure, Failure::Code { code: code::MINUTE_QUOTA, .. }) {
                    self.pace.slow_down(MEDIA_UPLOAD);
                    return Stopped::NotReady(PrepareError { class: FailureClass::Quota, why });
                }
                // While the day's uploads are used up, texts can still be sent.
                link(why)
            }
            Verdict::Retry { class, why, .. } => Stopped::NotReady(PrepareError { class, why }),
            Verdict::Hold { why, .. }
            | Verdict::Refuse { why }
            | Verdict::Unknown { why, .. }
            | Verdict::Unsettled { why } => link(why),
            Verdict::Delivered => link(failure.to_string()),
        }
    }

    /// Returns the copy of a video's thumbnail, or of a plain grey one if the video's own is not
    /// available.
    async fn picture(
        &self,
        client: &Client,
        owed: &PendingCall,
        name: &MediaName,
        url: &str,
    ) -> Result<Copy, Stopped> {
        let max = MediaType::Thumb.max_bytes().min(self.max_bytes);
        if !url.is_empty()
            && let Ok(file) = self.fetch(owed, name, url, max).await
            && let Ok(copy) = self.copy(client, owed, MediaType::Thumb, &file).await
        {
            return Ok(copy);
        }
        let part = FilePart {
            source: Source::Memory(NO_PICTURE),
            size: NO_PICTURE.len() as u64,
            filename: "thumb.jpg",
            content_type: "image/jpeg",
        };
        let hash = MediaHash::of_digest(Sha256::digest(NO_PICTURE).into());
        self.copy_of(client, owed, MediaType::Thumb, &hash, part).await
    }
}

/// Why a file could not be downloaded.
#[derive(Debug)]
enum Trouble {
    Download(DownloadError),
    Store(StoreError),
}
