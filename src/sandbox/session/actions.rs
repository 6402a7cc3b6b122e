//! The actions that the page performs as a customer. Each action is checked, then runs in the background on
//! its platform. Also the checks that agents' actions share.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::event_log::Change;
use super::{MAX_CUSTOMERS, Session};
use crate::config::Locale;
use crate::sandbox::wechat::{Phone, PhoneLanguage, PushResult};

/// The longest text, in bytes: more than either platform accepts.
const TEXT_LIMIT: usize = 20_000;
/// The longest name, label or key, in bytes.
const WORD_LIMIT: usize = 200;
/// The largest file, in bytes.
const FILE_LIMIT: usize = 2 * 1024 * 1024;
/// The picture that is sent when the page uploads none.
pub(super) const SAMPLE_PICTURE: &[u8] = include_bytes!("sample.png");
/// The voice message that is sent when the page uploads none: one frame of AMR.
const SAMPLE_VOICE: &[u8] =
    b"#!AMR\n\x3c\x91\x17\x16\xbe\x66\x79\xe1\xe0\x01\xe7\xaf\xf0\x00\x00\x00\x80\x00\x00";
/// The video that is sent when the page uploads none: the head of an MP4 file.
const SAMPLE_VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";

/// The reasons why an action is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The openid is unknown.
    #[error("there is no such customer")]
    NoCustomer,
    /// The UserID is no agent's.
    #[error("there is no such agent")]
    NoAgent,
    /// The message does not exist.
    #[error("there is no such message")]
    NoMessage,
    /// An agent can write only to customers who wrote before.
    #[error("the agent has no conversation with this customer")]
    NoConversation,
    /// An agent who is signed out can only sign in.
    #[error("the agent is signed out")]
    SignedOut,
    /// A customer who does not follow can only follow.
    #[error("a customer who does not follow the account cannot write to it")]
    NotFollowing,
    /// The text is empty, too long, or has characters that XML forbids.
    #[error("the text is missing, longer than 20,000 bytes, or has control characters")]
    InvalidText,
    /// A name, label, key or position is invalid.
    #[error("the name, label, key or position is missing, out of range, or longer than 200 bytes")]
    InvalidWord,
    /// The file is invalid.
    #[error("the file is empty, not base64, or larger than 2 MB")]
    InvalidFile,
    /// The limit of customers is reached.
    #[error("there are too many customers")]
    TooManyCustomers,
    /// The limit of running actions is reached.
    #[error("too many actions are running")]
    TooManyActions,
    /// The sandbox is shutting down.
    #[error("the sandbox is shutting down")]
    ShuttingDown,
}

/// An action of a customer, as the page requests it. Files are base64; a missing file or value is
/// replaced by a sample.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum CustomerAction {
    /// Follows the account.
    Follow {},
    /// Unfollows the account.
    Unfollow {},
    /// Sends a text.
    Text {
        /// The text.
        text: String,
    },
    /// Sends a picture.
    Image {
        /// The file, in base64.
        file: Option<String>,
        /// Ignored: WeChat keeps no name.
        file_name: Option<String>,
    },
    /// Sends a voice message.
    Voice {
        /// The file, in base64.
        file: Option<String>,
        /// Ignored: WeChat keeps no name.
        file_name: Option<String>,
    },
    /// Sends a video.
    Video {
        /// The file, in base64.
        file: Option<String>,
        /// Ignored: WeChat keeps no name.
        file_name: Option<String>,
    },
    /// Sends a location.
    Location {
        /// Degrees north.
        latitude: Option<f64>,
        /// Degrees east.
        longitude: Option<f64>,
        /// The name of the place.
        label: Option<String>,
    },
    /// Sends a sticker.
    Sticker {},
    /// Sends a file, which WeChat does not pass on.
    File {},
    /// Shares a link.
    Link {
        /// The URL.
        text: Option<String>,
        /// The title.
        label: Option<String>,
    },
    /// Taps an item of the account's menu.
    Menu {
        /// The item's key.
        key: String,
    },
    /// Scans a QR code with a scene value.
    Scan {
        /// The scene value.
        key: Option<String>,
    },
}

impl Session {
    /// Adds a customer who does not follow yet, and returns the JSON that the page draws.
    pub async fn new_customer(&self, name: Option<String>) -> Result<Value, ActionError> {
        self.wait_until_open().await?;
        if self.stage.wechat.phones().len() >= MAX_CUSTOMERS {
            return Err(ActionError::TooManyCustomers);
        }
        let name = name.map(|name| checked_word(Some(name))).transpose()?;
        let phone = self.add_customer(name);
        self.event_log.add_change(Change::Customer(phone.openid().into()));
        Ok(super::view::customer(self, &phone))
    }

    /// Performs a customer's action in the background; WeChat then pushes it to the bridge.
    pub async fn act_as_customer(
        self: &Arc<Self>,
        openid: &str,
        action: CustomerAction,
    ) -> Result<(), ActionError> {
        self.wait_until_open().await?;
        if !self.stage.wechat.has_customer(openid) {
            return Err(ActionError::NoCustomer);
        }
        let phone = self.stage.wechat.customer(openid);
        if !phone.is_following() && !matches!(action, CustomerAction::Follow {}) {
            return Err(ActionError::NotFollowing);
        }
        let action = CheckedAction::check(action)?;
        let language = match self.texts.locale {
            Locale::Zh => PhoneLanguage::Chinese,
            Locale::En | Locale::Ko => PhoneLanguage::English,
        };
        self.spawn_action(async move {
            action.carry_out(&phone, language).await;
        })
    }

