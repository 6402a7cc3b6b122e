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
    /// A page.
    News {
        /// The one article that WeChat allows.
        articles: [Article<'a>; 1],
    },
    /// A page of a mini-program.
    MiniProgramPage {
        /// The title.
        title: &'a str,
        /// The AppID of the mini-program.
        appid: &'a str,
        /// The page, with its parameters.
        pagepath: &'a str,
        /// The uploaded picture.
        thumb_media_id: &'a str,
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

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Article<'a> {
    /// The title.
    pub title: &'a str,
    /// The description.
    pub description: &'a str,
    /// The URL of the page.
    pub url: &'a str,
    /// The URL of the picture.
    pub picurl: &'a str,
}

impl Outgoing<'_> {
    /// WeChat's `msgtype`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::MsgMenu { .. } => "msgmenu",
            Self::News { .. } => "news",
            Self::MiniProgramPage { .. } => "miniprogrampage",
            Self::Image { .. } => "image",
            Self::Voice { .. } => "voice",
            Self::Video { .. } => "video",
        }
    }
}
