//! The files that agents' clients upload before they send a message: where their elements' addresses lead to.
//!
//! The platform's own is an object store on hosts of its own, whose addresses are open to whoever knows them.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};

use super::checks::Refused;
use super::desk::{Desk, Sent};
use super::{ImSim, Shared};

/// The oldest go first beyond this many.
const KEPT: usize = 256;

/// The files.
#[derive(Debug, Default)]
pub(super) struct Files {
    kept: VecDeque<(String, Bytes)>,
}

impl Files {
    /// Keeps a file and gives the path that leads to it.
    fn put(&mut self, name: &str, bytes: Bytes) -> String {
        let path = format!("{:032x}/{name}", rand::random::<u128>());
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((path.clone(), bytes));
        path
    }

    fn get(&self, path: &str) -> Option<Bytes> {
        self.kept.iter().find(|(known, _)| known == path).map(|(_, bytes)| bytes.clone())
    }

    fn remove(&mut self, path: &str) {
        self.kept.retain(|(known, _)| known != path);
    }
}

/// `GET /files/ID/NAME`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/files/{id}/{name}", get(download))
}

async fn download(State(shared): State<Arc<Shared>>, Path((id, name)): Path<(String, String)>) -> Response {
    let found = shared.world().files.get(&format!("{id}/{name}"));
    match found {
        // Whatever the file is: clients say little about what they upload.
        Some(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl ImSim {
    /// Removes an uploaded file, as the platform does when its time is over.
    pub fn remove_file(&self, url: &str) {
        if let Some((_, path)) = url.split_once("/files/") {
            self.shared.world().files.remove(path);
        }
    }
}

/// A file as an agent's client has uploaded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Where it lies.
    pub url: String,
    /// Bytes.
    pub size: usize,
    /// Its name.
    pub name: String,
}

impl Desk {
    /// Uploads a file, as a client does before it sends the message that names it.
    pub fn upload(&self, name: &str, bytes: impl Into<Bytes>) -> Uploaded {
        let bytes = bytes.into();
        let size = bytes.len();
        let path = self.shared.world().files.put(name, bytes);
        Uploaded { url: format!("{}/files/{path}", self.shared.base_url), size, name: name.to_owned() }
    }

    /// Sends a picture.
    pub async fn send_image(&self, to: &str, name: &str, picture: impl Into<Bytes>) -> Result<Sent, Refused> {
        self.send(to, json!([self.upload(name, picture).image()])).await
    }

    /// Sends a recording of so many seconds.
    pub async fn send_sound(
        &self,
        to: &str,
        name: &str,
        sound: impl Into<Bytes>,
        seconds: u64,
    ) -> Result<Sent, Refused> {
        self.send(to, json!([self.upload(name, sound).sound(seconds)])).await
    }

    /// Sends a video with its first picture.
    pub async fn send_video(
        &self,
        to: &str,
        video: impl Into<Bytes>,
        thumb: impl Into<Bytes>,
    ) -> Result<Sent, Refused> {
        let (video, thumb) = (self.upload("video.mp4", video), self.upload("video.jpg", thumb));
        self.send(to, json!([video.video(&thumb)])).await
    }

    /// Sends a file.
    pub async fn send_file(&self, to: &str, name: &str, file: impl Into<Bytes>) -> Result<Sent, Refused> {
        self.send(to, json!([self.upload(name, file).file()])).await
    }
}

impl Uploaded {
    /// The picture's element: it comes in three sizes, which are one here.
    pub fn image(&self) -> Value {
        let sizes: Vec<Value> = (1..=3)
            .map(|kind| json!({"Type": kind, "Size": self.size, "Width": 64, "Height": 48, "URL": self.url}))
            .collect();
        json!({"MsgType": "TIMImageElem",
               "MsgContent": {"UUID": self.uuid(), "ImageFormat": 255, "ImageInfoArray": sizes}})
    }

    /// The recording's element.
    pub fn sound(&self, seconds: u64) -> Value {
        json!({"MsgType": "TIMSoundElem", "MsgContent": {
            "Url": self.url, "UUID": self.uuid(), "Size": self.size, "Second": seconds, "Download_Flag": 2}})
    }

    /// The video's element.
    pub fn video(&self, thumb: &Self) -> Value {
        json!({"MsgType": "TIMVideoFileElem", "MsgContent": {
            "VideoUrl": self.url, "VideoUUID": self.uuid(), "VideoSize": self.size, "VideoSecond": 1,
            "VideoFormat": "mp4", "VideoDownloadFlag": 2, "ThumbUrl": thumb.url, "ThumbUUID": thumb.uuid(),
            "ThumbSize": thumb.size, "ThumbWidth": 64, "ThumbHeight": 48, "ThumbFormat": "JPG",
            "ThumbDownloadFlag": 2}})
    }

    /// The file's element.
    pub fn file(&self) -> Value {
        json!({"MsgType": "TIMFileElem", "MsgContent": {
            "Url": self.url, "UUID": self.uuid(), "FileSize": self.size, "FileName": self.name,
            "Download_Flag": 2}})
    }

    fn uuid(&self) -> &str {
        self.url.rsplit('/').nth(1).unwrap_or_default()
    }
}
