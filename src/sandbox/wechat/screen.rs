//! What a customer's phone shows.

use std::sync::Arc;

use super::media::Media;
use crate::model::Millis;

/// How an entry came onto the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By the passive reply to a push.
    Passive,
    /// By a call of `custom/send`.
    CustomSend,
    /// As WeChat's own grey line, which says that the service is at fault.
    Fault,
}

/// One entry of a screen.
#[derive(Clone, Debug)]
pub struct ScreenEntry {
    /// When the entry appeared.
    pub at: Millis,
    /// How the entry came onto the screen.
    pub via: Via,
    /// The message type, or `fault` for the fault line.
    pub kind: String,
    /// The text of a text message, the titles of another kind.
    pub text: String,
    /// The image, voice or video.
    pub media: Option<Arc<Media>>,
}
