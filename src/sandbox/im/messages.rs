//! The message commands of the REST API (reference, section 4). Each field is checked and refused
//! with its documented code.

use std::sync::Arc;

use serde_json::{Value, json};

use super::callback::{self, Webhook};
use super::checks::{self, ApiError, Object};
use super::deliver::{
    AcceptedMessage, DEFAULT_FLAGS, ForbiddenWebhooks, MAX_LIFETIME_S, MessageDraft, Origin, deliver,
};
use super::elements::{self, Sender};
use super::history::{ArrivalKind, Flags, NewMessage};
use super::ledger::Outcome;
use super::msg_key::{key, parse_key};
use super::settings::Settings;
use super::{Shared, World};

/// `sendmsg`.
pub(super) async fn sendmsg(
    shared: &Arc<Shared>,
    settings: &Settings,
    admin: String,
    mut body: Object,
) -> Result<Value, ApiError> {
    let draft = draft(settings, admin, &mut body)?;
    let AcceptedMessage { key, id, time, after_webhook } = deliver(shared, draft).await?;
    if let Some(after) = after_webhook {
        callback::send_in_background(shared, after);
    }
    Ok(json!({"MsgTime": time, "MsgKey": key, "MsgId": id}))
}

/// Checks the fields of `sendmsg`.
fn draft(settings: &Settings, admin: String, body: &mut Object) -> Result<MessageDraft, ApiError> {
    let to = checks::text(body, "To_Account").required(90003, "To_Account must be a String")?.to_owned();
    let webhooks = forbidden_webhooks(body)?;
    let from = checks::text(body, "From_Account").optional(60015, "From_Account must be a JSON String")?;
    let from = from.map_or(admin, str::to_owned);
    let random = checks::unsigned(body, "MsgRandom").required(90005, "MsgRandom must be a u32")?;
    // The reference gives no code for a MsgSeq of another type. 20001 is "illegal request packet".
    let seq = checks::unsigned(body, "MsgSeq").optional(20001, "MsgSeq must be a u32")?;
    checks::integer(body, "MsgTimeStamp").optional(90006, "MsgTimeStamp must be an Integer")?;
    let lifetime = checks::integer(body, "MsgLifeTime").optional(90044, "MsgLifeTime must be an Integer")?;
    let lifetime = lifetime.unwrap_or(MAX_LIFETIME_S);
    if !(0..=MAX_LIFETIME_S).contains(&lifetime) {
        return Err(ApiError::new(90026, "MsgLifeTime is over 7 days"));
    }
    let sync =
        checks::integer(body, "SyncOtherMachine").optional(90031, "SyncOtherMachine must be 1 or 2")?;
    if !matches!(sync, None | Some(1 | 2)) {
        return Err(ApiError::new(90031, "SyncOtherMachine must be 1 or 2"));
    }
    let online_only = zero_or_one(body, "OnlineOnlyFlag")?;
    zero_or_one(body, "IsNeedReadReceipt")?;
    zero_or_one(body, "SupportMessageExtension")?;
    let control =
        checks::texts(body, "SendMsgControl").optional(90001, "SendMsgControl must be an Array of String")?;
    let control = control.unwrap_or_default();
    let known = ["NoUnread", "NoLastMsg", "WithMuteNotifications", "NoMsgCheck"];
    if control.iter().any(|word| !known.contains(word)) {
        return Err(ApiError::new(90001, "SendMsgControl holds an unknown value"));
    }
    let arrival = if control.contains(&"NoUnread") { ArrivalKind::Uncounted } else { ArrivalKind::Counted };
    checks::object(body, "OfflinePushInfo").optional(90043, "OfflinePushInfo must be an Object")?;
    let (elements, cloud_custom_data) = content(settings, body)?;
    let kept = !online_only && lifetime > 0;
    Ok(MessageDraft {
        from,
        to,
        seq,
        random,
        elements,
        cloud_custom_data,
        flags: Flags { stored: kept, visible_to_sender: sync != Some(2), arrival },
        lifetime,
        webhooks,
        origin: Origin::Rest { api: "openim/sendmsg", fields: fields_json(body) },
    })
}

/// The remaining fields as JSON text, for the ledger.
fn fields_json(body: &Object) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

/// Reads a field that must be 0 or 1. A missing field counts as 0.
fn zero_or_one(body: &Object, name: &str) -> Result<bool, ApiError> {
    match checks::integer(body, name).optional(90001, name)? {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(ApiError::new(90001, format!("{name} must be 0 or 1"))),
    }
}

fn forbidden_webhooks(body: &Object) -> Result<ForbiddenWebhooks, ApiError> {
    let words = checks::texts(body, "ForbidCallbackControl")
        .optional(90001, "ForbidCallbackControl must be an Array of String")?;
    let mut forbid = ForbiddenWebhooks::default();
    for word in words.unwrap_or_default() {
        match word {
            "ForbidBeforeSendMsgCallback" => forbid.before = true,
            "ForbidAfterSendMsgCallback" => forbid.after = true,
            _ => return Err(ApiError::new(90001, "ForbidCallbackControl holds an unknown value")),
        }
    }
    Ok(forbid)
}

