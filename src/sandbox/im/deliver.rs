//! Delivers one message: checks both accounts, calls the webhook before sending, drops a repeat,
//! stores the message, and prepares the webhook after sending. The caller sends that one.

use serde_json::Value;

use super::accounts::AccountState;
use super::callback::{self, BeforeSendDecision, SendEvent, Webhook};
use super::checks::ApiError;
use super::history::{ArrivalKind, Flags, Message, NewMessage};
use super::ledger::{Outcome, SendRecord};
use super::msg_key::key;
use super::{Shared, World};
use std::sync::Arc;

/// The longest `MsgLifeTime` in seconds, and the default if it is absent.
pub(super) const MAX_LIFETIME_S: i64 = 604_800;

/// A message whose fields were checked.
pub(super) struct MessageDraft {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The `MsgSeq`, if the caller gave one.
    pub seq: Option<u32>,
    /// The `MsgRandom`.
    pub random: u32,
    /// The `MsgBody`, an array.
    pub elements: Arc<Value>,
    /// The `CloudCustomData`.
    pub cloud_custom_data: String,
    /// How to store and show the message.
    pub flags: Flags,
    /// The `MsgLifeTime` in seconds.
    pub lifetime: i64,
    /// The webhooks that the caller forbids.
    pub webhooks: ForbiddenWebhooks,
    /// The source of the message.
    pub origin: Origin,
}

impl MessageDraft {
    /// Whether the sender wants a read receipt: clients do, for messages that history keeps.
    fn needs_receipt(&self) -> bool {
        self.flags.stored && matches!(self.origin, Origin::Client { .. })
    }
}

/// The source of a message.
pub(super) enum Origin {
    /// A client.
    Client {
        /// The `OptPlatform` of the client.
        platform: &'static str,
    },
    /// A REST call.
    Rest {
        /// The path of the API after `/v4/`.
        api: &'static str,
        /// The request without `MsgBody` as JSON text, for the ledger.
        fields: String,
    },
}

impl Origin {
    /// The `OptPlatform` of webhooks about the message.
    pub fn platform(&self) -> &'static str {
        match self {
            Self::Client { platform } => platform,
            Self::Rest { .. } => "RESTAPI",
        }
    }
}

/// The webhooks that `ForbidCallbackControl` switches off for one message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ForbiddenWebhooks {
    /// Whether the webhook before sending is forbidden.
    pub before: bool,
    /// Whether the webhook after sending is forbidden.
    pub after: bool,
}

/// An accepted message.
pub(super) struct AcceptedMessage {
    /// The `MsgKey`.
    pub key: String,
    /// The `MsgId`.
    pub id: String,
    /// The `MsgTime` in Unix seconds.
    pub time: i64,
    /// The webhook that the caller must send now. `None` if it is switched off or forbidden, or if
    /// the message was not stored.
    pub after_webhook: Option<Webhook>,
}

