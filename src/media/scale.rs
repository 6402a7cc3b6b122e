//! Makes smaller copies of pictures, for clients that show many of them. A copy is made when it is
//! first requested, and is kept beside the original for as long as that is kept.
//!
//! Pictures are untrusted input, so the number of decoded pixels, the memory and the number of
//! concurrent decodings are bounded. A picture that cannot be scaled within these bounds has no
//! copy. That is not an error: the original is served instead.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use tokio::sync::Semaphore;

use super::Files;
use super::file_type::{self, FileType};
use crate::model::MediaHash;

/// What is decoded at most for a copy.
#[derive(Clone, Copy, Debug)]
struct DecodeLimits {
    /// The largest picture, in pixels.
    pixels: u64,
    /// The largest file, in bytes, because some decoders hold the whole file.
    bytes: u64,
    /// The most memory that a decoder may allocate, in bytes: four bytes a pixel and some spare. A JPEG
    /// decoder may take twice as much for a progressive picture.
    alloc: u64,
}

/// For customers' pictures: the size of a 12-megapixel phone camera.
const SMALL: DecodeLimits = DecodeLimits { pixels: 4096 * 3072, bytes: 16 << 20, alloc: 64 << 20 };
/// For agents' pictures that cannot be sent as they are: 24 megapixels, what phones make by default.
const FULL: DecodeLimits = DecodeLimits { pixels: 6144 * 4096, bytes: 32 << 20, alloc: 112 << 20 };
/// The most pictures decoded at once.
const MAX_CONCURRENT: usize = 1;
/// How long a request waits for a copy.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message waits for the JPEG of its picture.
const JPEG_TIMEOUT: Duration = Duration::from_mins(1);
/// The encoder's quality, out of 100.
const QUALITY: u8 = 80;

/// The size of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// For a screen: at most 720 pixels wide and high.
    Large,
    /// For a list: at most 198 pixels wide and high.
    Thumb,
    /// In place of a picture that cannot be sent as it is: at most 1,920 pixels wide and high.
    Full,
}

