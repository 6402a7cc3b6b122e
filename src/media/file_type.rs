//! Detects a file's type by its first bytes; the file's name and its sender's word do not count.
//!
//! Only types that no browser runs are named; every other file is plain bytes.

use std::io::{BufRead, Seek};

/// How many of a file's first bytes are needed to detect its type.
pub const HEAD_BYTES: usize = 64;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A JPEG picture.
    Jpeg,
    /// A PNG picture.
    Png,
    /// A GIF picture, perhaps animated.
    Gif,
    /// A BMP picture.
    Bmp,
    /// A WebP picture.
    Webp,
    /// An AMR recording at 8 kHz, the format that WeChat uses.
    Amr,
    /// An AMR-WB recording at 16 kHz.
    AmrWb,
    /// A recording in an Ogg container, for example Speex.
    Ogg,
    /// An MP3 recording.
    Mp3,
    /// A WAV recording.
    Wav,
    /// A recording in an MP4 container.
    M4a,
    /// An AAC recording without a container.
    Aac,
    /// A SILK recording, as old clients make it.
    Silk,
    /// An MP4 video, or a recording in an MP4 container: only its sender knows which.
    Mp4,
    /// A QuickTime video.
    Mov,
    /// A PDF document.
    Pdf,
    /// Any other file.
    Other,
}

impl FileType {
    /// Every type.
    #[cfg(test)]
    pub const ALL: [Self; 17] = [
        Self::Jpeg,
        Self::Png,
        Self::Gif,
        Self::Bmp,
        Self::Webp,
        Self::Amr,
        Self::AmrWb,
        Self::Ogg,
        Self::Mp3,
        Self::Wav,
        Self::M4a,
        Self::Aac,
        Self::Silk,
        Self::Mp4,
        Self::Mov,
        Self::Pdf,
        Self::Other,
    ];

    /// Returns the type of a file that begins with `head`; [`HEAD_BYTES`] bytes are enough.
    pub fn detect(head: &[u8]) -> Self {
        let at = |from: usize, magic: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(magic));
        match head {
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            _ if at(0, b"\x89PNG\r\n\x1a\n") => Self::Png,
            _ if at(0, b"GIF87a") || at(0, b"GIF89a") => Self::Gif,
            _ if at(0, b"BM") && at(6, &[0; 4]) => Self::Bmp,
            _ if at(0, b"RIFF") && at(8, b"WEBP") => Self::Webp,
            _ if at(0, b"RIFF") && at(8, b"WAVE") => Self::Wav,
            _ if at(0, b"#!AMR\n") => Self::Amr,
            _ if at(0, b"#!AMR-WB\n") => Self::AmrWb,
            _ if at(0, b"OggS") => Self::Ogg,
            _ if at(0, b"%PDF-") => Self::Pdf,
            _ if at(0, b"#!SILK_V3") || at(0, b"\x02#!SILK_V3") => Self::Silk,
            // Before there were brands, a QuickTime file began with any of its parts.
            _ if [&b"moov"[..], b"mdat", b"wide"].iter().any(|part| at(4, part)) => Self::Mov,
            _ if at(4, b"ftyp") => Self::from_mp4_brand(head.get(8..12).unwrap_or_default()),
            _ if at(0, b"ID3") || is_mp3_frame(head) => Self::Mp3,
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Self::Aac,
            _ => Self::Other,
        }
    }

    fn from_mp4_brand(brand: &[u8]) -> Self {
        match brand {
            b"M4A " | b"M4B " => Self::M4a,
            b"qt  " => Self::Mov,
            b"heic" | b"heix" | b"mif1" | b"msf1" | b"avif" | b"avis" => Self::Other,
            _ => Self::Mp4,
        }
    }

    /// The MIME type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Webp => "image/webp",
            Self::Amr => "audio/amr",
            Self::AmrWb => "audio/amr-wb",
            Self::Ogg => "audio/ogg",
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
            Self::M4a => "audio/mp4",
            Self::Aac => "audio/aac",
            Self::Silk => "audio/silk",
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Pdf => "application/pdf",
            Self::Other => "application/octet-stream",
        }
    }

    /// The extension of the file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Amr => "amr",
            Self::AmrWb => "awb",
            Self::Ogg => "ogg",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::M4a => "m4a",
            Self::Aac => "aac",
            Self::Silk => "silk",
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Pdf => "pdf",
            Self::Other => "bin",
        }
    }

    /// Whether it is a picture.
    pub fn is_image(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Gif | Self::Bmp | Self::Webp)
    }

    /// Whether it is a recording.
    pub fn is_audio(self) -> bool {
        matches!(
            self,
            Self::Amr | Self::AmrWb | Self::Ogg | Self::Mp3 | Self::Wav | Self::M4a | Self::Aac | Self::Silk
        )
    }

    /// Whether it is a video.
    pub fn is_video(self) -> bool {
        matches!(self, Self::Mp4 | Self::Mov)
    }
}

