//! The form in which WeChat accepts an agent's file: as it is, or converted here.
//!
//! The element decides what a file should become, and the first bytes what it is: every phone sends its
//! recordings in the container of a video.

use std::path::PathBuf;

use super::media_source::{LocalFile, UploadError};
use super::media_type::MediaType;
use crate::media::ffmpeg::MAX_VOICE_MS;
use crate::media::{FfmpegError, FileType, Media, Scale, duration};
use crate::model::{FailureClass, MediaHash};
use crate::outbox::PrepareError;

/// What the agent reads about a recording that WeChat does not take.
const TOO_LONG: &str = "the recording is longer than the minute that WeChat accepts";

/// A file as it is uploaded.
#[derive(Debug)]
pub(super) struct Form {
    /// The hash of the agent's file. The same file always gets the same form.
    pub hash: MediaHash,
    /// Where it is on our disk.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    /// The file name for WeChat.
    pub filename: String,
    /// Its content type.
    pub content_type: &'static str,
}

/// The form of a picture: the file itself, or a JPEG of it if WeChat does not accept its type or size.
pub(super) async fn of_picture(media: &Media, file: &LocalFile) -> Result<Form, UploadError> {
    of_image(media, MediaType::Image, file, &[Scale::Full, Scale::Large]).await
}

/// The form of a video's first picture.
pub(super) async fn of_thumb(media: &Media, file: &LocalFile) -> Result<Form, UploadError> {
    of_image(media, MediaType::Thumb, file, &[Scale::Large, Scale::Thumb]).await
}

async fn of_image(
    media: &Media,
    media_type: MediaType,
    file: &LocalFile,
    scales: &[Scale],
) -> Result<Form, UploadError> {
    if let Some(form) = unchanged(media, media_type, file) {
        return Ok(form);
    }
    for scale in scales.iter().filter(|_| file.kind.is_image()) {
        let Some(path) = media.scaler.jpeg(&file.hash, *scale).await else { continue };
        let Ok(found) = tokio::fs::metadata(&path).await else { continue };
        if let Some(form) = form(media_type, &file.hash, path, found.len(), FileType::Jpeg) {
            return Ok(form);
        }
    }
    Err(UploadError::Link { why: None })
}

/// The form of a recording, of which the agent's client says that it is `claimed_s` seconds long.
pub(super) async fn of_voice(media: &Media, file: &LocalFile, claimed_s: u64) -> Result<Form, UploadError> {
    if let Some(form) = unchanged(media, MediaType::Voice, file) {
        let recording = tokio::fs::read(&form.path).await.unwrap_or_default();
        let counted_ms = duration::whole_milliseconds(&recording);
        let length_ms = counted_ms.unwrap_or(claimed_s.saturating_mul(1_000));
        // ffmpeg hears what cannot be counted.
        if length_ms <= MAX_VOICE_MS && (counted_ms.is_some() || media.ffmpeg.is_none()) {
            return Ok(form);
        }
        if media.ffmpeg.is_none() {
            return Err(UploadError::Link { why: Some(TOO_LONG.to_owned()) });
        }
    }
    let Some(ffmpeg) = &media.ffmpeg else { return Err(UploadError::Link { why: None }) };
    match ffmpeg.to_voice(&media.files, &file.hash, file.kind).await {
        Ok((path, size)) => form(MediaType::Voice, &file.hash, path, size, FileType::Mp3)
            .ok_or(UploadError::Link { why: None }),
        Err(error) => Err(conversion_error(&error)),
    }
}

/// The form of a video.
pub(super) async fn of_video(media: &Media, file: &LocalFile) -> Result<Form, UploadError> {
    if let Some(form) = unchanged(media, MediaType::Video, file) {
        return Ok(form);
    }
    let ffmpeg = media.ffmpeg.as_ref().filter(|_| file.kind == FileType::Mov);
    let Some(ffmpeg) = ffmpeg else { return Err(UploadError::Link { why: None }) };
    match ffmpeg.to_mp4(&media.files, &file.hash, MediaType::Video.max_bytes()).await {
        Ok((path, size)) => form(MediaType::Video, &file.hash, path, size, FileType::Mp4)
            .ok_or(UploadError::Link { why: None }),
        Err(error) => Err(conversion_error(&error)),
    }
}

/// The file as it is; `None` if WeChat does not accept it.
fn unchanged(media: &Media, media_type: MediaType, file: &LocalFile) -> Option<Form> {
    form(media_type, &file.hash, media.files.path(&file.hash), file.size, file.kind)
}

/// The form of a file; `None` if WeChat does not accept its type or size.
fn form(media_type: MediaType, hash: &MediaHash, path: PathBuf, size: u64, kind: FileType) -> Option<Form> {
    let (extension, content_type) = media_type.format(kind).filter(|_| size <= media_type.max_bytes())?;
    let filename = format!("{}.{extension}", media_type.name());
    Some(Form { hash: hash.clone(), path, size, filename, content_type })
}

fn conversion_error(error: &FfmpegError) -> UploadError {
    match error {
        // WeChat does not accept the type, or the size: the agent can do nothing about it.
        FfmpegError::NotNeeded | FfmpegError::TooLarge(_) => UploadError::Link { why: None },
        FfmpegError::TooLong => UploadError::Link { why: Some(TOO_LONG.to_owned()) },
        // The disk may have space again, and the next download stores a lost file anew.
        FfmpegError::Files(_) | FfmpegError::Lost => {
            UploadError::NotReady(PrepareError { class: FailureClass::Busy, why: error.to_string() })
        }
        FfmpegError::Start(_) | FfmpegError::Failed | FfmpegError::TimedOut => {
            UploadError::Link { why: Some(error.to_string()) }
        }
    }
}