/// Delivers a draft: stores the message unless it is a repeat or the webhook before sending drops
/// it.
pub(super) async fn deliver(shared: &Shared, mut draft: MessageDraft) -> Result<AcceptedMessage, ApiError> {
    let settings = shared.settings();
    let arrived = shared.clock.now();
    let time = arrived.seconds();
    let tiny_id = shared.world().check_pair(&draft.from, &draft.to)?;
    let seq = draft.seq.unwrap_or_else(rand::random);
    let mut event = SendEvent {
        from: &draft.from,
        to: &draft.to,
        seq,
        random: draft.random,
        time,
        key: key(seq, draft.random, time),
        id: format!("{tiny_id}-{time}-{}", draft.random),
        online_only: !draft.flags.stored,
        elements: &draft.elements,
        cloud_custom_data: &draft.cloud_custom_data,
        needs_receipt: draft.needs_receipt(),
    };
    let decision = if draft.webhooks.before {
        BeforeSendDecision::Deliver { elements: None, cloud_custom_data: None }
    } else {
        callback::before_send(shared, &settings, &event, draft.origin.platform()).await?
    };
    let (key, id) = (std::mem::take(&mut event.key), std::mem::take(&mut event.id));
    let mut outcome = Outcome::Delivered;
    match decision {
        BeforeSendDecision::Deliver { elements, cloud_custom_data } => {
            draft.elements = elements.map_or(draft.elements, Arc::new);
            draft.cloud_custom_data = cloud_custom_data.unwrap_or(draft.cloud_custom_data);
        }
        BeforeSendDecision::Drop => outcome = Outcome::DroppedByWebhook,
    }

    let needs_receipt = draft.needs_receipt();
    let send_key = (draft.from.clone(), draft.to.clone(), draft.seq, draft.random);
    let is_rest = matches!(draft.origin, Origin::Rest { .. });
    let mut world = shared.world();
    if is_rest
        && settings.dedup
        && let Some(first) = world.messages.find_repeat(&send_key, time)
    {
        let accepted = AcceptedMessage {
            key: first.key.clone(),
            id: first.id.clone(),
            time: first.time,
            after_webhook: None,
        };
        world.record_rest_send(
            &draft,
            (first.seq, time),
            &first.key,
            Outcome::Suppressed,
            shared,
            settings.ledger_limit,
        );
        return Ok(accepted);
    }
    world.record_rest_send(&draft, (seq, time), &key, outcome, shared, settings.ledger_limit);
    if outcome == Outcome::DroppedByWebhook {
        return Ok(AcceptedMessage { key, id, time, after_webhook: None });
    }
    let connected = world.accounts.is_connected(&draft.to);
    let new = NewMessage {
        from: draft.from,
        to: draft.to,
        seq,
        random: draft.random,
        time,
        id,
        elements: draft.elements,
        cloud_custom_data: draft.cloud_custom_data,
        arrived,
        flags: draft.flags,
        expires: time + draft.lifetime,
    };
    let message = world.messages.store(new, connected, settings.history_limit);
    if is_rest {
        world.messages.remember_send(send_key, &message);
    }
    let unread = world.messages.unread_count(&message.to);
    drop(world);
    shared.notify();
    let sends_after_webhook = settings.webhooks.after_send && !draft.webhooks.after;
    let after_webhook =
        sends_after_webhook.then(|| after_send(&message, unread, arrived.0, &draft.origin, needs_receipt));
    Ok(AcceptedMessage { key, id: message.id.clone(), time, after_webhook })
}

fn after_send(
    message: &Arc<Message>,
    unread: i64,
    now_ms: i64,
    origin: &Origin,
    needs_receipt: bool,
) -> Webhook {
    let event = SendEvent {
        from: &message.from,
        to: &message.to,
        seq: message.seq,
        random: message.random,
        time: message.time,
        key: message.key.clone(),
        id: message.id.clone(),
        online_only: !message.flags.stored,
        elements: &message.elements,
        cloud_custom_data: &message.cloud_custom_data,
        needs_receipt,
    };
    Webhook::after_send(&event, unread, now_ms, origin.platform())
}

impl World {
    /// Checks that both accounts exist. Returns the sender's number for `MsgId`.
    pub fn check_pair(&self, from: &str, to: &str) -> Result<u64, ApiError> {
        match self.accounts.state(from) {
            AccountState::Imported => {}
            AccountState::Deleted => return Err(ApiError::new(90048, "From_Account does not exist")),
            AccountState::Unknown => return Err(ApiError::new(20003, "From_Account is not imported")),
        }
        match self.accounts.state(to) {
            AccountState::Imported => {}
            AccountState::Deleted => return Err(ApiError::new(90048, "To_Account does not exist")),
            AccountState::Unknown => return Err(ApiError::new(90012, "invalid To_Account")),
        }
        Ok(self.accounts.get(from).map_or(0, |account| account.tiny_id))
    }

    /// Records a REST send in the ledger. Ignores a client's message.
    pub fn record_rest_send(
        &mut self,
        draft: &MessageDraft,
        (seq, time): (u32, i64),
        key: &str,
        outcome: Outcome,
        shared: &Shared,
        limit: usize,
    ) {
        let Origin::Rest { api, fields } = &draft.origin else { return };
        let send = SendRecord {
            api,
            from: draft.from.clone(),
            to: draft.to.clone(),
            seq,
            random: draft.random,
            time,
            arrived: shared.clock.now(),
            key: key.to_owned(),
            outcome,
            fields: fields.clone(),
            elements: Arc::clone(&draft.elements),
        };
        self.recorder.record_send(send, limit);
    }
}

/// The flags of an ordinary message.
pub(super) const DEFAULT_FLAGS: Flags =
    Flags { stored: true, visible_to_sender: true, arrival: ArrivalKind::Counted };
