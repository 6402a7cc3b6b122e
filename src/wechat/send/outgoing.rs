//! The messages of `custom/send`, in WeChat's JSON form.

use serde::Serialize;

use crate::model::MenuItem;

/// A message for `custom/send`, in WeChat's JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outgoing<'a> {
    /// Text.
    Text {
        /// The text; WeChat refuses more than 2,048 bytes.
        content: &'a str,
    },
    /// A menu, of which the customer taps one item.
    MsgMenu {
        /// The text above the items.
        #[serde(skip_serializing_if = "str::is_empty")]
        head_content: &'a str,
        /// The items.
        list: &'a [MenuItem],
        /// The text below the items.
        #[serde(skip_serializing_if = "str::is_empty")]
        tail_content: &'a str,
    },
    /// A picture.
    Image {
        /// The uploaded file.
        media_id: &'a str,
    },
    /// A recording.
    Voice {
        /// The uploaded file.
        media_id: &'a str,
    },
    /// A video.
    Video {
        /// The uploaded file.
        media_id: &'a str,
        /// The uploaded thumbnail.
        thumb_media_id: &'a str,
        /// The title.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        /// The description.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
    },
}

impl Outgoing<'_> {
    /// WeChat's `msgtype`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::MsgMenu { .. } => "msgmenu",
            Self::Image { .. } => "image",
            Self::Voice { .. } => "voice",
            Self::Video { .. } => "video",
        }
    }
}
