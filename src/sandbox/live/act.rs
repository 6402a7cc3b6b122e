//! What the page has customers and agents do. Each doing is checked, begun on the platform that it belongs to, and
//! goes on by itself.

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

/// The longest text, in bytes: more than either platform takes.
const TEXT_LIMIT: usize = 20_000;
/// The longest name, label or key, in bytes.
const WORD_LIMIT: usize = 200;
/// The largest file, in bytes.
const FILE_LIMIT: usize = 2 * 1024 * 1024;
const SAMPLE_PICTURE: &[u8] = include_bytes!("sample.png");
const SAMPLE_VOICE: &[u8] =
    b"#!AMR\n\x3c\x91\x17\x16\xbe\x66\x79\xe1\xe0\x01\xe7\xaf\xf0\x00\x00\x00\x80\x00\x00";
const SAMPLE_VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no such customer")]
    NoCustomer,
    #[error("there is no such agent")]
    NoAgent,
    #[error("the agent has no conversation with this customer")]
    NoConversation,
    #[error("who does not follow the account cannot write to it")]
    NotFollowing,
    #[error("the text is missing, or longer than 20,000 bytes")]
    Text,
    #[error("the name, label, key or place is missing, out of range, or longer than 200 bytes")]
    Word,
    #[error("the file is no base64, or larger than 2 MB")]
    File,
    #[error("there are too many customers")]
    TooManyCustomers,
    #[error("too much is under way")]
    TooMuch,
    #[error("the sandbox is ending")]
    Ending,
}

/// What a customer does.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum CustomerDoes {
    Follow {},
    Unfollow {},
    Text { text: String },
    Image { file: Option<String>, file_name: Option<String> },
    Voice { file: Option<String>, file_name: Option<String> },
    Video { file: Option<String>, file_name: Option<String> },
    Location { latitude: Option<f64>, longitude: Option<f64>, label: Option<String> },
    Link { text: Option<String>, label: Option<String> },
    Menu { key: String },
    Scan { key: Option<String> },
}

/// What an agent does in a conversation.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentDoes {
    Text { text: String },
    Image { file: Option<String>, file_name: Option<String> },
    File { file: Option<String>, file_name: Option<String> },
    Sound { file: Option<String>, file_name: Option<String> },
    Read {},
}

impl Live {
    /// A new customer, who does not follow yet; drawn as the page draws one.
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

    /// The customer does it; the push goes out by itself.
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

    /// The agent does it; the webhook goes out by itself.
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

    /// Waits until the stage is free.
    pub async fn open(&self) -> Result<(), Refused> {
        let mut gate = self.gate.subscribe();
        tokio::select! {
            open = gate.wait_for(|open| *open) => open.map(drop).map_err(|_| Refused::Ending),
            () = self.stop.cancelled() => Err(Refused::Ending),
        }
    }

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
        tracing::warn!(%refused, "the simulated IM refuses an agent's message");
    }
}

/// A doing of a customer's that can be carried out.
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

/// A text that may be sent: XML knows no other control characters.
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

fn word(word: Option<String>) -> Result<String, Refused> {
    word.filter(|word| !word.is_empty() && word.len() <= WORD_LIMIT && !word.contains(char::is_control))
        .ok_or(Refused::Word)
}

fn file_or(file: Option<String>, sample: &'static [u8]) -> Result<Bytes, Refused> {
    let Some(file) = file else { return Ok(Bytes::from_static(sample)) };
    let bytes = STANDARD.decode(file).map_err(|_| Refused::File)?;
    if bytes.is_empty() || bytes.len() > FILE_LIMIT { Err(Refused::File) } else { Ok(bytes.into()) }
}
