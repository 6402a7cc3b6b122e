//! A file that an agent sent, on its way to the customer.

use serde::{Deserialize, Serialize};

use super::{MediaName, readable_size};

/// A file to send to the customer: as a picture, recording or video if WeChat accepts it, otherwise
/// as a text with a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The type under which the agent sent it. The bytes may turn out to be of another type.
    pub kind: AttachmentKind,
    /// Its URL in the object storage of the agent's platform.
    pub url: String,
    /// Its size in bytes, as the agent's client states it; 0 if the client does not.
    pub size: u64,
    /// The name under which the bridge keeps it after the download.
    pub name: MediaName,
    /// The label that replaces it in texts and notices, such as `[image]`; with the name of a file.
    pub label: String,
    /// A smaller version of a picture, in case that the picture itself cannot be sent.
    #[serde(default)]
    pub smaller: Option<SmallerPicture>,
}

/// A smaller version of a picture, made by the agent's platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallerPicture {
    /// Its URL in the object storage of the agent's platform.
    pub url: String,
    /// The name under which the bridge keeps it after the download.
    pub name: MediaName,
}

/// The type under which an attachment was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachmentKind {
    /// A picture.
    Image,
    /// A recording.
    Sound {
        /// Its length in seconds.
        second: u64,
    },
    /// A video, whose thumbnail is a separate file.
    Video {
        /// The URL of the thumbnail; empty if there is none.
        thumb_url: String,
        /// The name under which the bridge keeps the thumbnail.
        thumb: MediaName,
    },
    /// Any other file, which is offered by a link.
    File {
        /// Its base name.
        file_name: String,
    },
}

impl Attachment {
    /// The text that replaces the attachment: its label, the size of a file, and `link`.
    pub fn as_text(&self, link: &str) -> String {
        match self.kind {
            AttachmentKind::File { .. } if self.size > 0 => {
                format!("{} ({})\n{link}", self.label, readable_size(self.size))
            }
            _ => format!("{}\n{link}", self.label),
        }
    }

    /// The names under which the bridge keeps its files.
    pub fn names(&self) -> impl Iterator<Item = &MediaName> {
        let thumb = match &self.kind {
            AttachmentKind::Video { thumb, .. } => Some(thumb),
            AttachmentKind::Image | AttachmentKind::Sound { .. } | AttachmentKind::File { .. } => None,
        };
        let smaller = self.smaller.as_ref().map(|smaller| &smaller.name);
        std::iter::once(&self.name).chain(thumb).chain(smaller)
    }
}
