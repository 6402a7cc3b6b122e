//! The names of a media file: a content hash on disk, and a random name in a link.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The SHA-256 of a file's bytes, which is also its name on disk.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaHash(String);

/// The name of one medium in one conversation: 128 random bits, which its link contains.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaName(String);

/// The text is not a valid hash or name: it does not have this number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a medium must be {0} lower-case hexadecimal digits")]
pub struct InvalidMedia(usize);

fn check_hex(text: String, digits: usize) -> Result<String, InvalidMedia> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == digits && is_hex { Ok(text) } else { Err(InvalidMedia(digits)) }
}

impl MediaHash {
    /// Checks that `text` is a hash of 64 lower-case hexadecimal digits, and thus a safe file name.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidMedia> {
        check_hex(text.into(), 64).map(Self)
    }

    /// The hash made of these bytes.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(hex(&digest))
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MediaName {
    /// Checks that `text` is a name of 32 lower-case hexadecimal digits.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidMedia> {
        check_hex(text.into(), 32).map(Self)
    }

    /// The name made of these bits.
    pub fn of_bits(bits: u128) -> Self {
        Self(hex(&bits.to_be_bytes()))
    }

    /// The name as 32 lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl TryFrom<String> for MediaName {
    type Error = InvalidMedia;
    fn try_from(text: String) -> Result<Self, InvalidMedia> {
        Self::new(text)
    }
}

impl From<MediaName> for String {
    fn from(name: MediaName) -> String {
        name.0
    }
}

impl fmt::Debug for MediaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows only the first six digits, because the name is half of a link.
impl fmt::Debug for MediaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..6).unwrap_or_default())
    }
}

/// Who added a medium to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaOrigin {
    /// The customer sent it in WeChat.
    Customer,
    /// An agent sent it in IM.
    Agent,
}

/// A customer's medium as the agent receives it: its name, its link and its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// Its unique name in the bridge.
    pub name: MediaName,
    /// The signed link from which the agent's client loads it.
    pub link: String,
    /// The type of element that shows it.
    pub kind: MediaInfoKind,
}

/// The type of IM element that shows a medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaInfoKind {
    /// A picture.
    Image,
    /// A recording.
    Sound {
        /// The link to the customer's own recording, if `link` leads to a converted copy.
        original: Option<String>,
    },
    /// A video.
    Video {
        /// The name of its thumbnail.
        thumb: MediaName,
        /// The signed link to its thumbnail.
        thumb_link: String,
    },
}

impl MediaInfo {
    /// The text that replaces it: a label and the link.
    pub fn as_text(&self) -> String {
        let label = match self.kind {
            MediaInfoKind::Image => "[image]",
            MediaInfoKind::Sound { .. } => "[voice message]",
            MediaInfoKind::Video { .. } => "[video]",
        };
        format!("{label}\n{}", self.link)
    }
}

/// A request to download a medium from the platform on which it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRequest {
    /// The type of the medium, for the notice to the agent if the download fails.
    #[serde(rename = "what")]
    pub kind: MediaKind,
    /// The platform's ids for it, in order of preference. If the platform does not know one, the
    /// next is tried.
    pub ids: Vec<String>,
    /// A public URL to use if the platform does not serve the medium to us.
    pub url: Option<String>,
    /// The name under which to keep a copy converted to MP3, if one is needed.
    pub mp3: Option<MediaName>,
}

/// The type of a requested medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A recording.
    Voice,
    /// A video.
    Video,
    /// The thumbnail of a video. If its download fails, the agent gets no notice.
    Thumb,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_but_hexadecimal_digits() {
        assert_eq!(MediaName::of_bits(10).as_str(), "0000000000000000000000000000000a");
        assert_eq!(MediaHash::of_digest([255; 32]).as_str(), "f".repeat(64));
        for bad in ["", "..", "A", &"A".repeat(32), &format!("../{}", "a".repeat(29)), &"a".repeat(33)] {
            assert!(MediaName::new(bad).is_err() && MediaHash::new(bad).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", MediaName::of_bits(u128::MAX)).contains(&"f".repeat(7)));
    }
}
