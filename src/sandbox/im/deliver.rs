//! The way of one message through the platform: both accounts, the webhook before, de-duplication, storing,
//! and the webhook after, prepared but not sent.

use serde_json::Value;

use super::accounts::Standing;
use super::callback::{self, Before, Emission, Event};
use super::checks::Refused;
use super::history::{Arrival, Flags, Message, NewMessage, key};
use super::ledger::{Outcome, Send};
use super::{Shared, World};
use std::sync::Arc;

/// Longest offline retention, in seconds: the default when `MsgLifeTime` is absent.
pub(super) const MAX_LIFETIME_S: i64 = 604_800;

/// A message that passed the checks of its fields.
pub(super) struct Draft {
    pub from: String,
    pub to: String,
    /// As the caller gave it.
    pub seq: Option<u32>,
    pub random: u32,
    pub elements: Arc<Value>,
    pub cloud_custom_data: String,
    pub flags: Flags,
    /// Seconds.
    pub lifetime: i64,
    pub webhooks: Forbid,
    pub origin: Origin,
}

/// Where a message comes from.
pub(super) enum Origin {
    /// A client; `OptPlatform` says which.
    Client { platform: &'static str },
    /// This API, with the request's other fields for the ledger.
    Rest { api: &'static str, fields: String },
}

impl Origin {
    pub fn platform(&self) -> &'static str {
        match self {
            Self::Client { platform } => platform,
            Self::Rest { .. } => "RESTAPI",
        }
    }
}

/// `ForbidCallbackControl`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forbid {
    pub before: bool,
    pub after: bool,
}

/// An accepted message.
pub(super) struct Accepted {
    pub key: String,
    pub id: String,
    pub time: i64,
    /// The webhook to send now, if it is on, allowed, and the message was stored.
    pub after: Option<Emission>,
}

/// Carries a message from its draft into the store.
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
    /// Both accounts must exist. Answers the sender's number for `MsgId`.
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

    /// Writes a REST send into the ledger.
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
