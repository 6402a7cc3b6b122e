//! Prepares an agent's file for WeChat: gets it ([`super::media_source`]), converts it if WeChat would
//! not accept it ([`super::media_form`]) and uploads it. If that fails for good, the customer gets a
//! text with a link instead.
//!
//! All of this happens before the attempt is recorded, and may be repeated at any time. A repeat is
//! cheap: the downloaded file is in `media.dir`, and the store remembers the upload.

use std::sync::Arc;

use fail::fail_point;
use sha2::{Digest as _, Sha256};

use super::client::{Client, Failure, NotAllowed, PLATFORM, call_report, verdict};
use super::code;
use super::media_form::{self, Form};
use super::media_source::{LocalFile, MAX_ATTEMPTS, MediaSource, UploadError};
use super::media_type::{MediaType, UPLOAD_LIFE_MS};
use super::transport::{FilePart, Source};
use crate::bridge::MAX_TEXT_BYTES;
use crate::model::{
    Attachment, AttachmentKind, Card, FailureClass, MediaHash, MediaName, Verdict, readable_size,
};
use crate::outbox::{Payload, PrepareError, TextNotice};
use crate::store::PendingCall;
use crate::upstream::{ApiLabel, RateLimiter, paced};

/// The API that uploads a file.
const MEDIA_UPLOAD: ApiLabel = ApiLabel { platform: PLATFORM, api: "media_upload" };
/// What the agent reads about a file that is not kept here.
fn file_too_large(limit: u64) -> String {
    format!(
        "it is larger than {}, so the link is that of IM, which keeps files for seven days",
        readable_size(limit)
    )
}

/// The thumbnail, plain grey, of a video that comes without a usable one: WeChat requires a
/// thumbnail.
const PLACEHOLDER_THUMBNAIL: &[u8] = include_bytes!("no-picture.jpg");

