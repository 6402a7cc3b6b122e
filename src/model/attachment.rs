//! A file that an agent sent, on its way to the customer.

use serde::{Deserialize, Serialize};

use super::MediaName;

/// What is to reach the customer as a picture, recording or video of its own, or else as a text with a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What the agent sent it as; what it really is its bytes tell.
    pub kind: AttachmentKind,
    /// Where the agent's platform has it.
    pub url: String,
    /// Bytes, as the agent's client says; 0: it does not.
    pub size: u64,
    /// Under which name it is kept here once it has been fetched.
    pub name: MediaName,
    /// What stands for it in a text and in a note: `[image]`.
    pub label: String,
}

/// What an attachment was sent as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachmentKind {
    /// A picture.
    Image,
    /// A recording; length in seconds.
    Sound { second: u64 },
    /// A video with its first picture, which is a file of its own; without one the address is empty.
    Video { thumb_url: String, thumb: MediaName },
}

impl Attachment {
    /// The text that stands for it, with a link to it.
    pub fn as_text(&self, link: &str) -> String {
        format!("{}\n{link}", self.label)
    }

    /// The names under which its files are kept here.
    pub fn names(&self) -> impl Iterator<Item = &MediaName> {
        let thumb = match &self.kind {
            AttachmentKind::Video { thumb, .. } => Some(thumb),
            AttachmentKind::Image | AttachmentKind::Sound { .. } => None,
        };
        std::iter::once(&self.name).chain(thumb)
    }
}