impl Scale {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Large, Self::Thumb, Self::Full];

    /// The extension of the copy's link and file, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Large => "large.jpg",
            Self::Thumb => "thumb.jpg",
            Self::Full => "full.jpg",
        }
    }

    /// Returns the size that a link with this extension requests, if any.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scale| scale.extension() == extension)
    }

    fn max_side(self) -> u32 {
        match self {
            Self::Large => 720,
            Self::Thumb => 198,
            Self::Full => 1_920,
        }
    }

    fn limits(self) -> DecodeLimits {
        match self {
            Self::Large | Self::Thumb => SMALL,
            Self::Full => FULL,
        }
    }

    /// Returns the width and height of the file served for a picture of `width` and `height`
    /// pixels. They stay the same if the picture is small enough, or too large to be decoded.
    pub fn fit(self, (width, height): (u32, u32)) -> (u32, u32) {
        let (longest, limit) = (u64::from(width.max(height)), self.max_side());
        if longest <= u64::from(limit) || u64::from(width) * u64::from(height) > self.limits().pixels {
            return (width, height);
        }
        let side = |side: u32| {
            let scaled = (u64::from(side) * u64::from(limit) + longest / 2) / longest;
            u32::try_from(scaled).unwrap_or(limit).max(1)
        };
        (side(width), side(height))
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
enum ScaleError {
    /// The file is not a picture, or exceeds a limit.
    #[error("the file is not a picture, or exceeds the size limit")]
    Unsupported,
    /// The picture is damaged, or decoding it takes too much memory.
    #[error(transparent)]
    Decode(#[from] image::ImageError),
}

/// What to serve, or to do, before anything is decoded.
#[derive(Debug)]
enum ScaleJob {
    Copy(PathBuf),
    Original,
    Make,
}

/// Makes the copies. Clones share its permits.
#[derive(Clone, Debug)]
pub struct Scaler {
    files: Files,
    permits: Arc<Semaphore>,
}

impl Scaler {
    /// Creates a scaler of `files`.
    pub fn new(files: Files) -> Self {
        Self { files, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// Returns the path of a picture's copy. `None` means that the original must be served, because
    /// it is small enough, cannot be scaled, or was not scaled in time.
    pub async fn copy(&self, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
        tokio::time::timeout(TIMEOUT, self.find_or_make(original, scale, false)).await.ok().flatten()
    }

    /// Returns the path of a picture's copy as JPEG, also if the picture is small enough; `None` if it
    /// cannot be decoded, or not in time.
    pub async fn jpeg(&self, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
        tokio::time::timeout(JPEG_TIMEOUT, self.find_or_make(original, scale, true)).await.ok().flatten()
    }

    async fn find_or_make(&self, original: &MediaHash, scale: Scale, always: bool) -> Option<PathBuf> {
        let (files, hash) = (self.files.clone(), original.clone());
        match tokio::task::spawn_blocking(move || plan(&files, &hash, scale, always)).await.ok()? {
            ScaleJob::Copy(path) => return Some(path),
            ScaleJob::Original => return None,
            ScaleJob::Make => {}
        }
        // The permit is released when the work is done, also if no request waits for it any longer.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let (files, hash) = (self.files.clone(), original.clone());
        let work = move || {
            let _permit = permit;
            match plan(&files, &hash, scale, always) {
                ScaleJob::Make => make_copy(&files, &hash, scale),
                ScaleJob::Copy(path) => Some(path),
                ScaleJob::Original => None,
            }
        };
        tokio::task::spawn_blocking(work).await.ok().flatten()
    }
}

/// Decides whether to serve a copy or the original, or to make a copy; with `always`, also of a picture
/// that is small enough. Blocks.
fn plan(files: &Files, original: &MediaHash, scale: Scale, always: bool) -> ScaleJob {
    let path = files.derived(original, scale.extension());
    match path.metadata() {
        // An empty file marks a failed attempt; another one would fail again.
        Ok(found) if found.len() == 0 => return ScaleJob::Original,
        Ok(_) => return ScaleJob::Copy(path),
        Err(_) => {}
    }
    let Ok(picture) = std::fs::File::open(files.path(original)) else { return ScaleJob::Original };
    let is_short = picture.metadata().is_ok_and(|found| found.len() <= scale.limits().bytes);
    match file_type::pixels(BufReader::new(picture)) {
        Some(pixels) if is_short && (always || scale.fit(pixels) != pixels) => ScaleJob::Make,
        _ => ScaleJob::Original,
    }
}

/// Makes and stores the copy. Blocks for as long as the work takes.
fn make_copy(files: &Files, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
    let opened = std::fs::File::open(files.path(original)).map_err(image::ImageError::IoError);
    let scaled =
        opened.map_err(ScaleError::from).and_then(|picture| scale_to_jpeg(BufReader::new(picture), scale));
    let stored = match scaled {
        Ok(copy) => files.store_derived(original, scale.extension(), &copy),
        Err(why) => {
            tracing::debug!(%why, "could not make a smaller copy of a picture; the original is served");
            // Another attempt would fail in the same way, unless the operating system caused the
            // error.
            let is_system_error = matches!(&why, ScaleError::Decode(image::ImageError::IoError(error)) if error.raw_os_error().is_some());
            if is_system_error {
                Ok(false)
            } else {
                files.store_derived(original, scale.extension(), &[]).map(|_| false)
            }
        }
    };
    match stored {
        Ok(is_stored) => is_stored.then(|| files.derived(original, scale.extension())),
        Err(error) => {
            tracing::debug!(%error, "could not store a smaller copy of a picture; the original is served");
            None
        }
    }
}

/// Returns the copy as JPEG: the first frame of an animated picture, a transparent one on white.
fn scale_to_jpeg(mut picture: impl BufRead + Seek, scale: Scale) -> Result<Vec<u8>, ScaleError> {
    let format = match FileType::detect(picture.fill_buf().map_err(image::ImageError::IoError)?) {
        FileType::Jpeg => ImageFormat::Jpeg,
        FileType::Png => ImageFormat::Png,
        FileType::Gif => ImageFormat::Gif,
        FileType::Bmp => ImageFormat::Bmp,
        FileType::Webp => ImageFormat::WebP,
        _ => return Err(ScaleError::Unsupported),
    };
    let mut reader = ImageReader::with_format(picture, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(scale.limits().alloc);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let DecodeLimits { pixels, alloc, .. } = scale.limits();
    if u64::from(width) * u64::from(height) > pixels || decoder.total_bytes() > alloc {
        return Err(ScaleError::Unsupported);
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let whole = DynamicImage::from_decoder(decoder)?;
    let (width, height) = scale.fit((width, height));
    let mut small = if (whole.width(), whole.height()) == (width, height) {
        whole
    } else {
        let small = whole.thumbnail_exact(width, height);
        drop(whole);
        small
    };
    small.apply_orientation(orientation);
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&on_white(&small))?;
    Ok(jpeg.into_inner())
}

/// Puts a picture on a white background, because JPEG has no transparency.
fn on_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u16::from);
        // The result is at most 255.
        let over =
            |colour: u16| u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX);
        Rgb([red, green, blue].map(over))
    })
}

#[cfg(test)]
mod tests;
