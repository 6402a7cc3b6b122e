//! The actions that the page performs as a customer or an agent. Each action is checked, then runs
//! in the background on its platform.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::book::Change;
use super::{Live, MAX_CUSTOMERS};
use crate::sandbox::im::Desk;
use crate::sandbox::wechat::{Phone, Pushed};

/// The longest text, in bytes: more than either platform accepts.
const TEXT_LIMIT: usize = 20_000;
/// The longest name, label or key, in bytes.
const WORD_LIMIT: usize = 200;
/// The largest file, in bytes.
const FILE_LIMIT: usize = 2 * 1024 * 1024;
/// The picture that is sent when the page uploads none.
const SAMPLE_PICTURE: &[u8] = include_bytes!("sample.png");
/// The voice message that is sent when the page uploads none: one frame of AMR.
const SAMPLE_VOICE: &[u8] =
    b"#!AMR\n\x3c\x91\x17\x16\xbe\x66\x79\xe1\xe0\x01\xe7\xaf\xf0\x00\x00\x00\x80\x00\x00";
/// The video that is sent when the page uploads none: the head of an MP4 file.
const SAMPLE_VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";

/// The reasons why an action is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The openid is unknown.
    #[error("there is no such customer")]
    NoCustomer,
    /// The UserID is no agent's.
    #[error("there is no such agent")]
    NoAgent,
    /// An agent can write only to customers who wrote before.
    #[error("the agent has no conversation with this customer")]
    NoConversation,
    /// A customer who does not follow can only follow.
    #[error("a customer who does not follow the account cannot write to it")]
    NotFollowing,
    /// The text is empty, too long, or has characters that XML forbids.
    #[error("the text is missing, longer than 20,000 bytes, or has control characters")]
    Text,
    /// A name, label, key or position is invalid.
    #[error("the name, label, key or position is missing, out of range, or longer than 200 bytes")]
    Word,
    /// The file is invalid.
    #[error("the file is empty, not base64, or larger than 2 MB")]
    File,
    /// The limit of customers is reached.
    #[error("there are too many customers")]
    TooManyCustomers,
    /// The limit of running actions is reached.
    #[error("too many actions are running")]
    TooMuch,
    /// The sandbox is shutting down.
    #[error("the sandbox is shutting down")]
    Ending,
}

/// An action of a customer, as the page requests it. Files are base64; a missing file or value is
/// replaced by a sample.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum CustomerDoes {
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

/// An action of an agent in a conversation, as the page requests it. Files are base64; a missing
/// file is replaced by a sample.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentDoes {
    /// Sends a text.
    Text {
        /// The text.
        text: String,
    },
    /// Sends a picture.
    Image {
        /// The file, in base64.
        file: Option<String>,
        /// The file's name.
        file_name: Option<String>,
    },
    /// Sends a file.
    File {
        /// The file, in base64.
        file: Option<String>,
        /// The file's name.
        file_name: Option<String>,
    },
    /// Sends a voice message.
    Sound {
        /// The file, in base64.
        file: Option<String>,
        /// The file's name.
        file_name: Option<String>,
    },
    /// Marks the conversation as read.
    Read {},
}

impl Live {
    /// Adds a customer who does not follow yet, and returns the JSON that the page draws.
    pub async fn new_customer(&self, name: Option<String>) -> Result<Value, Refused> {
        self.open().await?;
        if self.stage.wechat.phones().len() >= MAX_CUSTOMERS {
            return Err(Refused::TooManyCustomers);
        }
        let name = name.map(|name| word(Some(name))).transpose()?;
        let phone = self.add_customer(name);
        self.book.change(Change::Customer(phone.openid().into()));
        Ok(super::view::customer(self, &phone))
    }

    /// Performs a customer's action in the background; WeChat then pushes it to the bridge.
    pub async fn customer_does(self: &Arc<Self>, openid: &str, does: CustomerDoes) -> Result<(), Refused> {
        self.open().await?;
        if !self.stage.wechat.has_customer(openid) {
            return Err(Refused::NoCustomer);
        }
        let phone = self.stage.wechat.customer(openid);
        if !phone.is_following() && !matches!(does, CustomerDoes::Follow {}) {
            return Err(Refused::NotFollowing);
        }
        let deed = Deed::check(does)?;
        self.go(async move {
            deed.carry_out(&phone).await;
        })
    }

    /// Performs an agent's action in the background; IM then calls the bridge's webhook.
    pub async fn agent_does(
        self: &Arc<Self>,
        agent: &str,
        customer: &str,
        does: AgentDoes,
    ) -> Result<(), Refused> {
        self.open().await?;
        let desk = self.stage.agents().iter().find(|desk| desk.user_id() == agent);
        let desk = desk.ok_or(Refused::NoAgent)?.clone();
        if !desk.peers().iter().any(|peer| peer == customer) {
            return Err(Refused::NoConversation);
        }
        let elements = match does {
            AgentDoes::Read {} => None,
            does => Some(self.elements(does)?),
        };
        let customer = customer.to_owned();
        self.go(async move {
            match elements {
                Some(elements) => send(&desk, &customer, elements).await,
                None => desk.read(&customer).await,
            }
        })
    }