/// Whether `head` begins with an MPEG audio frame of layer III: eleven set bits, and no reserved
/// version, bit rate or sample rate.
fn is_mp3_frame(head: &[u8]) -> bool {
    let [0xff, second, third, ..] = *head else { return false };
    second & 0xe0 == 0xe0
        && second & 0x18 != 0x08
        && second & 0x06 == 0x02
        && third & 0xf0 != 0xf0
        && third & 0x0c != 0x0c
}

/// Reads a picture's width and height in pixels from its header; `None` if the header cannot be
/// read.
pub fn pixels(picture: impl BufRead + Seek) -> Option<(u32, u32)> {
    let size = imagesize::reader_size(picture).ok()?;
    Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    const MAGIC: [(&[u8], FileType); 25] = [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", FileType::Jpeg),
        (b"\x89PNG\r\n\x1a\n", FileType::Png),
        (b"GIF89a", FileType::Gif),
        (b"BM\x00\x00\x00\x00\x00\x00\x00\x00\x36", FileType::Bmp),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", FileType::Webp),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", FileType::Wav),
        (b"#!AMR\n\x3c", FileType::Amr),
        (b"#!AMR-WB\n", FileType::AmrWb),
        (b"OggS\x00\x02", FileType::Ogg),
        (b"ID3\x04", FileType::Mp3),
        (b"\xff\xfb\x90\x64", FileType::Mp3),
        (b"\xff\xf3\x40\xc4", FileType::Mp3),
        (b"\xff\xf1\x50\x80", FileType::Aac),
        (b"\x00\x00\x00\x1cftypM4A \x00", FileType::M4a),
        (b"\x00\x00\x00\x20ftypisom\x00", FileType::Mp4),
        (b"\x00\x00\x00\x20ftypheic\x00", FileType::Other),
        (b"\x00\x00\x00\x14ftypqt  \x00", FileType::Mov),
        (b"\x00\x00\x00\x08wide\x00\x00", FileType::Mov),
        (b"\x00\x00\x0f\xffmoov\x00\x00", FileType::Mov),
        (b"#!SILK_V3", FileType::Silk),
        (b"\x02#!SILK_V3", FileType::Silk),
        (b"%PDF-1.7", FileType::Pdf),
        (b"<html><script>", FileType::Other),
        (b"<svg xmlns=", FileType::Other),
        (b"{\"errcode\":40007}", FileType::Other),
    ];

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (head, kind) in MAGIC {
            assert_eq!(FileType::detect(head), kind, "{head:?}");
        }
    }

    #[test]
    fn no_file_type_is_run_by_a_browser() {
        for kind in FileType::ALL {
            let mime = kind.mime();
            assert!(!mime.contains("html") && !mime.contains("svg") && !mime.contains("script"), "{mime}");
        }
    }

    #[test]
    fn a_pictures_size_is_read_from_its_header() {
        let mut gif = b"GIF89a".to_vec();
        gif.extend([0x40, 0x01, 0xf0, 0x00, 0, 0, 0]);
        assert_eq!(pixels(Cursor::new(gif)), Some((320, 240)));
        assert_eq!(pixels(Cursor::new(b"GIF89a")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_file_type(
            magic in prop::sample::select(&MAGIC[..]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            with_magic in any::<bool>(),
        ) {
            let bytes = if with_magic { [magic.0, &rest].concat() } else { rest };
            let kind = FileType::detect(&bytes);
            if with_magic {
                prop_assert_eq!(kind, magic.1);
            }
            let _ = pixels(Cursor::new(bytes));
        }
    }
}
