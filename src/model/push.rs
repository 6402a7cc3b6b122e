//! What WeChat pushes: a customer's message or an event.

use serde::{Deserialize, Serialize};

use super::OpenId;

/// One push, opened and parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The Official Account it was sent to (`ToUserName`, `gh_...`).
    pub account: String,
    /// The customer, or the platform's own id in job and authorisation events.
    pub from: OpenId,
    /// WeChat's time of the message, Unix seconds.
    pub create_time: i64,
    /// Equal for every repeat of this push and for no other push.
    pub key: SeenKey,
    /// The message or event itself.
    pub what: What,
}

/// The identity by which a repeat is recognised (reference: "Dedup rule").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenKey(pub String);

/// A message or an event.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Something the customer wrote or sent.
    Message(Content),
    /// Something the customer or the platform did.
    Event(Event),
}

/// A customer's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Text. `menu_id` (`bizmsgmenuid`) is set when it was tapped in a menu message rather than typed.
    Text { content: String, menu_id: Option<String> },
    /// A picture.
    Image { pic_url: String, media_id: String },
    /// A voice message; `media_id_16k` is the better recording where WeChat offers one.
    Voice { media_id: String, media_id_16k: Option<String>, format: String, recognition: Option<String> },
    /// A video.
    Video { media_id: String, thumb_media_id: String },
    /// A video taken inside the chat.
    ShortVideo { media_id: String, thumb_media_id: String },
    /// A place; degrees, `scale` is a map zoom.
    Location { latitude: f64, longitude: f64, scale: i64, label: String },
    /// A shared page.
    Link { title: String, description: String, url: String },
    /// A mini-program card.
    MiniProgramPage {
        title: String,
        app_id: String,
        page_path: String,
        thumb_url: String,
        thumb_media_id: String,
    },
    /// A kind this version does not know, by WeChat's name for it.
    Other { kind: String },
}

impl Content {
    /// WeChat's `MsgType`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text { .. } => "text",
            Self::Image { .. } => "image",
            Self::Voice { .. } => "voice",
            Self::Video { .. } => "video",
            Self::ShortVideo { .. } => "shortvideo",
            Self::Location { .. } => "location",
            Self::Link { .. } => "link",
            Self::MiniProgramPage { .. } => "miniprogrampage",
            Self::Other { kind } => kind,
        }
    }
}

/// What an event means to the bridge; all its other fields stay with the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The customer followed the account. Opens the short window.
    Subscribe,
    /// The customer left; their data must go.
    Unsubscribe,
    /// A QR code scanned by a follower. Opens the short window.
    Scan,
    /// A menu item of a kind that opens the short window (`CLICK`, `scancode_push`, `scancode_waitmsg`).
    MenuClick {
        /// WeChat's `Event`.
        name: String,
    },
    /// Any other event, by WeChat's name for it.
    Other {
        /// WeChat's `Event`.
        name: String,
    },
}

impl Event {
    /// WeChat's `Event`.
    pub fn name(&self) -> &str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Scan => "SCAN",
            Self::MenuClick { name } | Self::Other { name } => name,
        }
    }
}
