//! The facts about a medium that a client gets before it downloads the file, as far as the file is
//! here and shows them.

use std::io::{BufReader, Read as _, Seek as _};

use super::kind::{self, HEAD_BYTES, Kind};
use super::{Media, length};
use crate::model::MediaName;
use crate::store::Store;

/// The largest recording whose frames are counted, bytes. WeChat limits recordings to a minute;
/// this is enough for an hour.
const COUNTED: u64 = 4 * 1024 * 1024;

/// The facts about a medium's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The file's type.
    pub kind: Kind,
    /// The file's size in bytes.
    pub size: u64,
    /// A picture's width and height in pixels.
    pub pixels: Option<(u32, u32)>,
    /// A recording's length in seconds.
    pub seconds: Option<u64>,
}

impl Media {
    /// Measures a medium's file; `None` if the file is not here or cannot be read.
    pub async fn measure(&self, store: &Store, name: &MediaName) -> Option<Measured> {
        let name = name.clone();
        let file = store.read(move |tx| tx.medium(&name)).await.ok()??.file?;
        let path = self.files.path(&file.hash);
        let read = move || {
            let mut opened = std::fs::File::open(path)?;
            let mut head = Vec::with_capacity(HEAD_BYTES);
            opened.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
            opened.rewind()?;
            let kind = Kind::of(&head);
            let mut measured = Measured { kind, size: file.size, pixels: None, seconds: None };
            if kind.is_image() {
                measured.pixels = kind::pixels(BufReader::new(opened));
            } else if kind.is_sound() && file.size <= COUNTED {
                let mut recording = Vec::new();
                opened.take(COUNTED).read_to_end(&mut recording)?;
                measured.seconds = length::seconds(&recording);
            }
            Ok::<_, std::io::Error>(measured)
        };
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }
}
