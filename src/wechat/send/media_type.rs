//! The types, formats and sizes that `media/upload` accepts (reference: "Upload"). Pure.

use crate::media::FileType;

const MEGABYTE: u64 = 1024 * 1024;

/// How long an upload is used, milliseconds: WeChat keeps it three days; the last hour is left for
/// messages that still wait to be sent.
pub(super) const UPLOAD_LIFE_MS: i64 = (3 * 24 - 1) * 3600 * 1000;

/// WeChat's types of temporary material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// A picture.
    Image,
    /// A recording.
    Voice,
    /// A video.
    Video,
    /// A video's thumbnail.
    Thumb,
}

impl MediaType {
    /// WeChat's `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Video => "video",
            Self::Thumb => "thumb",
        }
    }

    /// The largest file, in bytes. For pictures WeChat's page says both 10 MB and 2 MB: pictures up
    /// to 10 MB are tried, and sent as a link if WeChat refuses them.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Image | Self::Video => 10 * MEGABYTE,
            Self::Voice => 2 * MEGABYTE,
            Self::Thumb => 64 * 1024,
        }
    }

    /// The file extension and content type for uploading a file of `kind`; `None` if WeChat does
    /// not accept that kind.
    pub fn format(self, kind: FileType) -> Option<(&'static str, &'static str)> {
        match (self, kind) {
            (Self::Image | Self::Thumb, FileType::Jpeg) => Some(("jpg", "image/jpeg")),
            (Self::Image, FileType::Png) => Some(("png", "image/png")),
            (Self::Image, FileType::Gif) => Some(("gif", "image/gif")),
            (Self::Voice, FileType::Amr) => Some(("amr", "audio/amr")),
            (Self::Voice, FileType::Mp3) => Some(("mp3", "audio/mpeg")),
            (Self::Video, FileType::Mp4) => Some(("mp4", "video/mp4")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_formats_are_those_of_wechats_page() {
        use MediaType::{Image, Thumb, Video, Voice};
        let accepted: Vec<(MediaType, FileType)> = [Image, Voice, Video, Thumb]
            .into_iter()
            .flat_map(|media| FileType::ALL.map(|kind| (media, kind)))
            .filter(|(media, kind)| media.format(*kind).is_some())
            .collect();
        let listed = [
            (Image, FileType::Jpeg),
            (Image, FileType::Png),
            (Image, FileType::Gif),
            (Voice, FileType::Amr),
            (Voice, FileType::Mp3),
            (Video, FileType::Mp4),
            (Thumb, FileType::Jpeg),
        ];
        assert_eq!(accepted, listed);
    }
}
