//! What `media/upload` takes: types, formats, sizes (reference: "Upload"). Pure.

use crate::media::Kind;

const MEGABYTE: u64 = 1024 * 1024;
/// The longest recording, seconds.
const VOICE_SECONDS: u64 = 60;

/// How long a copy is used: three days less an hour, in which it may still wait for its turn to be sent.
pub(super) const LIFE_MS: i64 = (3 * 24 - 1) * 3600 * 1000;

/// WeChat's types of temporary material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// A picture.
    Image,
    /// A recording.
    Voice,
    /// A video.
    Video,
    /// A video's first picture.
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

    /// The largest file, in bytes. WeChat's page says both 10 MB and 2 MB of pictures: a larger one is tried, and
    /// goes as a link if it is refused.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Image | Self::Video => 10 * MEGABYTE,
            Self::Voice => 2 * MEGABYTE,
            Self::Thumb => 64 * 1024,
        }
    }

    /// The ending and content type under which a file of `kind` is uploaded; `None` where WeChat takes none such.
    pub fn format(self, kind: Kind) -> Option<(&'static str, &'static str)> {
        match (self, kind) {
            (Self::Image | Self::Thumb, Kind::Jpeg) => Some(("jpg", "image/jpeg")),
            (Self::Image, Kind::Png) => Some(("png", "image/png")),
            (Self::Image, Kind::Gif) => Some(("gif", "image/gif")),
            (Self::Voice, Kind::Amr) => Some(("amr", "audio/amr")),
            (Self::Voice, Kind::Mp3) => Some(("mp3", "audio/mpeg")),
            (Self::Video, Kind::Mp4) => Some(("mp4", "video/mp4")),
            _ => None,
        }
    }
}

/// Whether WeChat takes a recording of this length; 0: nobody says how long it is.
pub fn takes_voice_of(second: u64) -> bool {
    second <= VOICE_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wechat_takes_what_its_page_lists_and_nothing_else() {
        use MediaType::{Image, Thumb, Video, Voice};
        let taken: Vec<(MediaType, Kind)> = [Image, Voice, Video, Thumb]
            .into_iter()
            .flat_map(|media| Kind::ALL.map(|kind| (media, kind)))
            .filter(|(media, kind)| media.format(*kind).is_some())
            .collect();
        let listed = [
            (Image, Kind::Jpeg),
            (Image, Kind::Png),
            (Image, Kind::Gif),
            (Voice, Kind::Amr),
            (Voice, Kind::Mp3),
            (Video, Kind::Mp4),
            (Thumb, Kind::Jpeg),
        ];
        assert_eq!(taken, listed);
        assert!(takes_voice_of(60) && !takes_voice_of(61));
    }
}
