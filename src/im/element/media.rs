//! Builds the element of a customer's medium. Sizes that are not known are 0, which the reference
//! allows.

use super::{ByUrl, Element, Image, ImageInfo, Sound, Video};
use crate::media::{FileInfo, FileType, Scale};
use crate::model::{MediaInfo, MediaInfoKind};

/// Details of a medium that are known when its message is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaDetails {
    /// The measures of its file.
    pub file: Option<FileInfo>,
    /// The measures of a video's thumbnail.
    pub thumb: Option<FileInfo>,
    /// The link to a picture's large copy, for a screen.
    pub large_link: Option<String>,
    /// The link to a picture's small copy, for a list.
    pub thumb_link: Option<String>,
}

/// The element that shows a medium.
pub fn media_element(info: &MediaInfo, details: &MediaDetails) -> Element {
    let uuid = info.name.as_str().to_owned();
    let url = info.link.clone();
    let size = details.file.map_or(0, |file| file.size);
    match &info.kind {
        MediaInfoKind::Image => image(uuid, &url, details),
        MediaInfoKind::Sound { .. } => {
            let second = details.file.and_then(|file| file.seconds).unwrap_or(0);
            Element::Sound(Sound { url, uuid, size, second, download_flag: ByUrl })
        }
        MediaInfoKind::Video { thumb, thumb_link } => {
            let (thumb_width, thumb_height) = details.thumb.and_then(|file| file.pixels).unwrap_or((0, 0));
            Element::Video(Video {
                video_url: url,
                video_uuid: uuid,
                video_size: size,
                video_second: details.file.and_then(|file| file.seconds).unwrap_or(0),
                video_format: "mp4".to_owned(),
                video_download_flag: ByUrl,
                thumb_url: thumb_link.clone(),
                thumb_uuid: thumb.as_str().to_owned(),
                thumb_size: details.thumb.map_or(0, |file| file.size),
                thumb_width,
                thumb_height,
                thumb_format: "JPG".to_owned(),
                thumb_download_flag: ByUrl,
            })
        }
    }
}

fn image(uuid: String, url: &str, details: &MediaDetails) -> Element {
    let pixels = details.file.and_then(|file| file.pixels);
    let size = details.file.map_or(0, |file| file.size);
    let (width, height) = pixels.unwrap_or((0, 0));
    let original = ImageInfo { r#type: 1, size, width, height, url: url.to_owned() };
    let copy = |r#type, scale: Scale, link: &Option<String>| {
        let (width, height) = pixels.map_or((0, 0), |pixels| scale.fit(pixels));
        // A copy's size in bytes is unknown until the copy is made. An unscaled picture keeps the
        // original's size.
        let size = if pixels == Some((width, height)) { size } else { 0 };
        ImageInfo { r#type, size, width, height, url: link.clone().unwrap_or_else(|| url.to_owned()) }
    };
    Element::Image(Image {
        uuid,
        image_format: match details.file.map(|file| file.kind) {
            // WeChat converts customers' pictures to JPEG.
            Some(FileType::Jpeg) | None => 1,
            Some(FileType::Gif) => 2,
            Some(FileType::Png) => 3,
            Some(FileType::Bmp) => 4,
            Some(_) => 255,
        },
        image_info_array: [
            original,
            copy(2, Scale::Large, &details.large_link),
            copy(3, Scale::Thumb, &details.thumb_link),
        ],
    })
}