    /// The `MsgBody` of an agent's message; its file is stored on the simulated IM.
    fn elements(&self, does: AgentDoes) -> Result<Value, Refused> {
        let keep = |file: Option<String>, name: Option<String>, sample: &'static [u8], sample_name: &str| {
            let bytes = file_or(file, sample)?;
            let name = word(name.or_else(|| Some(sample_name.to_owned())))?;
            let url = self.stage.im.keep_file(&name, bytes.clone());
            Ok((url, name, bytes.len()))
        };
        let element = match does {
            AgentDoes::Read {} => return Ok(json!([])),
            AgentDoes::Text { text } => {
                json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": said(text)?}})
            }
            AgentDoes::Image { file, file_name } => {
                let (url, name, size) = keep(file, file_name, SAMPLE_PICTURE, "picture.png")?;
                let size =
                    |kind: u8| json!({"Type": kind, "Size": size, "Width": 96, "Height": 96, "URL": url});
                json!({"MsgType": "TIMImageElem", "MsgContent": {
                    "UUID": name, "ImageFormat": 255, "ImageInfoArray": [size(1), size(2), size(3)],
                }})
            }
            AgentDoes::File { file, file_name } => {
                let (url, name, size) = keep(file, file_name, SAMPLE_PICTURE, "price-list.png")?;
                json!({"MsgType": "TIMFileElem", "MsgContent": {
                    "Url": url, "UUID": name, "FileSize": size, "FileName": name, "Download_Flag": 2,
                }})
            }
            AgentDoes::Sound { file, file_name } => {
                let (url, name, size) = keep(file, file_name, SAMPLE_VOICE, "voice.amr")?;
                json!({"MsgType": "TIMSoundElem", "MsgContent": {
                    "Url": url, "UUID": name, "Size": size, "Second": 1, "Download_Flag": 2,
                }})
            }
        };
        Ok(json!([element]))
    }

    /// Waits until customers and agents may act: the script has ended.
    pub async fn open(&self) -> Result<(), Refused> {
        let mut gate = self.gate.subscribe();
        tokio::select! {
            open = gate.wait_for(|open| *open) => open.map(drop).map_err(|_| Refused::Ending),
            () = self.stop.cancelled() => Err(Refused::Ending),
        }
    }

    /// Runs an action in the background until it ends or the sandbox stops.
    fn go(self: &Arc<Self>, doing: impl Future<Output = ()> + Send + 'static) -> Result<(), Refused> {
        let place = Arc::clone(&self.doings).try_acquire_owned().map_err(|_| Refused::TooMuch)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = doing => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
        Ok(())
    }
}

async fn send(desk: &Desk, customer: &str, elements: Value) {
    if let Err(refused) = desk.send(customer, elements).await {
        tracing::warn!(%refused, "the simulated IM refused an agent's message; the message is dropped");
    }
}

/// A checked action of a customer.
enum Deed {
    Follow,
    Unfollow,
    Text(String),
    Image(Bytes),
    Voice(Bytes),
    Video(Bytes),
    Location(f64, f64, String),
    Link(String, String),
    Menu(String),
    Scan(String),
}

impl Deed {
    fn check(does: CustomerDoes) -> Result<Self, Refused> {
        Ok(match does {
            CustomerDoes::Follow {} => Self::Follow,
            CustomerDoes::Unfollow {} => Self::Unfollow,
            CustomerDoes::Text { text } => Self::Text(said(text)?),
            CustomerDoes::Image { file, .. } => Self::Image(file_or(file, SAMPLE_PICTURE)?),
            CustomerDoes::Voice { file, .. } => Self::Voice(file_or(file, SAMPLE_VOICE)?),
            CustomerDoes::Video { file, .. } => Self::Video(file_or(file, SAMPLE_VIDEO)?),
            CustomerDoes::Location { latitude, longitude, label } => {
                let (latitude, longitude) = (latitude.unwrap_or(37.5665), longitude.unwrap_or(126.978));
                if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
                    return Err(Refused::Word);
                }
                Self::Location(latitude, longitude, word(label.or_else(|| Some("Seoul City Hall".into())))?)
            }
            CustomerDoes::Link { text, label } => Self::Link(
                word(label.or_else(|| Some("Spring jackets".into())))?,
                said(text.unwrap_or_else(|| "https://shop.example.com/jackets".into()))?,
            ),
            CustomerDoes::Menu { key } => Self::Menu(word(Some(key))?),
            CustomerDoes::Scan { key } => Self::Scan(word(key.or_else(|| Some("door".into())))?),
        })
    }

    async fn carry_out(self, phone: &Phone) -> Pushed {
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
            Self::Link(title, url) => phone.send_link(&title, "", &url).await,
            Self::Menu(key) => phone.tap_menu("CLICK", &key).await,
            Self::Scan(scene) => phone.scan(&scene).await,
        }
    }
}

/// Checks a text: XML allows only these control characters.
fn said(text: String) -> Result<String, Refused> {
    let is_odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
    };
    if text.is_empty() || text.len() > TEXT_LIMIT || text.contains(is_odd) {
        Err(Refused::Text)
    } else {
        Ok(text)
    }
}

/// Checks a name, label or key.
fn word(word: Option<String>) -> Result<String, Refused> {
    word.filter(|word| !word.is_empty() && word.len() <= WORD_LIMIT && !word.contains(char::is_control))
        .ok_or(Refused::Word)
}

/// Decodes an uploaded file, or returns the sample.
fn file_or(file: Option<String>, sample: &'static [u8]) -> Result<Bytes, Refused> {
    let Some(file) = file else { return Ok(Bytes::from_static(sample)) };
    let bytes = STANDARD.decode(file).map_err(|_| Refused::File)?;
    if bytes.is_empty() || bytes.len() > FILE_LIMIT { Err(Refused::File) } else { Ok(bytes.into()) }
}
