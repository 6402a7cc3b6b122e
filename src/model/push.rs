//! A push from WeChat: a customer's message or an event.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::OpenId;

/// One push, decrypted and parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The Official Account it was sent to (`ToUserName`, `gh_...`); empty where neither the push nor the
    /// configuration names it. Such a push cannot be replied to.
    pub account: String,
    /// The customer, or the platform's own id in job and authorisation events.
    pub from: OpenId,
    /// WeChat's time of the push, in Unix seconds.
    pub create_time: i64,
    /// The same for every repeat of this push, and different for all other pushes.
    pub dedup_key: DedupKey,
    /// The message or event itself.
    pub body: PushBody,
}

impl Push {
    /// Whether the customer has left, so that the customer's data must be erased.
    pub fn is_unsubscribe(&self) -> bool {
        matches!(&self.body, PushBody::Event(event) if event.kind == EventKind::Unsubscribe)
    }
}

/// How long a repeat of a push or callback is recognised, milliseconds. A request that is older
/// could be one, so that it moves nothing.
pub const DEDUP_RETENTION_MS: i64 = 3 * 24 * 3600 * 1000;

/// The key by which the bridge recognises a repeated push (reference: "Dedup rule").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DedupKey {
    key: String,
    /// The length of the part before the time.
    without_time: Option<usize>,
}

impl DedupKey {
    /// A key that is complete.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), without_time: None }
    }

    /// The key of a message with `identity` that WeChat created at `time`, Unix seconds.
    pub fn of_message(identity: &str, time: i64) -> Self {
        Self { key: format!("{identity}:{time}"), without_time: Some(identity.len()) }
    }

    /// The key under which the push is recorded.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The key under which versions before schema 9 recorded a message, which had no time in it.
    pub fn earlier_form(&self) -> Option<&str> {
        self.key.get(..self.without_time?)
    }
}

/// A message or an event.
#[derive(Clone, Debug, PartialEq)]
pub enum PushBody {
    /// A message that the customer sent.
    Message(Content),
    /// An action of the customer or of the platform.
    Event(Event),
}

/// A customer's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        content: String,
        /// WeChat's `bizmsgmenuid`, if the customer tapped the text in a menu message.
        menu_id: Option<String>,
    },
    /// A picture.
    Image {
        /// A public URL of the picture.
        pic_url: String,
        /// WeChat's id for downloading it.
        media_id: String,
    },
    /// A voice message.
    Voice {
        /// WeChat's id for downloading it.
        media_id: String,
        /// The id of a recording of better quality, if WeChat offers one.
        media_id_16k: Option<String>,
        /// The format of the recording, such as `amr`.
        format: String,
        /// WeChat's transcript, if the account has speech recognition.
        recognition: Option<String>,
    },
    /// A video.
    Video {
        /// WeChat's id for downloading it.
        media_id: String,
        /// WeChat's id for downloading its thumbnail.
        thumb_media_id: String,
    },
    /// A video recorded in the chat.
    ShortVideo {
        /// WeChat's id for downloading it.
        media_id: String,
        /// WeChat's id for downloading its thumbnail.
        thumb_media_id: String,
    },
    /// A location.
    Location {
        /// Degrees.
        latitude: f64,
        /// Degrees.
        longitude: f64,
        /// The zoom level of the map.
        scale: i64,
        /// The name or address of the location.
        label: String,
    },
    /// A shared page.
    Link {
        /// The title of the page.
        title: String,
        /// The description of the page.
        description: String,
        /// The URL of the page.
        url: String,
    },
    /// A mini-program card.
    MiniProgramPage {
        /// The title of the card.
        title: String,
        /// The AppID of the mini-program.
        app_id: String,
        /// The path of the page inside the mini-program.
        page_path: String,
        /// A public URL of the thumbnail.
        thumb_url: String,
        /// WeChat's id for downloading the thumbnail.
        thumb_media_id: String,
    },
    /// A file. WeChat hands its bytes to nobody.
    File {
        /// Its name; may be empty.
        name: String,
        /// Its size in bytes, where WeChat says it.
        size: Option<u64>,
    },
    /// A message of a type that this version does not know.
    Other {
        /// WeChat's `MsgType`.
        kind: String,
    },
}

impl Content {
    /// WeChat's `MsgType`.
    pub fn msg_type(&self) -> &str {
        match self {
            Self::Text { .. } => "text",
            Self::Image { .. } => "image",
            Self::Voice { .. } => "voice",
            Self::Video { .. } => "video",
            Self::ShortVideo { .. } => "shortvideo",
            Self::Location { .. } => "location",
            Self::Link { .. } => "link",
            Self::MiniProgramPage { .. } => "miniprogrampage",
            Self::File { .. } => "file",
            Self::Other { kind } => kind,
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the bridge does about it.
    pub kind: EventKind,
    /// What agents and traces are shown of it.
    pub details: EventDetails,
}

/// The meaning of an event for the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The customer followed the account. Opens the short window for sends.
    Subscribe,
    /// The customer unfollowed the account, withdrew an authorization or closed the WeChat account. The bridge must
    /// erase the customer's data.
    Unsubscribe,
    /// A follower scanned a QR code. Opens the short window for sends.
    Scan,
    /// The customer chose a menu item of a type that opens the short window for sends (`CLICK`,
    /// `scancode_push`, `scancode_waitmsg`).
    MenuClick,
    /// Any other event, also one that this version does not know.
    Other,
}

/// The fields of an event that are kept. The parser drops all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetails {
    /// WeChat's `Event`, in the spelling of its documentation if the event is documented.
    pub name: String,
    /// `EventKey` as WeChat sent it: a menu item's key, a URL, a page, or a scene with its prefix.
    pub key: Option<String>,
    /// The scene of the QR code through which the customer came, without its prefix.
    pub scene: Option<String>,
    /// The ticket of that QR code.
    pub ticket: Option<String>,
    /// How a job of the platform ended, in WeChat's words; for a publishing job its number.
    pub status: Option<String>,
}

impl Event {
    /// WeChat's `Event`.
    pub fn name(&self) -> &str {
        &self.details.name
    }
}

/// A push that is from WeChat and for this account, but cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub struct UnreadablePush {
    /// The sender, where one can be made out.
    pub sender: Option<OpenId>,
    /// Why it cannot be read; nothing of its content.
    pub why: String,
    /// The body, decrypted.
    pub bytes: Vec<u8>,
}

/// Leaves the body out.
impl fmt::Debug for UnreadablePush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadablePush").field("why", &self.why).finish_non_exhaustive()
    }
}

impl fmt::Display for UnreadablePush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for UnreadablePush {}
