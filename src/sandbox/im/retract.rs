//! An agent takes a message back or edits it.

use std::sync::Arc;

use serde_json::Value;

use super::agent_client::AgentClient;
use super::callback::{self, CallbackResult, Webhook};
use super::checks::ApiError;
use super::elements::{self, Sender};
use super::history::Message;
use super::msg_key::parse_key;

/// How long after sending a client may take a message back, in milliseconds.
const WITHDRAW_LIMIT_MS: i64 = 120_000;

impl AgentClient {
    /// Recalls the agent's message to `peer` with this `MsgKey`; its webhook is lost. Returns false if there
    /// is no such message or it was recalled before.
    pub fn recall(&self, peer: &str, msg_key: &str) -> bool {
        let Some(message) = self.own_message(peer, msg_key) else { return false };
        let recalled = self.shared.world().messages.recall(&message);
        self.shared.notify();
        recalled
    }

    /// Takes the agent's message to `peer` back, and sends the webhook if it is switched on. Fails more than
    /// two minutes after the message was sent.
    pub async fn withdraw(&self, peer: &str, msg_key: &str) -> Result<Option<CallbackResult>, ApiError> {
        let missing = || ApiError::new(20022, "no such message");
        let message = self.own_message(peer, msg_key).ok_or_else(missing)?;
        if self.shared.clock.now().since(message.arrived()) > WITHDRAW_LIMIT_MS {
            return Err(ApiError::new(20016, "the message is too old to be recalled"));
        }
        let (recalled, unread) = {
            let mut world = self.shared.world();
            (world.messages.recall(&message), world.messages.unread_count(peer))
        };
        if !recalled {
            return Err(ApiError::new(20023, "the message was recalled before"));
        }
        self.shared.notify();
        let webhook = Webhook::after_withdraw(&message, unread, self.platform.name());
        Ok(self.report(self.shared.settings().webhooks.after_withdraw, &webhook).await)
    }

    /// Replaces the elements of the agent's message to `peer`, and sends the webhook if it is switched on.
    pub async fn edit(
        &self,
        peer: &str,
        msg_key: &str,
        elements: Value,
    ) -> Result<Option<CallbackResult>, ApiError> {
        elements::check(Some(&elements), Sender::Client)?;
        let message = self.own_message(peer, msg_key).filter(|message| !message.is_recalled());
        let message = message.ok_or_else(|| ApiError::new(20022, "no such message"))?;
        message.edit(Arc::new(elements));
        self.shared.notify();
        let webhook = Webhook::after_modify(&message, self.shared.clock.now().0, self.platform.name());
        Ok(self.report(self.shared.settings().webhooks.after_modify, &webhook).await)
    }

    fn own_message(&self, peer: &str, msg_key: &str) -> Option<Arc<Message>> {
        let (seq, random, time) = parse_key(msg_key)?;
        let world = self.shared.world();
        let message = world.messages.find(&self.user, peer, seq, random, time)?;
        (message.from == self.user).then(|| Arc::clone(message))
    }

    async fn report(&self, is_on: bool, webhook: &Webhook) -> Option<CallbackResult> {
        if !is_on || self.shared.settings().callback_url.is_none() {
            return None;
        }
        Some(callback::send(&self.shared, webhook, |_| {}).await)
    }
}
