//! The files that agents send. As in the platform's object storage, each has a URL that cannot be
//! guessed.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use rand::RngExt as _;

use super::Shared;

/// The most files that are stored. The oldest are dropped first.
const MAX_FILES: usize = 64;

/// The stored files, oldest first, each with the path of its URL.
#[derive(Debug, Default)]
pub(super) struct Files(VecDeque<(String, Bytes)>);

impl Files {
    /// Stores a file and returns the path of its URL. The path ends with the file's name, reduced
    /// to plain characters.
    pub fn add(&mut self, name: &str, bytes: Bytes) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let name: String = name.chars().filter(is_plain).take(64).collect();
        let random: [u8; 16] = rand::rng().random();
        let path = format!("/files/{}/{name}", hex::encode(random));
        if self.0.len() == MAX_FILES {
            self.0.pop_front();
        }
        self.0.push_back((path.clone(), bytes));
        path
    }

    /// Removes the file at this path, as the platform does when it expires.
    pub fn remove(&mut self, path: &str) {
        self.0.retain(|(known, _)| known != path);
    }
}

/// `GET /files/KEY/NAME`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/files/{key}/{name}", get(file))
}

async fn file(State(shared): State<Arc<Shared>>, Path((key, name)): Path<(String, String)>) -> Response {
    let path = format!("/files/{key}/{name}");
    let files = shared.files.lock();
    let found = files.0.iter().find(|(known, _)| *known == path).map(|(_, bytes)| bytes.clone());
    drop(files);
    match found {
        Some(bytes) => ([(header::CONTENT_TYPE, content_type(&bytes))], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The content type that matches the first bytes, as on the platform.
fn content_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => "audio/mpeg",
        [b'#', b'!', b'A', b'M', b'R', ..] => "audio/amr",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => "application/octet-stream",
    }
}
