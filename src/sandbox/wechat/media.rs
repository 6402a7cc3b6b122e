//! Temporary media: upload rules, lifetime and download (reference: section 8).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::RngExt as _;

use crate::model::Millis;

use super::{codes, voice};

/// A media id expires after three days.
const LIFETIME_MS: i64 = 3 * 86_400_000;
/// The most files that are stored. The oldest are dropped first.
const MAX_FILES: usize = 4096;
const MEGABYTE: usize = 1024 * 1024;
/// The longest recording, in milliseconds.
const MAX_VOICE_MS: u64 = 60_000;

/// One stored file.
#[derive(Clone, Debug)]
pub struct Media {
    /// The `media_id`.
    pub id: String,
    /// `image`, `voice`, `video` or `thumb`.
    pub kind: &'static str,
    /// The MIME type.
    pub content_type: &'static str,
    /// The extension of the file name in a download's `Content-Disposition`.
    pub extension: &'static str,
    /// The content of the file.
    pub bytes: Bytes,
    created: Millis,
}

/// Every file that the platform stores.
#[derive(Debug, Default)]
pub(super) struct MediaStore {
    files: HashMap<String, Arc<Media>>,
    oldest_first: VecDeque<String>,
}

impl MediaStore {
    /// Stores a file and returns its new id.
    pub fn put(&mut self, kind: &'static str, bytes: Bytes, now: Millis) -> String {
        let (content_type, extension) = format_of(&bytes).unwrap_or(("application/octet-stream", "bin"));
        let random: [u8; 24] = rand::rng().random();
        let id = format!("m{}", hex::encode(random));
        if self.oldest_first.len() == MAX_FILES
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.files.remove(&oldest);
        }
        self.oldest_first.push_back(id.clone());
        let media = Media { id: id.clone(), kind, content_type, extension, bytes, created: now };
        self.files.insert(id.clone(), Arc::new(media));
        id
    }

    /// The file with this id. `None` if it is unknown or has expired.
    pub fn get(&self, id: &str, now: Millis) -> Option<Arc<Media>> {
        self.files.get(id).filter(|media| now.since(media.created) < LIFETIME_MS).cloned()
    }
}

/// A valid PNG of one pixel.
pub fn tiny_png() -> Bytes {
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    STANDARD.decode(PNG).unwrap_or_default().into()
}

/// The content type and extension that match the first bytes.
fn format_of(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(("image/jpeg", "jpg")),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(("image/png", "png")),
        [b'G', b'I', b'F', b'8', ..] => Some(("image/gif", "gif")),
        [b'#', b'!', b'A', b'M', b'R', ..] => Some(("audio/amr", "amr")),
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => Some(("audio/mpeg", "mp3")),
        [_, _, _, _, b'f', b't', b'y', b'p', b'q', b't', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'M', b'4', b'A', ..] => None,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(("video/mp4", "mp4")),
        _ => None,
    }
}

/// Checks an upload against the rules of its type and returns that type. The error is a return
/// code.
pub(super) fn check_upload(kind: &str, file: &FilePart) -> Result<&'static str, i64> {
    let (kind, limit, too_big, extensions): (_, _, _, &[&str]) = match kind {
        "image" => ("image", 10 * MEGABYTE, codes::IMAGE_SIZE, &["png", "jpeg", "jpg", "gif"]),
        "voice" => ("voice", 2 * MEGABYTE, codes::VOICE_SIZE, &["amr", "mp3"]),
        "video" => ("video", 10 * MEGABYTE, codes::VIDEO_SIZE, &["mp4"]),
        "thumb" => ("thumb", 64 * 1024, codes::THUMB_SIZE, &["jpg", "jpeg"]),
        _ => return Err(codes::MEDIA_TYPE),
    };
    if file.bytes.is_empty() {
        return Err(codes::EMPTY_MEDIA);
    }
    if file.bytes.len() > limit {
        return Err(too_big);
    }
    let extension = file.filename.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    if !extension.is_some_and(|extension| extensions.contains(&extension.as_str())) {
        return Err(codes::FILE_TYPE);
    }
    match format_of(&file.bytes) {
        Some((_, extension)) if extensions.contains(&extension) => match kind {
            "voice" if voice::length_ms(&file.bytes).is_none() => Err(codes::FILE_TYPE),
            "voice" if voice::length_ms(&file.bytes) > Some(MAX_VOICE_MS) => Err(codes::VOICE_LENGTH),
            _ => Ok(kind),
        },
        _ if kind == "image" => Err(codes::IMAGE_FORMAT),
        _ => Err(codes::FILE_TYPE),
    }
}

/// The file part of an upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePart {
    /// The file name from `Content-Disposition`.
    pub filename: String,
    /// The content of the file.
    pub bytes: Bytes,
}

/// The part called `media` of a multipart body. `None` if it is missing or has no file name, which
/// the platform demands.
pub(super) fn media_part(content_type: &str, body: &Bytes) -> Option<FilePart> {
    let parameters = content_type.strip_prefix("multipart/form-data")?;
    let boundary = parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty())?;
    let delimiter = format!("--{boundary}");
    let mut at = find(body, delimiter.as_bytes(), 0)? + delimiter.len();
    let between = format!("\r\n{delimiter}");
    while body.get(at..at + 2)? == b"\r\n" {
        let head_end = find(body, b"\r\n\r\n", at)?;
        let end = find(body, between.as_bytes(), head_end + 2)?;
        let head = String::from_utf8_lossy(body.get(at..head_end)?);
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        if let Some(disposition) = disposition
            && parameter(disposition, "name").as_deref() == Some("media")
        {
            let filename = parameter(disposition, "filename").filter(|name| !name.is_empty())?;
            return Some(FilePart { filename, bytes: body.slice((head_end + 4).min(end)..end) });
        }
        at = end + between.len();
    }
    None
}

fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

fn find(body: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    // A boundary begins with a byte that is rare in files, so the search skips to that byte. This
    // keeps 10 MB uploads fast.
    let first = *needle.first()?;
    let mut at = from;
    while let Some(step) = body.get(at..)?.iter().position(|byte| *byte == first) {
        at += step;
        if body[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(filename: &str, bytes: &[u8]) -> FilePart {
        FilePart { filename: filename.to_owned(), bytes: Bytes::copy_from_slice(bytes) }
    }

    fn form(disposition: &str, file: &[u8]) -> Bytes {
        let mut body =
            b"--XX\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--XX\r\n".to_vec();
        body.extend_from_slice(
            format!("content-disposition: form-data; {disposition}\r\nContent-Type: image/jpeg\r\n\r\n")
                .as_bytes(),
        );
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--XX--\r\n");
        body.into()
    }

    proptest! {
        #[test]
        fn a_part_comes_back_byte_for_byte(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = form("name=\"media\"; filename=\"a.jpg\"", &file);
            let read = media_part("multipart/form-data; boundary=XX", &body);
            prop_assert_eq!(read, Some(part("a.jpg", &file)));
        }

        #[test]
        fn parsing_never_panics(body in "(--XX|\r\n|:|;|name=\"media\"|filename=a|content-disposition)*") {
            let _ = media_part("multipart/form-data; boundary=XX", &Bytes::from(body));
        }
    }

    #[test]
    fn an_upload_needs_its_part_and_a_file_name() {
        let body = form("name=\"media\"; filename=\"a.jpg\"", b"x");
        assert!(media_part("multipart/form-data; boundary=\"XX\"", &body).is_some());
        assert!(media_part("multipart/form-data; boundary=YY", &body).is_none());
        assert!(media_part("application/json", &body).is_none());
        assert!(media_part("multipart/form-data; boundary=XX", &form("name=\"media\"", b"x")).is_none());
        let other = form("name=\"file\"; filename=\"a.jpg\"", b"x");
        assert!(media_part("multipart/form-data; boundary=XX", &other).is_none());
    }

    #[test]
    fn each_type_has_its_limits() {
        let big = |head: &[u8], size: usize| {
            let mut bytes = head.to_vec();
            bytes.resize(size, 0);
            bytes
        };
        let (jpeg, amr, mp4) = (&[0xff, 0xd8, 0xff, 0xe0][..], &b"#!AMR\n"[..], &b"\0\0\0\x18ftypmp42"[..]);
        for (kind, file, expected) in [
            ("image", part("a.JPG", jpeg), Ok("image")),
            ("image", part("a.jpg", b"BM"), Err(40137)),
            ("image", part("a.bmp", jpeg), Err(40005)),
            ("image", part("a", jpeg), Err(40005)),
            ("image", part("a.jpg", b""), Err(44001)),
            ("image", part("a.jpg", &big(jpeg, 10 * MEGABYTE + 1)), Err(40009)),
            ("voice", part("a.amr", amr), Ok("voice")),
            ("voice", part("a.amr", jpeg), Err(40005)),
            ("voice", part("a.amr", &[amr, &[0x7c; 3_000][..]].concat()), Ok("voice")),
            ("voice", part("a.amr", &[amr, &[0x7c; 3_001][..]].concat()), Err(45007)),
            ("voice", part("a.mp3", b"ID3\x04\0\0\0\0\0\0words"), Err(40005)),
            ("voice", part("a.mp3", b"\xff\xe3\x48\xc4"), Ok("voice")),
            ("video", part("a.mp4", b"\0\0\0\x14ftypqt  "), Err(40005)),
            ("video", part("a.mp4", b"\0\0\0\x1cftypM4A "), Err(40005)),
            ("voice", part("a.amr", &big(amr, 2 * MEGABYTE + 1)), Err(40010)),
            ("video", part("a.mp4", mp4), Ok("video")),
            ("video", part("a.mp4", &big(mp4, 10 * MEGABYTE + 1)), Err(40011)),
            ("thumb", part("a.jpg", &big(jpeg, 64 * 1024)), Ok("thumb")),
            ("thumb", part("a.jpg", &big(jpeg, 64 * 1024 + 1)), Err(40012)),
            ("file", part("a.jpg", jpeg), Err(40004)),
        ] {
            assert_eq!(check_upload(kind, &file), expected, "{kind} {}", file.filename);
        }
    }

    #[test]
    fn a_file_lives_three_days() {
        let mut store = MediaStore::default();
        let id = store.put("image", Bytes::from_static(&[0xff, 0xd8, 0xff]), Millis(0));
        assert_eq!(
            store.get(&id, Millis(LIFETIME_MS - 1)).map(|media| media.content_type),
            Some("image/jpeg")
        );
        assert!(store.get(&id, Millis(LIFETIME_MS)).is_none());
        assert!(store.get("other", Millis(0)).is_none());
    }
}
