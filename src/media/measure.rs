//! The facts about a medium that a client gets before it downloads the file, as far as the file is
//! here and shows them.

use std::io::{BufReader, Read as _, Seek as _};

use super::file_type::{self, FileType, HEAD_BYTES};
use super::{Media, duration};
use crate::model::MediaName;
use crate::store::Store;

/// The largest recording whose frames are counted, bytes. WeChat limits recordings to a minute;
/// this is enough for an hour.
const MAX_COUNTED_BYTES: u64 = 4 * 1024 * 1024;

/// The facts about a medium's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// The file's type.
    pub kind: FileType,
    /// The file's size in bytes.
    pub size: u64,
    /// A picture's width and height in pixels.
    pub pixels: Option<(u32, u32)>,
    /// A recording's or a video's length in seconds.
    pub seconds: Option<u64>,
}

impl Media {
    /// Measures a medium's file; `None` if the file is not here or cannot be read.
    pub async fn measure(&self, store: &Store, name: &MediaName) -> Option<FileInfo> {
        let name = name.clone();
        let file = store.read(move |tx| tx.medium(&name)).await.ok()??.file?;
        // It may have to come from the database first.
        self.files.read(&file.hash).await.ok()??;
        let path = self.files.path(&file.hash);
        let read = move || {
            let mut opened = std::fs::File::open(path)?;
            let mut head = Vec::with_capacity(HEAD_BYTES);
            opened.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
            opened.rewind()?;
            let kind = FileType::detect(&head);
            let mut info = FileInfo { kind, size: file.size, pixels: None, seconds: None };
            if kind.is_image() {
                info.pixels = file_type::pixels(BufReader::new(opened));
            } else if kind.is_audio() && kind != FileType::M4a && file.size <= MAX_COUNTED_BYTES {
                let mut recording = Vec::new();
                opened.take(MAX_COUNTED_BYTES).read_to_end(&mut recording)?;
                info.seconds = duration::seconds(&recording);
            } else if kind.is_video() || kind == FileType::M4a {
                info.seconds = duration::mp4_seconds(BufReader::new(opened));
            }
            Ok::<_, std::io::Error>(info)
        };
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }
}