    /// Waits until customers and agents may act: the script has ended.
    pub async fn wait_until_open(&self) -> Result<(), ActionError> {
        let mut may_act = self.may_act.subscribe();
        tokio::select! {
            open = may_act.wait_for(|open| *open) => open.map(drop).map_err(|_| ActionError::ShuttingDown),
            () = self.stop.cancelled() => Err(ActionError::ShuttingDown),
        }
    }

    /// Runs an action in the background until it ends or the sandbox stops.
    pub(super) fn spawn_action(
        self: &Arc<Self>,
        action: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ActionError> {
        let permit =
            Arc::clone(&self.action_permits).try_acquire_owned().map_err(|_| ActionError::TooManyActions)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = action => {}
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
        Ok(())
    }
}

/// A checked action of a customer.
enum CheckedAction {
    Follow,
    Unfollow,
    Text(String),
    Image(Bytes),
    Voice(Bytes),
    Video(Bytes),
    Location(f64, f64, String),
    Sticker,
    File,
    Link(String, String),
    Menu(String),
    Scan(String),
}

impl CheckedAction {
    fn check(action: CustomerAction) -> Result<Self, ActionError> {
        Ok(match action {
            CustomerAction::Follow {} => Self::Follow,
            CustomerAction::Unfollow {} => Self::Unfollow,
            CustomerAction::Text { text } => Self::Text(checked_text(text)?),
            CustomerAction::Image { file, .. } => Self::Image(file_or_sample(file, SAMPLE_PICTURE)?),
            CustomerAction::Voice { file, .. } => Self::Voice(file_or_sample(file, SAMPLE_VOICE)?),
            CustomerAction::Video { file, .. } => Self::Video(file_or_sample(file, SAMPLE_VIDEO)?),
            CustomerAction::Location { latitude, longitude, label } => {
                let (latitude, longitude) = (latitude.unwrap_or(37.5665), longitude.unwrap_or(126.978));
                if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
                    return Err(ActionError::InvalidWord);
                }
                Self::Location(
                    latitude,
                    longitude,
                    checked_word(label.or_else(|| Some("Seoul City Hall".into())))?,
                )
            }
            CustomerAction::Sticker {} => Self::Sticker,
            CustomerAction::File {} => Self::File,
            CustomerAction::Link { text, label } => Self::Link(
                checked_word(label.or_else(|| Some("Spring jackets".into())))?,
                checked_text(text.unwrap_or_else(|| "https://shop.example.com/jackets".into()))?,
            ),
            CustomerAction::Menu { key } => Self::Menu(checked_word(Some(key))?),
            CustomerAction::Scan { key } => Self::Scan(checked_word(key.or_else(|| Some("door".into())))?),
        })
    }

    async fn carry_out(self, phone: &Phone, language: PhoneLanguage) -> PushResult {
        match self {
            Self::Follow => phone.follow().await,
            Self::Unfollow => phone.unfollow().await,
            Self::Text(text) => phone.say(&text).await,
            Self::Image(file) => phone.send_image(file).await,
            Self::Voice(file) => phone.send_voice(file, "amr").await,
            Self::Video(file) => phone.send_video(file, SAMPLE_PICTURE).await,
            Self::Location(latitude, longitude, label) => {
                phone.send_location(latitude, longitude, 15, &label).await
            }
            Self::Sticker => phone.send_sticker(language).await,
            Self::File => phone.send_file("contract.pdf", 10_240).await,
            Self::Link(title, url) => phone.send_link(&title, "", &url).await,
            Self::Menu(key) => phone.tap_menu("CLICK", &key).await,
            Self::Scan(scene) => phone.scan(&scene).await,
        }
    }
}

/// Checks a text: XML allows only these control characters.
pub(super) fn checked_text(text: String) -> Result<String, ActionError> {
    let is_forbidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
    };
    if text.is_empty() || text.len() > TEXT_LIMIT || text.contains(is_forbidden) {
        Err(ActionError::InvalidText)
    } else {
        Ok(text)
    }
}

/// Checks a name, label or key.
pub(super) fn checked_word(word: Option<String>) -> Result<String, ActionError> {
    word.filter(|word| !word.is_empty() && word.len() <= WORD_LIMIT && !word.contains(char::is_control))
        .ok_or(ActionError::InvalidWord)
}

/// Decodes an uploaded file, or returns the sample.
pub(super) fn file_or_sample(file: Option<String>, sample: &'static [u8]) -> Result<Bytes, ActionError> {
    let Some(file) = file else { return Ok(Bytes::from_static(sample)) };
    let bytes = STANDARD.decode(file).map_err(|_| ActionError::InvalidFile)?;
    if bytes.is_empty() || bytes.len() > FILE_LIMIT {
        Err(ActionError::InvalidFile)
    } else {
        Ok(bytes.into())
    }
}
