//! The elements of a message (`MsgBody`): what agents send, read leniently, and what the bridge sends.
//!
//! One shape for requests, callbacks and history (reference: "`MsgBody` elements"; docs 269/2720). Nothing here
//! may fail on what a client of any age has sent: an unreadable element becomes `AnswerPart::Other`.

mod read;
mod shown;

pub use read::parts;
pub use shown::Known;

use shown::shown_as;

use serde::{Serialize, Serializer};

use crate::model::Order;

/// One element to send.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "MsgType", content = "MsgContent")]
pub enum Element {
    /// Text.
    #[serde(rename = "TIMTextElem")]
    Text(Text),
    /// A place.
    #[serde(rename = "TIMLocationElem")]
    Location(Location),
    /// An app-defined payload; at most one in a message.
    #[serde(rename = "TIMCustomElem")]
    Custom(Custom),
    /// A picture.
    #[serde(rename = "TIMImageElem")]
    Image(Image),
    /// A recording.
    #[serde(rename = "TIMSoundElem")]
    Sound(Sound),
    /// A file.
    #[serde(rename = "TIMFileElem")]
    File(File),
    /// A video.
    #[serde(rename = "TIMVideoFileElem")]
    Video(Video),
}

/// `TIMTextElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Text {
    /// The text.
    pub text: String,
}

/// `TIMLocationElem`; degrees.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Location {
    /// What is there.
    pub desc: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// `TIMCustomElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Custom {
    /// The payload.
    pub data: String,
    /// What an offline push shows.
    pub desc: String,
}

/// `TIMImageElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Unique for the picture; its MD5 is what the platform suggests.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// 1 JPG, 2 GIF, 3 PNG, 4 BMP, 255 other.
    pub image_format: u32,
    /// The sizes it comes in. Whether fewer than three render everywhere is unknown: send all.
    pub image_info_array: [ImageInfo; 3],
}

/// One size of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInfo {
    /// 1 original, 2 large, 3 thumbnail.
    pub r#type: u32,
    /// Bytes.
    pub size: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Where the receiver's client finds it.
    #[serde(rename = "URL")]
    pub url: String,
}

/// `TIMSoundElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sound {
    /// Where the receiver's client finds it.
    pub url: String,
    /// Unique for the recording.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// Bytes.
    pub size: u64,
    /// Seconds.
    pub second: u64,
    /// Required.
    #[serde(rename = "Download_Flag")]
    pub download_flag: ByUrl,
}

/// `TIMFileElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct File {
    /// Where the receiver's client finds it.
    pub url: String,
    /// Unique for the file.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// Bytes.
    pub file_size: u64,
    /// Its base name.
    pub file_name: String,
    /// Required.
    #[serde(rename = "Download_Flag")]
    pub download_flag: ByUrl,
}

/// `TIMVideoFileElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Video {
    /// Where the receiver's client finds it.
    pub video_url: String,
    /// Unique for the video.
    #[serde(rename = "VideoUUID")]
    pub video_uuid: String,
    /// Bytes.
    pub video_size: u64,
    /// Seconds.
    pub video_second: u64,
    /// `mp4`.
    pub video_format: String,
    /// Required.
    pub video_download_flag: ByUrl,
    /// Where the receiver's client finds the first picture.
    pub thumb_url: String,
    /// Unique for the first picture.
    #[serde(rename = "ThumbUUID")]
    pub thumb_uuid: String,
    /// Bytes.
    pub thumb_size: u64,
    /// Pixels.
    pub thumb_width: u32,
    /// Pixels.
    pub thumb_height: u32,
    /// `JPG`.
    pub thumb_format: String,
    /// Required.
    pub thumb_download_flag: ByUrl,
}

/// The download flag that media by URL must carry; always 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByUrl;

impl Serialize for ByUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl Element {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into() })
    }
}

/// The message that carries out `order`; `None` where it is no message to an agent.
pub fn of_order(order: &Order, known: &Known) -> Option<Vec<Element>> {
    match order {
        Order::TextToAgent(text) => Some(vec![Element::text(text.as_str())]),
        Order::LocationToAgent { latitude, longitude, description } => {
            Some(vec![Element::Location(Location {
                desc: description.clone(),
                latitude: *latitude,
                longitude: *longitude,
            })])
        }
        Order::MediaToAgent(shown) => Some(vec![shown_as(shown, known)]),
        // Not every client draws an app's own payloads: the words stand beside it.
        Order::CardToAgent { data, text } => Some(vec![
            Element::Custom(Custom { data: data.clone(), desc: text.clone() }),
            Element::text(text.as_str()),
        ]),
        Order::ImportAccount
        | Order::DeleteAccount
        | Order::PastToAgent { .. }
        | Order::TextToCustomer(_)
        | Order::MediaToCustomer(_) => None,
    }
}

#[cfg(test)]
mod tests;
