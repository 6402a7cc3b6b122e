//! The elements of a message (`MsgBody`): reads agents' messages leniently and builds the bridge's
//! messages.
//!
//! Requests, callbacks and history share one format (reference: "`MsgBody` elements"; docs
//! 269/2720). Reading never fails, whatever a client of any age has sent: an unreadable element
//! becomes `AnswerPart::Other`.

mod custom;
mod media;
mod quote;
mod read;

pub use media::{MediaDetails, media_element};
pub use quote::quoted;
pub use read::parts;

use serde::{Serialize, Serializer};

use crate::model::OutboundCall;

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
    /// The name of the place.
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
    /// The text of an offline notification.
    pub desc: String,
}

/// `TIMImageElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// The picture's unique id; the platform suggests its MD5.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// 1 JPG, 2 GIF, 3 PNG, 4 BMP, 255 other.
    pub image_format: u32,
    /// The sizes of the picture. Send all three: it is unknown whether every client renders fewer.
    pub image_info_array: [ImageInfo; 3],
}

/// One size of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInfo {
    /// 1 original, 2 large, 3 thumbnail.
    pub r#type: u32,
    /// The size in bytes.
    pub size: u64,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The URL for the receiver's client.
    #[serde(rename = "URL")]
    pub url: String,
}

/// `TIMSoundElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sound {
    /// The URL for the receiver's client.
    pub url: String,
    /// The recording's unique id.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The size in bytes.
    pub size: u64,
    /// The length in seconds.
    pub second: u64,
    /// Required for media by URL.
    #[serde(rename = "Download_Flag")]
    pub download_flag: ByUrl,
}

/// `TIMFileElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct File {
    /// The URL for the receiver's client.
    pub url: String,
    /// The file's unique id.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The size in bytes.
    pub file_size: u64,
    /// The base name.
    pub file_name: String,
    /// Required for media by URL.
    #[serde(rename = "Download_Flag")]
    pub download_flag: ByUrl,
}

/// `TIMVideoFileElem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Video {
    /// The video's URL for the receiver's client.
    pub video_url: String,
    /// The video's unique id.
    #[serde(rename = "VideoUUID")]
    pub video_uuid: String,
    /// The video's size in bytes.
    pub video_size: u64,
    /// The video's length in seconds.
    pub video_second: u64,
    /// `mp4`.
    pub video_format: String,
    /// Required for media by URL.
    pub video_download_flag: ByUrl,
    /// The thumbnail's URL for the receiver's client.
    pub thumb_url: String,
    /// The thumbnail's unique id.
    #[serde(rename = "ThumbUUID")]
    pub thumb_uuid: String,
    /// The thumbnail's size in bytes.
    pub thumb_size: u64,
    /// The thumbnail's width in pixels.
    pub thumb_width: u32,
    /// The thumbnail's height in pixels.
    pub thumb_height: u32,
    /// `JPG`.
    pub thumb_format: String,
    /// Required for media by URL.
    pub thumb_download_flag: ByUrl,
}

/// The download flag that IM requires for media by URL; always 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByUrl;

impl Serialize for ByUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl Element {
    /// Creates a text element.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into() })
    }
}

impl Location {
    /// The place in words, with a link to a map. WeChat's degrees are those of Tencent's map (GCJ-02).
    fn as_text(&self) -> String {
        let Self { desc, latitude, longitude } = self;
        let title = if desc.is_empty() { "WeChat" } else { desc };
        let title: String = url::form_urlencoded::byte_serialize(title.as_bytes()).collect();
        let title = title.replace('+', "%20");
        let map = format!(
            "https://apis.map.qq.com/uri/v1/marker?marker=coord:{latitude},{longitude};title:{title}&referer=bridge"
        );
        let line = if desc.is_empty() { String::new() } else { format!(" {desc}") };
        format!("[location]{line}\n{latitude},{longitude}\n{map}")
    }
}

/// Builds the elements for an outbound call; `None` if the call does not send a message to an
/// agent. Tencent's clients show only the first element, so it has the words.
pub fn elements_for(call: &OutboundCall, details: &MediaDetails) -> Option<Vec<Element>> {
    match call {
        OutboundCall::TextToAgent(text) | OutboundCall::FirstLineToAgent(text) => {
            Some(vec![Element::text(text.as_str())])
        }
        OutboundCall::LocationToAgent { latitude, longitude, description } => {
            let location = Location { desc: description.clone(), latitude: *latitude, longitude: *longitude };
            Some(vec![Element::text(location.as_text()), Element::Location(location)])
        }
        OutboundCall::MediaToAgent(info) => Some(vec![media_element(info, details)]),
        OutboundCall::CardToAgent { data, text } => Some(vec![
            Element::text(text.as_str()),
            Element::Custom(Custom { data: data.clone(), desc: text.clone() }),
        ]),
        OutboundCall::ImportAccount
        | OutboundCall::DeleteAccount
        | OutboundCall::EarlierMessageToAgent { .. }
        | OutboundCall::Note(_)
        | OutboundCall::TextToCustomer(_)
        | OutboundCall::MenuToCustomer { .. }
        | OutboundCall::CardToCustomer { .. }
        | OutboundCall::MediaToCustomer(_) => None,
    }
}

#[cfg(test)]
mod tests;