/// Downloads agents' files and uploads them to WeChat.
#[derive(Debug)]
pub struct MediaUploader {
    /// Gets agents' files.
    pub source: MediaSource,
    /// The rate limit of `media/upload`.
    pub rate_limiter: Arc<RateLimiter>,
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

/// WeChat's copy of a file.
#[derive(Debug)]
struct UploadedCopy {
    id: String,
    /// An earlier upload made the copy.
    reused: bool,
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
            Err(UploadError::Link { why }) => {
                let notice = why.map(TextNotice::Link);
                Ok(Payload::Text { text: attachment.as_text(&link), notice })
            }
            Err(UploadError::Hidden { why }) => {
                let text = attachment.as_text("").trim().to_owned();
                Ok(Payload::Text { text, notice: Some(TextNotice::Label(why)) })
            }
            Err(UploadError::NotReady(not_ready)) => Err(not_ready),
        }
    }

    /// Prepares the page of a mini-program: uploads its picture, or a plain grey one if there is none that can be used.
    /// `picture`: the name under which the bridge keeps it, and its URL.
    pub(super) async fn prepare_card(
        &self,
        client: &Client,
        pending: &PendingCall,
        card: &Card,
        picture: (&MediaName, &str),
    ) -> Result<Payload, PrepareError> {
        match self.thumbnail(client, pending, picture.0, picture.1).await {
            Ok(UploadedCopy { id, reused }) => {
                let maybe_expired = if reused { vec![id.clone()] } else { Vec::new() };
                Ok(Payload::Uploaded { id, thumb: None, kind: MediaType::Thumb.name(), maybe_expired })
            }
            Err(UploadError::Link { why }) => {
                Ok(Payload::Text { text: card.as_text(), notice: why.map(TextNotice::Link) })
            }
            Err(UploadError::Hidden { why }) => {
                Ok(Payload::Text { text: card.as_text(), notice: Some(TextNotice::Link(why)) })
            }
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
        let mut thumb = None;
        let (media_type, form) = match &attachment.kind {
            AttachmentKind::Image => (MediaType::Image, self.picture(pending, attachment, link).await?),
            AttachmentKind::Sound { second } => {
                // A recording is much smaller once it is converted.
                let converts = self.source.media.ffmpeg.is_some();
                let max = if converts { self.source.max_bytes } else { self.limit(MediaType::Voice) };
                let file = self.original(pending, attachment, max, link).await?;
                (MediaType::Voice, media_form::of_voice(&self.source.media, &file, *second).await?)
            }
            AttachmentKind::Video { .. } => {
                let file = self.original(pending, attachment, self.limit(MediaType::Video), link).await?;
                (MediaType::Video, media_form::of_video(&self.source.media, &file).await?)
            }
            AttachmentKind::File { file_name } => {
                return self.file_link(pending, attachment, file_name).await;
            }
        };
        let copy = self.upload_form(client, pending, media_type, &form).await?;
        if let AttachmentKind::Video { thumb_url, thumb: name } = &attachment.kind {
            thumb = Some(self.thumbnail(client, pending, name, thumb_url).await?);
        }
        let remembered = [Some(&copy), thumb.as_ref()]
            .into_iter()
            .flatten()
            .filter(|copy| copy.reused)
            .map(|copy| copy.id.clone())
            .collect();
        let thumb = thumb.map(|thumb| thumb.id);
        Ok(Payload::Uploaded { id: copy.id, thumb, kind: media_type.name(), maybe_expired: remembered })
    }

    /// The largest file that is fetched to be uploaded as it is, in bytes.
    fn limit(&self, media_type: MediaType) -> u64 {
        media_type.max_bytes().min(self.source.max_bytes)
    }

    /// Returns the agent's file, and replaces `link` by a link to it.
    async fn original(
        &self,
        pending: &PendingCall,
        attachment: &Attachment,
        max: u64,
        link: &mut String,
    ) -> Result<LocalFile, UploadError> {
        if attachment.size > max {
            return Err(UploadError::Link { why: None });
        }
        let file = self.source.fetch(pending, &attachment.name, &attachment.url, max).await?;
        let our_link =
            self.source.media.links.link_to(&attachment.name, file.kind.extension(), file.created_at);
        if let Some(our_link) = our_link {
            *link = our_link;
        }
        Ok(file)
    }

    /// Returns the form of a picture; that of its smaller version if the picture itself cannot be
    /// fetched, or has no form that WeChat accepts.
    async fn picture(
        &self,
        pending: &PendingCall,
        attachment: &Attachment,
        link: &mut String,
    ) -> Result<Form, UploadError> {
        let form = match self.original(pending, attachment, self.source.max_bytes, link).await {
            Ok(file) => media_form::of_picture(&self.source.media, &file).await,
            Err(error) => Err(error),
        };
        let (refusal, smaller) = match (form, &attachment.smaller) {
            (Err(refusal @ (UploadError::Link { .. } | UploadError::Hidden { .. })), Some(smaller)) => {
                (refusal, smaller)
            }
            (form, _) => return form,
        };
        let smaller =
            match self.source.fetch(pending, &smaller.name, &smaller.url, self.source.max_bytes).await {
                Ok(file) => media_form::of_picture(&self.source.media, &file).await,
                Err(error) => Err(error),
            };
        match smaller {
            Err(UploadError::Link { .. } | UploadError::Hidden { .. }) => Err(refusal),
            form => form,
        }
    }

    /// Returns the text that offers a file: with our own link, or with that of the agent's platform if
    /// we cannot keep the file.
    async fn file_link(
        &self,
        pending: &PendingCall,
        attachment: &Attachment,
        file_name: &str,
    ) -> Result<Payload, UploadError> {
        let theirs = |why: Option<String>| {
            let notice = why.map(TextNotice::Link);
            Ok(Payload::Text { text: attachment.as_text(&attachment.url), notice })
        };
        if !self.source.media.links.has_base() {
            return theirs(None);
        }
        let too_large = || Some(file_too_large(self.source.max_bytes));
        if attachment.size > self.source.max_bytes {
            return theirs(too_large());
        }
        let file = match self
            .source
            .fetch(pending, &attachment.name, &attachment.url, self.source.max_bytes)
            .await
        {
            Ok(file) => file,
            Err(UploadError::Link { why }) => return theirs(why.or_else(too_large)),
            Err(not_ready) => return Err(not_ready),
        };
        let link = self.source.media.links.link_to_file(&attachment.name, file_name, file.created_at);
        let text = Attachment { size: file.size, ..attachment.clone() }.as_text(&link.unwrap_or_default());
        if text.len() > MAX_TEXT_BYTES { theirs(None) } else { Ok(Payload::Text { text, notice: None }) }
    }

    /// Returns WeChat's copy of a file: from an earlier upload, or else from a new one.
    async fn upload_form(
        &self,
        client: &Client,
        pending: &PendingCall,
        media_type: MediaType,
        form: &Form,
    ) -> Result<UploadedCopy, UploadError> {
        let part = FilePart {
            source: Source::Disk(&form.path),
            size: form.size,
            filename: &form.filename,
            content_type: form.content_type,
        };
        self.upload_once(client, pending, media_type, &form.hash, part).await
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
        if let Some(id) = self.source.store.read(move |tx| tx.uploaded_media_id(&lookup, kind)).await? {
            return Ok(UploadedCopy { id, reused: true });
        }
        let call = client.upload(media_type, part);
        let outcome = paced(&self.rate_limiter, &self.source.metrics, MEDIA_UPLOAD, call, call_report).await;
        fail_point!("media.uploaded");
        let id = outcome.map_err(|failure| error_for_failure(pending, &failure))?;
        let (hash, new_id) = (hash.clone(), id.clone());
        self.source
            .store
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
        if !url.is_empty()
            && let Ok(file) = self.source.fetch(pending, name, url, self.limit(MediaType::Image)).await
            && let Ok(form) = media_form::of_thumb(&self.source.media, &file).await
            && let Ok(copy) = self.upload_form(client, pending, MediaType::Thumb, &form).await
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
            self.source.store.write(move |tx| media_ids.iter().try_for_each(|id| tx.forget_upload(id))).await;
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
