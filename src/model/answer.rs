//! A message that an agent sends in IM.

use serde::{Deserialize, Serialize};

use super::{Card, CardProblem, ImUserId};

/// An agent's message, from an after-send callback or from IM's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The agent who sent it.
    pub from: ImUserId,
    /// The customer's IM account that received it.
    pub to: ImUserId,
    /// IM's id of the message (`MsgKey`); unique together with `from` and `to`.
    pub msg_key: String,
    /// IM's time of the message, in Unix seconds: the first sort key within the conversation.
    pub msg_time: i64,
    /// IM's `MsgSeq`: the second sort key within the conversation.
    pub msg_seq: u32,
    /// The sender's random number (`MsgRandom`). Together with `msg_seq` and `msg_time` it
    /// identifies the message both in its callback and in IM's history.
    pub msg_random: u32,
    /// The beginning of the message that this one answers, as the agent's client shows it; it may begin with the
    /// bridge's own words.
    pub quoted: Option<String>,
    /// The message's elements, in order.
    pub parts: Vec<AnswerPart>,
}

impl Answer {
    /// What identifies the message.
    pub fn id(&self) -> AnswerId {
        AnswerId { from: self.from.clone(), to: self.to.clone(), msg_key: self.msg_key.clone() }
    }
}

/// Something that happens in an agent's client and that the bridge needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentEvent {
    /// A message was sent.
    Sent,
    /// A message was recalled.
    Recalled,
    /// A message was edited.
    Edited,
}

impl AgentEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Sent, Self::Recalled, Self::Edited];

    /// The name in the store and in `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "after_send",
            Self::Recalled => "recall",
            Self::Edited => "edit",
        }
    }
}

/// What identifies an agent's message: of a message that the agent recalls or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerId {
    /// The agent who sent it.
    pub from: ImUserId,
    /// The customer's IM account that received it.
    pub to: ImUserId,
    /// IM's id of the message (`MsgKey`).
    pub msg_key: String,
}

/// A new version of an agent's message.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerEdit {
    /// The whole message as it is now.
    pub answer: Answer,
    /// IM's time of the change, in Unix milliseconds: callbacks may overtake one another.
    pub edited_at_ms: i64,
}

/// A signal that an agent starts or stops typing. It is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingSignal {
    /// The agent.
    pub agent: ImUserId,
    /// The account of the customer whom the agent writes to.
    pub to: ImUserId,
    /// Whether the agent types now.
    pub is_typing: bool,
}

/// Why an element cannot go to a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Untranslatable {
    /// A call: WeChat customers cannot be called.
    Call,
    /// A form, a group or a meeting, or a payload without words.
    Custom,
}

/// One element of an agent's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AnswerPart {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Its URL in IM's object storage.
        url: String,
        /// The URL of a smaller version, if there is one.
        #[serde(default)]
        smaller: Option<String>,
        /// Its size in bytes, as the agent's client states it.
        size: u64,
        /// IM's number of the format: 1 JPG, 2 GIF, 3 PNG, 4 BMP, 255 other.
        format: u32,
    },
    /// A recording.
    Sound {
        /// Its URL in IM's object storage.
        url: String,
        /// Its size in bytes, as the agent's client states it.
        size: u64,
        /// Its length in seconds.
        second: u64,
    },
    /// A file.
    File {
        /// Its URL in IM's object storage.
        url: String,
        /// Its size in bytes, as the agent's client states it.
        size: u64,
        /// Its base name.
        name: String,
    },
    /// A video.
    Video {
        /// Its URL in IM's object storage.
        url: String,
        /// Its size in bytes, as the agent's client states it.
        size: u64,
        /// Its length in seconds.
        second: u64,
        /// Its format, as IM names it, such as `mp4`.
        format: String,
        /// The URL of its thumbnail; empty if it has none.
        thumb_url: String,
    },
    /// A location.
    Location {
        /// Degrees.
        latitude: f64,
        /// Degrees.
        longitude: f64,
        /// The sender's description of the location.
        description: String,
    },
    /// An emoji or sticker that the app defines.
    Face {
        /// Its number.
        index: i64,
        /// The app's own data.
        data: String,
    },
    /// The words of an app-defined element.
    Custom {
        /// What a customer reads of it.
        text: String,
    },
    /// An element that WeChat has nothing for.
    Untranslatable(Untranslatable),
    /// A card for the customer.
    Card(Card),
    /// A card that WeChat would not take.
    BadCard(CardProblem),
    /// A forwarded conversation.
    Relay {
        /// Its title.
        title: String,
        /// The text that IM provides for clients that cannot show it.
        text: String,
        /// The abstract, one entry a line.
        lines: Vec<String>,
    },
    /// An element that this version does not know.
    Other {
        /// IM's name for its type.
        kind: String,
    },
}
