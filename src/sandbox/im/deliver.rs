//! Delivers one message: checks both accounts, calls the webhook before sending, drops a repeat,
//! stores the message, and prepares the webhook after sending. The caller sends that one.

use serde_json::Value;

use super::accounts::Standing;
use super::callback::{self, Before, Emission, Event};
use super::checks::Refused;
use super::history::{Arrival, Flags, Message, NewMessage, key};
use super::ledger::{Outcome, Send};
use super::{Shared, World};
use std::sync::Arc;

/// The longest `MsgLifeTime` in seconds, and the default if it is absent.
pub(super) const MAX_LIFETIME_S: i64 = 604_800;

/// A message whose fields were checked.
pub(super) struct Draft {
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
    pub webhooks: Forbid,
    /// The source of the message.
    pub origin: Origin,
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
pub(super) struct Forbid {
    /// Whether the webhook before sending is forbidden.
    pub before: bool,
    /// Whether the webhook after sending is forbidden.
    pub after: bool,
}

/// An accepted message.
pub(super) struct Accepted {
    /// The `MsgKey`.
    pub key: String,
    /// The `MsgId`.
    pub id: String,
    /// The `MsgTime` in Unix seconds.
    pub time: i64,
    /// The webhook that the caller must send now. `None` if it is switched off or forbidden, or if
    /// the message was not stored.
    pub after: Option<Emission>,
}

/// Delivers a draft: stores the message unless it is a repeat or the webhook before sending drops
/// it.
pub(super) async fn deliver(shared: &Shared, mut draft: Draft) -> Result<Accepted, Refused> {
    let settings = shared.settings();
    let arrived = shared.clock.now();
    let time = arrived.seconds();
    let tiny_id = shared.world().check_pair(&draft.from, &draft.to)?;
    let seq = draft.seq.unwrap_or_else(rand::random);
    let mut event = Event {
        from: &draft.from,
        to: &draft.to,
        seq,
        random: draft.random,
        time,
        key: key(seq, draft.random, time),
        id: format!("{tiny_id}-{time}-{}", draft.random),
        online_only: !draft.flags.kept,
        elements: &draft.elements,
        cloud_custom_data: &draft.cloud_custom_data,
    };
    let verdict = if draft.webhooks.before {
        Before::Deliver { elements: None, cloud_custom_data: None }
    } else {
        callback::before_send(shared, &settings, &event, draft.origin.platform()).await?
    };
    let (key, id) = (std::mem::take(&mut event.key), std::mem::take(&mut event.id));
    let mut outcome = Outcome::Delivered;
    match verdict {
        Before::Deliver { elements, cloud_custom_data } => {
            draft.elements = elements.map_or(draft.elements, Arc::new);
            draft.cloud_custom_data = cloud_custom_data.unwrap_or(draft.cloud_custom_data);
        }
        Before::Drop => outcome = Outcome::DroppedByWebhook,
    }

    let repeat = (draft.from.clone(), draft.to.clone(), draft.seq, draft.random);
    let rest = matches!(draft.origin, Origin::Rest { .. });
    let mut world = shared.world();
    if rest
        && settings.dedup
        && let Some(first) = world.messages.repeated(&repeat, time)
    {
        let accepted =
            Accepted { key: first.key.clone(), id: first.id.clone(), time: first.time, after: None };
        world.note(&draft, (first.seq, time), &first.key, Outcome::Suppressed, shared, settings.ledger_limit);
        return Ok(accepted);
    }
    world.note(&draft, (seq, time), &key, outcome, shared, settings.ledger_limit);
    if outcome == Outcome::DroppedByWebhook {
        return Ok(Accepted { key, id, time, after: None });
    }
    let connected = world.accounts.connected(&draft.to);
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
    if rest {
        world.messages.remember(repeat, &message);
    }
    let unread = world.messages.unread(&message.to);
    drop(world);
    shared.ring();
    let wanted = settings.webhooks.after_send && !draft.webhooks.after;
    let after = wanted.then(|| after_send(&message, unread, arrived.0, draft.origin.platform()));
    Ok(Accepted { key, id: message.id.clone(), time, after })
}

fn after_send(message: &Arc<Message>, unread: i64, now_ms: i64, platform: &'static str) -> Emission {
    let event = Event {
        from: &message.from,
        to: &message.to,
        seq: message.seq,
        random: message.random,
        time: message.time,
        key: message.key.clone(),
        id: message.id.clone(),
        online_only: !message.flags.kept,
        elements: &message.elements,
        cloud_custom_data: &message.cloud_custom_data,
    };
    Emission::after_send(&event, unread, now_ms, platform)
}

impl World {
    /// Checks that both accounts exist. Returns the sender's number for `MsgId`.
    pub fn check_pair(&self, from: &str, to: &str) -> Result<u64, Refused> {
        match self.accounts.standing(from) {
            Standing::Imported => {}
            Standing::Deleted => return Err(Refused::new(90048, "From_Account does not exist")),
            Standing::Unknown => return Err(Refused::new(20003, "From_Account is not imported")),
        }
        match self.accounts.standing(to) {
            Standing::Imported => {}
            Standing::Deleted => return Err(Refused::new(90048, "To_Account does not exist")),
            Standing::Unknown => return Err(Refused::new(90012, "invalid To_Account")),
        }
        Ok(self.accounts.get(from).map_or(0, |account| account.tiny_id))
    }

    /// Records a REST send in the ledger. Ignores a client's message.
    pub fn note(
        &mut self,
        draft: &Draft,
        (seq, time): (u32, i64),
        key: &str,
        outcome: Outcome,
        shared: &Shared,
        limit: usize,
    ) {
        let Origin::Rest { api, fields } = &draft.origin else { return };
        let send = Send {
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
        self.book.sent(send, limit);
    }
}

/// The flags of an ordinary message.
pub(super) const ORDINARY: Flags = Flags { kept: true, sender_sees: true, arrival: Arrival::Counted };
