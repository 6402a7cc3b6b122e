//! The actions that the page performs as an agent, at a client with Tencent's kit. Each action is checked, then
//! runs in the background on the simulated IM.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Session;
use super::actions::{ActionError, SAMPLE_PICTURE, checked_text, checked_word, file_or_sample};
use crate::sandbox::im::{AgentClient, ApiError, MessageView};

/// The voice message that is sent when the page uploads none: AAC in an MPEG-4 file, as phones record it.
const SAMPLE_VOICE: &[u8] = include_bytes!("sample.m4a");
/// Messages that the sample of a merged forward contains.
const FORWARDED: usize = 3;

/// An action of an agent in a conversation, as the page requests it. Files are base64; a missing
/// file is replaced by a sample.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentAction {
    /// The composer's text changed: the kit may signal that the agent types, or no longer types.
    Compose {
        /// Whether the composer is empty, or was left.
        empty: bool,
    },
    /// Sends a text.
    Text {
        /// The text.
        text: String,
        /// The MsgKey of the message that the text quotes.
        quote: Option<String>,
    },
    /// The agent's own program sends a text over the REST API.
    Rest {
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
    /// Sends a sticker.
    Sticker {},
    /// Sends a card with a link.
    Card {},
    /// Forwards the last messages of the conversation as one.
    Forward {},
    /// Presses the call button, and hangs up.
    Call {},
    /// Takes a message back.
    Recall {
        /// The MsgKey of the message.
        message: String,
    },
    /// Marks the conversation as read.
    Read {},
}

/// What an agent does at the client itself, as the page requests it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientAction {
    /// Signs in. What has come meanwhile arrives.
    SignIn {},
    /// Signs out.
    SignOut {},
}

/// A checked action.
enum CheckedAction {
    Compose(&'static str),
    Send(Value),
    Quote(Box<MessageView>, String),
    Rest(String),
    Sticker,
    Card,
    Forward(Vec<String>),
    Call,
    Recall(String),
    Read,
}

impl Session {
    /// Performs an agent's action in the background; IM then calls the bridge's webhook.
    pub async fn act_as_agent(
        self: &Arc<Self>,
        agent: &str,
        customer: &str,
        action: AgentAction,
    ) -> Result<(), ActionError> {
        self.wait_until_open().await?;
        let desk = self.agent_client(agent)?;
        if !desk.is_signed_in() {
            // Nobody does these by hand, and the page may not know yet that the agent has signed out.
            let is_automatic = matches!(action, AgentAction::Read {} | AgentAction::Compose { .. });
            return if is_automatic { Ok(()) } else { Err(ActionError::SignedOut) };
        }
        if !desk.peers().iter().any(|peer| peer == customer) {
            return Err(ActionError::NoConversation);
        }
        let action = CheckedAction::check(&desk, customer, action)?;
        let customer = customer.to_owned();
        self.spawn_action(async move {
            if let Err(refused) = action.carry_out(&desk, &customer).await {
                tracing::warn!(%refused, "the simulated IM refused an agent's action; the action is dropped");
            }
        })
    }

    /// Signs an agent in or out in the background; IM then calls the bridge's webhook.
    pub async fn act_at_client(
        self: &Arc<Self>,
        agent: &str,
        action: ClientAction,
    ) -> Result<(), ActionError> {
        self.wait_until_open().await?;
        let desk = self.agent_client(agent)?;
        self.spawn_action(async move {
            match action {
                ClientAction::SignIn {} => desk.sign_in().await,
                ClientAction::SignOut {} => desk.sign_out().await,
            };
        })
    }

    fn agent_client(&self, agent: &str) -> Result<AgentClient, ActionError> {
        let desk = self.stage.agents().iter().find(|desk| desk.user_id() == agent);
        desk.cloned().ok_or(ActionError::NoAgent)
    }
}

impl CheckedAction {
    fn check(desk: &AgentClient, customer: &str, action: AgentAction) -> Result<Self, ActionError> {
        let find = |key: &str| {
            let found = desk.conversation(customer).into_iter().find(|message| message.key == key);
            found.ok_or(ActionError::NoMessage)
        };
        let store_file = |file, name: Option<String>, sample, sample_name: &str| {
            let bytes = file_or_sample(file, sample)?;
            let name = checked_word(name.or_else(|| Some(sample_name.to_owned())))?;
            Ok(desk.upload(&name, bytes))
        };
        let send = |element: Value| Self::Send(json!([element]));
        Ok(match action {
            AgentAction::Compose { empty } => Self::Compose(if empty { "" } else { "…" }),
            AgentAction::Text { text, quote: Some(key) } => {
                Self::Quote(Box::new(find(&key)?), checked_text(text)?)
            }
            AgentAction::Text { text, quote: None } => {
                send(json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": checked_text(text)?}}))
            }
            AgentAction::Rest { text } => Self::Rest(checked_text(text)?),
            AgentAction::Image { file, file_name } => {
                send(store_file(file, file_name, SAMPLE_PICTURE, "picture.png")?.image())
            }
            AgentAction::File { file, file_name } => {
                send(store_file(file, file_name, SAMPLE_PICTURE, "price-list.png")?.file())
            }
            AgentAction::Sound { file, file_name } => {
                send(store_file(file, file_name, SAMPLE_VOICE, "voice.m4a")?.sound(1))
            }
            AgentAction::Sticker {} => Self::Sticker,
            AgentAction::Card {} => Self::Card,
            AgentAction::Forward {} => {
                let all = desk.conversation(customer);
                let latest = all.iter().skip(all.len().saturating_sub(FORWARDED));
                Self::Forward(
                    latest.map(|message| format!("{}: {}", message.from, message.shown().text)).collect(),
                )
            }
            AgentAction::Call {} => Self::Call,
            AgentAction::Recall { message } => Self::Recall(find(&message)?.key.clone()),
            AgentAction::Read {} => Self::Read,
        })
    }

    async fn carry_out(self, desk: &AgentClient, customer: &str) -> Result<(), ApiError> {
        match self {
            Self::Compose(text) => desk.compose(customer, text).await.map(drop),
            Self::Send(elements) => desk.send(customer, elements).await.map(drop),
            Self::Quote(quoted, text) => desk.quote(customer, &quoted, &text).await.map(drop),
            Self::Rest(text) => desk.answer_by_rest(customer, &text).await.map(drop),
            Self::Sticker => desk.send_sticker(customer, 4350, "yz00@2x").await.map(drop),
            Self::Card => {
                let link = "https://shop.example.com/jackets";
                desk.send_link_card(customer, "Spring jackets", link).await.map(drop)
            }
            Self::Forward(lines) => desk.forward_merged(customer, "Chat history", &lines).await.map(drop),
            Self::Call => desk.press_call(customer).await.map(drop),
            Self::Recall(key) => desk.withdraw(customer, &key).await.map(drop),
            Self::Read => {
                desk.read(customer).await;
                Ok(())
            }
        }
    }
}
