//! Parses one decrypted push: XML in, the model out, with the key that identifies a repeat.
//!
//! Checks no signature: the verifier has done so before.

use sha1::{Digest, Sha1};

use super::xml::{self, Element};
use super::{document, event, message};
use crate::model::{DedupKey, InvalidId, OpenId, Push, PushBody};

/// Why the bridge cannot use a push. It is logged and answered with `success`, because a repeat
/// would fail the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The body is not an XML document of the expected form.
    #[error(transparent)]
    Xml(#[from] xml::XmlError),
    /// A required element is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// `FromUserName` is not a valid openid.
    #[error("FromUserName: {0}")]
    Sender(#[from] InvalidId),
}

/// In a dedup key, parts longer than this many bytes are replaced by their SHA-1.
const MAX_KEY_PART_BYTES: usize = 64;
/// Names of kinds and events are cut to this many characters, because they go to logs and to the
/// agent.
const MAX_NAME_CHARS: usize = 64;

/// Parses one push that is plain text, either as received or after decryption.
pub fn parse(body: &[u8]) -> Result<Push, PushError> {
    from_xml(&document::read(body)?)
}

/// Reads the push from a parsed document.
pub(super) fn from_xml(root: &Element) -> Result<Push, PushError> {
    let word = |name: &'static str| root.trimmed_text(name).ok_or(PushError::Missing(name));
    // Only the passive reply needs it.
    let account = root.trimmed_text("ToUserName").unwrap_or_default();
    let mut from = OpenId::new(word("FromUserName")?)?;
    let create_time = root.number("CreateTime");
    let to = shorten(account);
    let kind = truncate_name(word("MsgType")?);
    let (body, key) = if let Some(event) = event::read_device(root, &kind) {
        let key = device_dedup_key(root, create_time, &from, event.name(), &to);
        (PushBody::Event(event), key)
    } else if kind.eq_ignore_ascii_case("event") {
        let event = event::read(root, &truncate_name(word("Event")?));
        from = event::subject(root, &event).unwrap_or(from);
        let time = create_time.ok_or(PushError::Missing("CreateTime"))?;
        let key = DedupKey::new(event_dedup_key(root, time, &from, event.name(), &to));
        (PushBody::Event(event), key)
    } else {
        let key = message_dedup_key(root, create_time, &from, &to)?;
        (PushBody::Message(message::read(root, &kind)), key)
    };
    Ok(Push {
        account: account.to_owned(),
        from,
        create_time: create_time.unwrap_or_default(),
        dedup_key: key,
        body,
    })
}

/// The dedup key of a message. A repeat has the `CreateTime` of the first copy. Two messages with one `MsgId`, which
/// test accounts and gateways send, do not.
fn message_dedup_key(
    root: &Element,
    time: Option<i64>,
    from: &OpenId,
    to: &str,
) -> Result<DedupKey, PushError> {
    match (root.trimmed_text("MsgId"), time) {
        (Some(id), Some(time)) => Ok(DedupKey::of_message(&format!("m:{}:{from}:{to}", shorten(id)), time)),
        (Some(id), None) => Ok(DedupKey::new(format!("m:{}:{from}:{to}", shorten(id)))),
        (None, Some(time)) => Ok(DedupKey::new(format!("n:{time}:{from}:{}:{to}", fingerprint(root)))),
        (None, None) => Err(PushError::Missing("MsgId")),
    }
}

/// The dedup key of a device's push, which has the form of a message and may lack each identity.
fn device_dedup_key(root: &Element, time: Option<i64>, from: &OpenId, name: &str, to: &str) -> DedupKey {
    message_dedup_key(root, time, from, to)
        .unwrap_or_else(|_| DedupKey::new(format!("d:{from}:{name}:{}:{to}", fingerprint(root))))
}

/// The dedup key of an event. Sender and second alone would merge two different events of one
/// second (reference: "Dedup rule"). Job events have no `EventKey`; their `MsgID` identifies the
/// job.
fn event_dedup_key(root: &Element, time: i64, from: &OpenId, name: &str, to: &str) -> String {
    let key = root.trimmed_text("EventKey").or_else(|| root.trimmed_text("MsgID")).unwrap_or_default();
    format!("e:{time}:{from}:{}:{}:{to}", name.to_ascii_lowercase(), shorten(key))
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_KEY_PART_BYTES { text.to_owned() } else { hex::encode(Sha1::digest(text)) }
}

/// A digest of all fields, independent of their order.
fn fingerprint(root: &Element) -> String {
    let mut fields: Vec<_> = root.children().iter().map(|child| (child.name(), child.content())).collect();
    fields.sort_unstable();
    let mut sha = Sha1::new();
    for (name, content) in fields {
        sha.update(name);
        sha.update([0]);
        sha.update(content);
        sha.update([0]);
    }
    hex::encode(sha.finalize())
}

fn truncate_name(text: &str) -> String {
    text.chars().take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests;
