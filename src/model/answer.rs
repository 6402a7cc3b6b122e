//! What an agent sends in IM.

use serde::{Deserialize, Serialize};

use super::ImUserId;

/// An agent's message, from an after-send callback or from IM's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The agent.
    pub from: ImUserId,
    /// The customer's account.
    pub to: ImUserId,
    /// IM's id of the message; unique together with `from` and `to`.
    pub msg_key: String,
    /// IM's time of the message, Unix seconds: the first key of its place in the conversation.
    pub msg_time: i64,
    /// The second key of its place in the conversation.
    pub msg_seq: u32,
    /// The sender's random number; with `msg_seq` and `msg_time` it is the same in every account of the message.
    pub msg_random: u32,
    /// The message's elements, in order.
    pub parts: Vec<AnswerPart>,
}

/// One element of an agent's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AnswerPart {
    /// Text.
    Text(String),
    /// A picture; `format` as IM numbers it (1 JPG, 2 GIF, 3 PNG, 4 BMP, 255 other).
    Image { url: String, size: u64, format: u32 },
    /// A recording; length in seconds.
    Sound { url: String, size: u64, second: u64 },
    /// A file, by its base name.
    File { url: String, size: u64, name: String },
    /// A video; length in seconds.
    Video { url: String, size: u64, second: u64, format: String, thumb_url: String },
    /// A place, in degrees.
    Location { latitude: f64, longitude: f64, description: String },
    /// An app-defined face.
    Face { index: i64, data: String },
    /// An app-defined payload.
    Custom { data: String, description: String },
    /// A forwarded conversation.
    Relay { title: String, text: String, lines: Vec<String> },
    /// An element this version does not know, by IM's name for it.
    Other { kind: String },
}