/// Removes `MsgBody` from the body and reads `CloudCustomData`. Both count towards the size limit.
fn content(settings: &Settings, body: &mut Object) -> Result<(Arc<Value>, String), ApiError> {
    elements::check(body.get("MsgBody"), Sender::Rest)?;
    let custom = checks::text(body, "CloudCustomData").optional(90001, "CloudCustomData must be a String")?;
    let custom = custom.unwrap_or_default().to_owned();
    let elements = body.remove("MsgBody").unwrap_or_default();
    if elements.to_string().len() + custom.len() > settings.body_limit {
        return Err(ApiError::new(93000, "the message is too long"));
    }
    Ok((Arc::new(elements), custom))
}

/// `importmsg`.
pub(super) fn importmsg(shared: &Shared, settings: &Settings, mut body: Object) -> Result<Value, ApiError> {
    let from =
        checks::text(&body, "From_Account").required(90008, "From_Account must be a String")?.to_owned();
    let to = checks::text(&body, "To_Account").required(90003, "To_Account must be a String")?.to_owned();
    let random = checks::unsigned(&body, "MsgRandom").required(90005, "MsgRandom must be a u32")?;
    let seq = checks::unsigned(&body, "MsgSeq").optional(20001, "MsgSeq must be a u32")?;
    let time = checks::integer(&body, "MsgTimeStamp").required(90006, "MsgTimeStamp must be an Integer")?;
    let arrival = match checks::integer(&body, "SyncFromOldSystem")
        .required(90030, "SyncFromOldSystem must be 2 or 5")?
    {
        2 => ArrivalKind::Silent,
        5 => ArrivalKind::Counted,
        _ => return Err(ApiError::new(90030, "SyncFromOldSystem must be 2 or 5")),
    };
    let (elements, cloud_custom_data) = content(settings, &mut body)?;
    let mut world = shared.world();
    let tiny_id = world.check_pair(&from, &to)?;
    let draft = MessageDraft {
        from,
        to,
        seq,
        random,
        elements,
        cloud_custom_data,
        flags: Flags { arrival, ..DEFAULT_FLAGS },
        lifetime: MAX_LIFETIME_S,
        webhooks: ForbiddenWebhooks { before: true, after: true },
        origin: Origin::Rest { api: "openim/importmsg", fields: fields_json(&body) },
    };
    let seq = seq.unwrap_or_else(rand::random);
    let limit = settings.ledger_limit;
    let existing_key =
        world.messages.find(&draft.from, &draft.to, seq, random, time).map(|first| first.key.clone());
    if let Some(known) = existing_key {
        world.record_rest_send(&draft, (seq, time), &known, Outcome::Suppressed, shared, limit);
        return Ok(json!({}));
    }
    world.record_rest_send(&draft, (seq, time), &key(seq, random, time), Outcome::Delivered, shared, limit);
    let connected = world.accounts.is_connected(&draft.to);
    let new = NewMessage {
        from: draft.from,
        to: draft.to,
        seq,
        random,
        time,
        id: format!("{tiny_id}-{time}-{random}"),
        elements: draft.elements,
        cloud_custom_data: draft.cloud_custom_data,
        arrived: shared.clock.now(),
        flags: draft.flags,
        expires: time + MAX_LIFETIME_S,
    };
    world.messages.store(new, connected, settings.history_limit);
    drop(world);
    shared.notify();
    Ok(json!({}))
}

/// `admin_msgwithdraw`.
pub(super) fn withdraw(shared: &Arc<Shared>, settings: &Settings, body: &Object) -> Result<Value, ApiError> {
    let from = checks::text(body, "From_Account").required(90008, "From_Account must be a String")?;
    let to = checks::text(body, "To_Account").required(90003, "To_Account must be a String")?;
    let key = checks::text(body, "MsgKey").required(90054, "MsgKey must be a String")?;
    let (seq, random, time) = parse_key(key).ok_or_else(|| ApiError::new(90054, "MsgKey is illegal"))?;
    let mut world = shared.world();
    let found = world.messages.find(from, to, seq, random, time).filter(|message| message.from == from);
    let message = Arc::clone(found.ok_or_else(|| ApiError::new(20022, "no such message"))?);
    if !world.messages.recall(&message) {
        return Err(ApiError::new(20023, "the message was recalled before"));
    }
    let unread = world.messages.unread_count(to);
    drop(world);
    shared.notify();
    if settings.webhooks.after_withdraw {
        callback::send_in_background(shared, Webhook::after_withdraw(&message, unread, "RESTAPI"));
    }
    Ok(json!({}))
}

impl World {
    /// Marks `peer`'s messages to `reader` up to `time` (Unix seconds) as read. Returns the webhook
    /// about it.
    pub fn mark_read(&mut self, reader: &str, peer: &str, time: i64) -> Webhook {
        self.messages.read_until(reader, peer, time);
        Webhook::after_read(reader, peer, time, self.messages.unread_count(reader))
    }
}
