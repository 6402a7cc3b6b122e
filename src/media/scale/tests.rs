use super::*;
use crate::clock::Clock;
use proptest::prelude::*;

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP];

/// A picture of one colour, half transparent if its format supports transparency.
fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let plain =
        DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(width, height, image::Rgba([200, 0, 0, 127])));
    let plain = if format == ImageFormat::Jpeg { DynamicImage::ImageRgb8(plain.to_rgb8()) } else { plain };
    plain.write_to(&mut out, format).unwrap();
    out.into_inner()
}

#[test]
fn every_kind_of_picture_becomes_a_jpeg_that_fits() {
    for format in FORMATS {
        for scale in Scale::ALL {
            let copy = scale_to_jpeg(Cursor::new(picture(2000, 1000, format)), scale).unwrap();
            let size = file_type::pixels(Cursor::new(&copy)).unwrap();
            assert_eq!(size, (scale.max_side(), scale.max_side() / 2), "{format:?}");
            assert_eq!(FileType::detect(&copy), FileType::Jpeg);
        }
    }
}

#[test]
fn transparent_pictures_get_a_white_background() {
    let copy = scale_to_jpeg(Cursor::new(picture(300, 300, ImageFormat::Png)), Scale::Thumb).unwrap();
    let [red, green, blue] = image::load_from_memory(&copy).unwrap().to_rgb8().get_pixel(99, 99).0;
    assert!(red > 210 && (120..136).contains(&green) && (120..136).contains(&blue), "{red} {green} {blue}");
}

#[test]
fn a_copy_fits_and_keeps_its_proportions() {
    for ((width, height), large, thumb) in [
        ((4032, 3024), (720, 540), (198, 149)),
        ((1080, 1440), (540, 720), (149, 198)),
        ((720, 10), (720, 10), (198, 3)),
        ((198, 198), (198, 198), (198, 198)),
        ((10_000, 1), (720, 1), (198, 1)),
        ((50_000, 50_000), (50_000, 50_000), (50_000, 50_000)),
        ((u32::MAX, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, u32::MAX)),
    ] {
        assert_eq!(
            (Scale::Large.fit((width, height)), Scale::Thumb.fit((width, height))),
            (large, thumb),
            "{width} x {height}"
        );
    }
}

async fn store(files: &Files, bytes: &[u8]) -> MediaHash {
    let mut incoming = files.create(1_000_000).await.unwrap();
    incoming.write(bytes).await.unwrap();
    incoming.finish().await.unwrap().hash.clone()
}

#[tokio::test]
async fn a_copy_is_made_once_and_goes_with_its_original() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path(), Clock::system()).unwrap();
    let scaler = Scaler::new(files.clone());
    let hash = store(&files, &picture(400, 400, ImageFormat::Png)).await;
    let path = scaler.copy(&hash, Scale::Thumb).await.unwrap();
    let made = path.metadata().unwrap().modified().unwrap();
    assert_eq!(scaler.copy(&hash, Scale::Thumb).await, Some(path.clone()));
    assert_eq!(path.metadata().unwrap().modified().unwrap(), made);
    assert_eq!(scaler.copy(&hash, Scale::Large).await, None, "it is small enough");
    assert!(files.mark_unreferenced(&hash));
    files.remove(&hash).unwrap();
    assert!(!path.exists());
    assert!(!files.store_derived(&hash, Scale::Thumb.extension(), b"late").unwrap(), "its original has gone");
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_failed_scaling_is_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path(), Clock::system()).unwrap();
    let scaler = Scaler::new(files.clone());
    let whole = picture(400, 400, ImageFormat::Png);
    let broken = [&whole[..60], &[0x55; 60]].concat();
    let hash = store(&files, &broken).await;
    assert_eq!(scaler.copy(&hash, Scale::Thumb).await, None);
    assert!(matches!(plan(&files, &hash, Scale::Thumb, false), ScaleJob::Original));
    assert_eq!(files.derived(&hash, Scale::Thumb.extension()).metadata().unwrap().len(), 0);
    assert_eq!(scaler.copy(&store(&files, b"words").await, Scale::Thumb).await, None);
}

proptest! {
    #[test]
    fn any_bytes_are_scaled_or_refused(
        format in prop::sample::select(&FORMATS[..]),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        is_noise in any::<bool>(),
    ) {
        let mut bytes = picture(24, 16, format);
        if is_noise {
            bytes.truncate(12);
            bytes.extend(noise);
        } else {
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if cut.index(2) == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        let _ = scale_to_jpeg(Cursor::new(bytes), Scale::Thumb);
    }
}
