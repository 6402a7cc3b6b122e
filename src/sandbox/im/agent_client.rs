//! An agent's client of the simulated IM: shows the inbox, and sends, reads and recalls messages.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::Shared;
use super::callback::{self, CallbackResult, Webhook};
use super::checks::ApiError;
use super::deliver::{DEFAULT_FLAGS, ForbiddenWebhooks, MAX_LIFETIME_S, MessageDraft, Origin, deliver};
use super::elements::{self, Sender};
use super::history::{ConversationView, Message};

/// What an agent's client runs on. Its kit behaves accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// A browser.
    Web,
    /// An Android phone.
    Android,
}

impl Platform {
    /// The `OptPlatform` of webhooks.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Web => "Web",
            Self::Android => "Android",
        }
    }
}

/// An agent's client. `ImSim::agent` creates it, in a browser.
#[derive(Clone)]
pub struct AgentClient {
    pub(super) shared: Arc<Shared>,
    /// The agent's UserID.
    pub(super) user: String,
    /// What the client runs on.
    pub(super) platform: Platform,
}

/// A message as the agent sees it.
#[derive(Clone, Debug)]
pub struct MessageView {
    /// The message.
    pub message: Arc<Message>,
    /// Whether the message is addressed to this agent and not read yet.
    pub unread: bool,
}

impl Deref for MessageView {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A message that the agent has sent.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The `MsgKey`.
    pub msg_key: String,
    /// The bridge's answer to the webhook. `None` if no webhook was sent, because it is switched
    /// off, has no URL, or was lost on purpose.
    pub callback: Option<CallbackResult>,
    /// The webhook of the message, if it caused one.
    pub(super) webhook: Option<Webhook>,
}

/// The awaited condition did not hold within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the condition did not hold within {0:?}")]
pub struct TimedOut(pub Duration);

impl AgentClient {
    /// The agent's UserID.
    pub fn user_id(&self) -> &str {
        &self.user
    }

    /// The same agent at a phone.
    pub fn on_phone(mut self) -> Self {
        self.platform = Platform::Android;
        self
    }

    /// The messages that reached the agent while connected or at the next login, in order of
    /// arrival.
    pub fn inbox(&self) -> Vec<MessageView> {
        let messages = self.shared.world().messages.inbox(&self.user);
        messages.into_iter().map(|message| self.view(message)).collect()
    }

    /// The conversation with a customer in both directions, oldest first, without recalled
    /// messages.
    pub fn conversation(&self, customer: &str) -> Vec<MessageView> {
        let world = self.shared.world();
        let view = ConversationView {
            operator: &self.user,
            peer: customer,
            first_serial: world.accounts.get(&self.user).map_or(0, |account| account.first_serial),
            now: self.shared.clock.now(),
            delay: 0,
        };
        let newest = (i64::MAX, u32::MAX, u64::MAX);
        let mut messages: Vec<_> = world
            .messages
            .newest_first(view, 0, newest)
            .filter(|message| !message.is_recalled())
            .map(|message| self.view(Arc::clone(message)))
            .collect();
        messages.reverse();
        messages
    }

    /// The UserIDs with which the agent has a conversation, sorted.
    pub fn peers(&self) -> Vec<String> {
        self.shared.world().messages.peers(&self.user)
    }

    fn view(&self, message: Arc<Message>) -> MessageView {
        MessageView { unread: message.to == self.user && message.is_unread(), message }
    }

    /// Waits until `condition` holds for the inbox. Returns that inbox.
    pub async fn wait_for(
        &self,
        mut condition: impl FnMut(&[MessageView]) -> bool,
        timeout: Duration,
    ) -> Result<Vec<MessageView>, TimedOut> {
        let mut changes = self.shared.changes();
        let wait = async {
            loop {
                let inbox = self.inbox();
                if condition(&inbox) {
                    return Some(inbox);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, wait).await.ok().flatten().ok_or(TimedOut(timeout))
    }

    /// Sends a text.
    pub async fn say(&self, to: &str, text: &str) -> Result<SentMessage, ApiError> {
        self.send(to, json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}])).await
    }

    /// Sends a `MsgBody`, an array of elements of any type that a client may send. When this
    /// returns, the message is in history and its webhook was answered or given up.
    pub async fn send(&self, to: &str, elements: Value) -> Result<SentMessage, ApiError> {
        self.send_with(to, elements, "").await
    }

    /// Sends a `MsgBody` with `CloudCustomData`. A typing signal to the same customer ends.
    pub async fn send_with(&self, to: &str, elements: Value, custom: &str) -> Result<SentMessage, ApiError> {
        elements::check(Some(&elements), Sender::Client)?;
        if elements.to_string().len() + custom.len() > self.shared.settings().body_limit {
            return Err(ApiError::new(80002, "the message is too long"));
        }
        self.compose(to, "").await?;
        self.deliver(self.draft(to, elements, custom)).await
    }

    /// A message of this client to `to`, with the next `MsgSeq`.
    pub(super) fn draft(&self, to: &str, elements: Value, custom: &str) -> MessageDraft {
        MessageDraft {
            from: self.user.clone(),
            to: to.to_owned(),
            seq: Some(self.shared.client_seq.fetch_add(1, Ordering::Relaxed)),
            random: rand::random(),
            elements: Arc::new(elements),
            cloud_custom_data: custom.to_owned(),
            flags: DEFAULT_FLAGS,
            lifetime: MAX_LIFETIME_S,
            webhooks: ForbiddenWebhooks::default(),
            origin: Origin::Client { platform: self.platform.name() },
        }
    }

    /// Delivers a message, and sends its webhook.
    pub(super) async fn deliver(&self, draft: MessageDraft) -> Result<SentMessage, ApiError> {
        // A client gets 20003 for any fault of either account.
        let accepted = deliver(&self.shared, draft).await.map_err(|refused| match refused.code {
            90012 | 90048 => ApiError::new(20003, refused.info),
            _ => refused,
        })?;
        let webhook = accepted.after_webhook;
        let callback = match &webhook {
            Some(webhook) if self.shared.should_send_webhook() => {
                Some(callback::send(&self.shared, webhook, |_| {}).await)
            }
            _ => None,
        };
        Ok(SentMessage { msg_key: accepted.key, callback, webhook })
    }

    /// Marks the conversation with `peer` as read, and sends the webhook if it is switched on.
    pub async fn read(&self, peer: &str) {
        let now = self.shared.clock.now().seconds();
        let webhook = self.shared.world().mark_read(&self.user, peer, now);
        self.shared.notify();
        let settings = self.shared.settings();
        if settings.webhooks.after_read && settings.callback_url.is_some() {
            callback::send(&self.shared, &webhook, |_| {}).await;
        }
    }

    /// Disconnects the client. The agent then misses online-only messages, and others only wait for
    /// their `MsgLifeTime`.
    pub fn disconnect(&self) {
        self.shared.world().accounts.set_connected(&self.user, false);
    }
}
