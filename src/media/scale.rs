//! Smaller copies of pictures, for clients that show many of them: made when one is first asked for, and kept beside
//! the original as long as that is kept.
//!
//! Pictures are others' bytes: how many pixels are decoded, how much memory that takes and how many are at work are
//! bounded. Whatever cannot be scaled within these bounds has no copy, which is never an error: the original stands in.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use tokio::sync::Semaphore;

use super::Files;
use super::kind::{self, Kind};
use crate::model::MediaHash;

/// Pixels of the largest picture that is decoded: what a telephone's camera of 12 megapixels makes.
const MAX_PIXELS: u64 = 4096 * 3072;
/// Bytes of the largest file that is decoded: some decoders hold all of it.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What a decoder may allocate, bytes: four a pixel and some room. A JPEG decoder may take twice as much for a
/// progressive picture.
const MAX_ALLOC: u64 = 64 * 1024 * 1024;
/// Pictures decoded at once.
const AT_ONCE: usize = 1;
/// How long whoever asks waits for a copy.
const TIME: Duration = Duration::from_secs(5);
/// The encoder's quality, of 100.
const QUALITY: u8 = 80;

/// How large a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// For a screen: at most 720 pixels wide and high.
    Large,
    /// For a list: at most 198 pixels wide and high.
    Thumb,
}

impl Scale {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Large, Self::Thumb];

    /// What the copy's link and file end with, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Large => "large.jpg",
            Self::Thumb => "thumb.jpg",
        }
    }

    /// The copy that a link with this ending asks for, if it does.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scale| scale.extension() == extension)
    }

    fn longest(self) -> u32 {
        match self {
            Self::Large => 720,
            Self::Thumb => 198,
        }
    }

    /// Width and height of what is served for a picture of `width` and `height` pixels: its own, where it is small
    /// enough or too large to be decoded.
    pub fn fit(self, (width, height): (u32, u32)) -> (u32, u32) {
        let (longest, limit) = (u64::from(width.max(height)), self.longest());
        if longest <= u64::from(limit) || u64::from(width) * u64::from(height) > MAX_PIXELS {
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
enum Unscaled {
    /// It is no picture, or larger than is decoded.
    #[error("it is no picture of a size that is decoded")]
    Unfit,
    /// It is damaged, or decoding it takes too much.
    #[error(transparent)]
    Broken(#[from] image::ImageError),
}

/// What is known before anything is decoded.
#[derive(Debug)]
enum Look {
    Copy(PathBuf),
    Original,
    ToMake,
}

/// Makes the copies. Clones share its places.
#[derive(Clone, Debug)]
pub struct Scaler {
    files: Files,
    places: Arc<Semaphore>,
}

impl Scaler {
    /// A scaler of `files`.
    pub fn new(files: Files) -> Self {
        Self { files, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Where the copy of a picture lies; `None`: the original is to be served, since it is small enough, cannot be
    /// scaled, or could not be in time.
    pub async fn copy(&self, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
        tokio::time::timeout(TIME, self.found(original, scale)).await.ok().flatten()
    }

    async fn found(&self, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
        let (files, hash) = (self.files.clone(), original.clone());
        match tokio::task::spawn_blocking(move || look(&files, &hash, scale)).await.ok()? {
            Look::Copy(path) => return Some(path),
            Look::Original => return None,
            Look::ToMake => {}
        }
        // The place is given back when the work is done, also where nobody waits for it any more.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let (files, hash) = (self.files.clone(), original.clone());
        let work = move || {
            let _place = place;
            match look(&files, &hash, scale) {
                Look::ToMake => make(&files, &hash, scale),
                Look::Copy(path) => Some(path),
                Look::Original => None,
            }
        };
        tokio::task::spawn_blocking(work).await.ok().flatten()
    }
}

/// Blocks.
fn look(files: &Files, original: &MediaHash, scale: Scale) -> Look {
    let path = files.derived(original, scale.extension());
    match path.metadata() {
        // Left by an attempt that failed: it would fail again.
        Ok(found) if found.len() == 0 => return Look::Original,
        Ok(_) => return Look::Copy(path),
        Err(_) => {}
    }
    let Ok(picture) = std::fs::File::open(files.path(original)) else { return Look::Original };
    let is_short = picture.metadata().is_ok_and(|found| found.len() <= MAX_BYTES);
    match kind::pixels(BufReader::new(picture)) {
        Some(pixels) if is_short && scale.fit(pixels) != pixels => Look::ToMake,
        _ => Look::Original,
    }
}

/// Blocks for as long as the work takes.
fn make(files: &Files, original: &MediaHash, scale: Scale) -> Option<PathBuf> {
    let opened = std::fs::File::open(files.path(original)).map_err(image::ImageError::IoError);
    let made = opened.map_err(Unscaled::from).and_then(|picture| scaled(BufReader::new(picture), scale));
    let kept = match made {
        Ok(copy) => files.keep_derived(original, scale.extension(), &copy),
        Err(why) => {
            tracing::debug!(%why, "a picture has no smaller copy");
            // Another attempt would fail in the same way, unless it was the system that failed.
            let passes = matches!(&why, Unscaled::Broken(image::ImageError::IoError(error)) if error.raw_os_error().is_some());
            if passes {
                Ok(false)
            } else {
                files.keep_derived(original, scale.extension(), &[]).map(|_| false)
            }
        }
    };
    match kept {
        Ok(kept) => kept.then(|| files.derived(original, scale.extension())),
        Err(error) => {
            tracing::debug!(%error, "a smaller copy cannot be kept");
            None
        }
    }
}

/// The copy as JPEG: of a moving picture the first frame, of a transparent one on white.
fn scaled(mut picture: impl BufRead + Seek, scale: Scale) -> Result<Vec<u8>, Unscaled> {
    let format = match Kind::of(picture.fill_buf().map_err(image::ImageError::IoError)?) {
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Png => ImageFormat::Png,
        Kind::Gif => ImageFormat::Gif,
        Kind::Bmp => ImageFormat::Bmp,
        Kind::Webp => ImageFormat::WebP,
        _ => return Err(Unscaled::Unfit),
    };
    let mut reader = ImageReader::with_format(picture, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_ALLOC {
        return Err(Unscaled::Unfit);
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let whole = DynamicImage::from_decoder(decoder)?;
    let (width, height) = scale.fit((width, height));
    let mut small = whole.thumbnail_exact(width, height);
    drop(whole);
    small.apply_orientation(orientation);
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&on_white(&small))?;
    Ok(jpeg.into_inner())
}

/// JPEG knows no transparency.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u16::from);
        // At most 255.
        let over =
            |colour: u16| u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX);
        Rgb([red, green, blue].map(over))
    })
}

#[cfg(test)]
mod tests;
