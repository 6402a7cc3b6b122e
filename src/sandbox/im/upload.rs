//! Files of agents: a client uploads a file and then sends the element with its URL.

use bytes::Bytes;
use serde_json::{Value, json};

use super::ImSim;
use super::agent_client::{AgentClient, SentMessage};
use super::checks::ApiError;

impl ImSim {
    /// Removes an uploaded file, as the platform does when it expires.
    pub fn remove_file(&self, url: &str) {
        if let Some(path) = url.strip_prefix(&self.shared.base_url) {
            self.shared.files.lock().remove(path);
        }
    }
}

/// A file that an agent's client has uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedFile {
    /// The URL of the file.
    pub url: String,
    /// The size in bytes.
    pub size: usize,
    /// The file name.
    pub name: String,
}

impl AgentClient {
    /// Uploads a file, as a client does before it sends the message with its URL.
    pub fn upload(&self, name: &str, bytes: impl Into<Bytes>) -> UploadedFile {
        let bytes = bytes.into();
        let size = bytes.len();
        let path = self.shared.files.lock().add(name, bytes);
        UploadedFile { url: format!("{}{path}", self.shared.base_url), size, name: name.to_owned() }
    }

    /// Sends an image.
    pub async fn send_image(
        &self,
        to: &str,
        name: &str,
        picture: impl Into<Bytes>,
    ) -> Result<SentMessage, ApiError> {
        self.send(to, json!([self.upload(name, picture).image()])).await
    }

    /// Sends a recording with a length in seconds.
    pub async fn send_sound(
        &self,
        to: &str,
        name: &str,
        sound: impl Into<Bytes>,
        seconds: u64,
    ) -> Result<SentMessage, ApiError> {
        self.send(to, json!([self.upload(name, sound).sound(seconds)])).await
    }

    /// Sends a video with its thumbnail.
    pub async fn send_video(
        &self,
        to: &str,
        video: impl Into<Bytes>,
        thumb: impl Into<Bytes>,
    ) -> Result<SentMessage, ApiError> {
        let (video, thumb) = (self.upload("video.mp4", video), self.upload("video.jpg", thumb));
        self.send(to, json!([video.video(&thumb)])).await
    }
}

impl UploadedFile {
    /// The element of an image. Its three sizes all refer to the same file.
    pub fn image(&self) -> Value {
        let sizes: Vec<Value> = (1..=3)
            .map(|kind| json!({"Type": kind, "Size": self.size, "Width": 64, "Height": 48, "URL": self.url}))
            .collect();
        json!({"MsgType": "TIMImageElem",
               "MsgContent": {"UUID": self.uuid(), "ImageFormat": 255, "ImageInfoArray": sizes}})
    }

    /// The element of a recording with a length in seconds.
    pub fn sound(&self, seconds: u64) -> Value {
        json!({"MsgType": "TIMSoundElem", "MsgContent": {
            "Url": self.url, "UUID": self.uuid(), "Size": self.size, "Second": seconds, "Download_Flag": 2}})
    }

    /// The element of a video.
    pub fn video(&self, thumb: &Self) -> Value {
        json!({"MsgType": "TIMVideoFileElem", "MsgContent": {
            "VideoUrl": self.url, "VideoUUID": self.uuid(), "VideoSize": self.size, "VideoSecond": 1,
            "VideoFormat": "mp4", "VideoDownloadFlag": 2, "ThumbUrl": thumb.url, "ThumbUUID": thumb.uuid(),
            "ThumbSize": thumb.size, "ThumbWidth": 64, "ThumbHeight": 48, "ThumbFormat": "JPG",
            "ThumbDownloadFlag": 2}})
    }

    /// The element of a file.
    pub fn file(&self) -> Value {
        json!({"MsgType": "TIMFileElem", "MsgContent": {
            "Url": self.url, "UUID": self.uuid(), "FileSize": self.size, "FileName": self.name,
            "Download_Flag": 2}})
    }

    fn uuid(&self) -> &str {
        self.url.rsplit('/').nth(1).unwrap_or_default()
    }
}
