//! `admin_getroammsg`: one side's view of a conversation, in pages from the newest message
//! (reference, 4.8).

use serde_json::{Value, json};

use super::Shared;
use super::accounts::AccountState;
use super::checks::{self, ApiError, Object};
use super::history::ConversationView;
use super::msg_key::parse_key;
use super::settings::Settings;

/// The approximate size limit of a page, in bytes.
const PAGE_BYTES: usize = 13 * 1024;

/// Serves `admin_getroammsg`.
pub(super) fn getroammsg(shared: &Shared, settings: &Settings, body: &Object) -> Result<Value, ApiError> {
    let account = |[new, old]: [&'static str; 2], code| {
        let name = if body.contains_key(new) { new } else { old };
        checks::text(body, name).required(code, "the account is missing or not a String")
    };
    let operator = account(settings.history_fields.names("Operator_Account", "From_Account"), 90008)?;
    let peer = account(settings.history_fields.names("Peer_Account", "To_Account"), 90003)?;
    let max_count = checks::unsigned(body, "MaxCnt").required(90001, "MaxCnt must be an Integer")?;
    let min_time = checks::integer(body, "MinTime").required(90001, "MinTime must be an Integer")?;
    let max_time = checks::integer(body, "MaxTime").required(90001, "MaxTime must be an Integer")?;
    if max_count == 0 || min_time > max_time {
        return Err(ApiError::new(90001, "MaxCnt must be positive and MinTime no later than MaxTime"));
    }
    let last_key_parts =
        match checks::text(body, "LastMsgKey").optional(90001, "LastMsgKey must be a String")? {
            None | Some("") => None,
            Some(text) => Some(parse_key(text).ok_or_else(|| ApiError::new(90054, "LastMsgKey is illegal"))?),
        };

    let world = shared.world();
    let since = world
        .accounts
        .get(operator)
        .map(|account| account.first_serial)
        .ok_or_else(|| ApiError::new(90008, "the operator does not exist"))?;
    if world.accounts.state(peer) == AccountState::Unknown {
        return Err(ApiError::new(90003, "the peer does not exist"));
    }
    let newest = (max_time, u32::MAX, u64::MAX);
    let start = last_key_parts
        .map_or(newest, |last| world.messages.position_before(operator, peer, last).min(newest));
    let view = ConversationView {
        operator,
        peer,
        first_serial: since,
        now: shared.clock.now(),
        delay: settings.history_delay_ms,
    };
    let mut older = world.messages.newest_first(view, min_time, start).peekable();
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(message) = older.peek()
        && page.len() < max_count as usize
    {
        let entry = json!({
            "From_Account": message.from, "To_Account": message.to,
            "MsgSeq": message.seq, "MsgRandom": message.random,
            "MsgTimeStamp": message.time, "MsgClientTime": message.time,
            "MsgFlagBits": if message.is_recalled() { 8 } else { 0 },
            "IsPeerRead": i32::from(message.is_read()),
            "MsgKey": message.key, "MsgBody": *message.current_elements(), "CloudCustomData": message.cloud_custom_data,
        });
        bytes += entry.to_string().len();
        if bytes > PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(entry);
        older.next();
    }
    let complete = i32::from(older.peek().is_none());
    drop(older);
    drop(world);
    page.reverse();
    let (last_time, last_key) = page
        .first()
        .map_or((json!(0), json!("")), |oldest| (oldest["MsgTimeStamp"].clone(), oldest["MsgKey"].clone()));
    Ok(json!({
        "Complete": complete, "MsgCnt": page.len(), "LastMsgTime": last_time, "LastMsgKey": last_key, "MsgList": page,
    }))
}
