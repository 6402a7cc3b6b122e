//! How a media file is named: by what is in it on disk, by a drawn name in a link.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The SHA-256 of a file's bytes, which is its name on disk.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaHash(String);

/// A medium of one conversation: 128 drawn bits, which stand in its link.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaName(String);

/// A text that is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a medium is {0} lower-case hexadecimal digits")]
pub struct InvalidMedia(usize);

fn checked(text: String, digits: usize) -> Result<String, InvalidMedia> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == digits && is_hex { Ok(text) } else { Err(InvalidMedia(digits)) }
}

impl MediaHash {
    /// Checks that `text` can be a hash, and so that it can be a file's name and nothing else.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidMedia> {
        checked(text.into(), 64).map(Self)
    }

    /// The hash with these bytes.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(hex(&digest))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MediaName {
    /// Checks that `text` can be a name.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidMedia> {
        checked(text.into(), 32).map(Self)
    }

    /// The name with these bits.
    pub fn of_bits(bits: u128) -> Self {
        Self(hex(&bits.to_be_bytes()))
    }

    /// 32 lower-case hexadecimal digits.
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

/// Whoever knows the name has half of a link, so that only its beginning is shown.
impl fmt::Debug for MediaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..6).unwrap_or_default())
    }
}

/// Who put a medium into the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The customer sent it, in WeChat.
    Customer,
    /// An agent sent it, in IM.
    Agent,
}

/// A medium of a customer's on its way to the agent: where the agent's client finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name here, which tells it from every other.
    pub name: MediaName,
    /// The signed link.
    pub link: String,
    /// As what it is shown.
    pub kind: ShownKind,
}

/// As what a medium is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShownKind {
    /// A picture.
    Image,
    /// A recording. `original`: the link to it as the customer's client made it, where the other is a copy.
    Sound { original: Option<String> },
    /// A video, with the name of and the link to its first picture.
    Video { thumb: MediaName, thumb_link: String },
}

impl Shown {
    /// The text that stands for it.
    pub fn as_text(&self) -> String {
        let label = match self.kind {
            ShownKind::Image => "[image]",
            ShownKind::Sound { .. } => "[voice message]",
            ShownKind::Video { .. } => "[video]",
        };
        format!("{label}\n{}", self.link)
    }
}

/// A medium that is still with the platform that it was sent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What it is, for those who are told that it could not be fetched.
    pub what: WantedKind,
    /// The platform's names for it; the next one is tried where one is not known there.
    pub ids: Vec<String>,
    /// Where anybody may fetch it, should the platform not give it to us.
    pub url: Option<String>,
    /// A copy as MP3 is to be kept under this name.
    pub mp3: Option<MediaName>,
}

/// What a wanted medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WantedKind {
    /// A picture.
    Image,
    /// A recording.
    Voice,
    /// A video.
    Video,
    /// The first picture of a video: nobody is told when it does not come.
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
