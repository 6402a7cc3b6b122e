//! One opened push: XML in, the model out, with the key by which a repeat is recognised.
//!
//! Judges nothing: who sent the bytes has been decided before.

use sha1::{Digest, Sha1};

use super::xml::{self, Element};
use super::{event, message};
use crate::model::{Event, InvalidId, OpenId, Push, SeenKey, What};

/// Why a push cannot be worked with. It is logged and answered with `success`: a repeat would be no better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No XML document as pushes are.
    #[error(transparent)]
    Xml(#[from] xml::NoXml),
    /// An element is missing without which nothing can be done.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// `FromUserName` is no openid.
    #[error("FromUserName: {0}")]
    Sender(#[from] InvalidId),
}

/// Longer keys and ids are shortened to their SHA-1 in a seen-mark, in bytes.
const LONGEST_IN_KEY: usize = 64;
/// Names of kinds and events are cut to this many characters: they go to logs and to the agent.
const LONGEST_NAME: usize = 64;

/// Parses one plain push, as it came or as it was decrypted.
pub fn parse(document: &[u8]) -> Result<Push, Unusable> {
    of(&xml::read(document)?)
}

/// The push in a document.
pub(super) fn of(root: &Element) -> Result<Push, Unusable> {
    let word = |name: &'static str| root.word(name).ok_or(Unusable::Missing(name));
    let account = word("ToUserName")?;
    let from = OpenId::new(word("FromUserName")?)?;
    let create_time = root.number("CreateTime");
    let to = short(account);
    let kind = name(word("MsgType")?);
    let (what, key) = if kind.eq_ignore_ascii_case("event") {
        let typed = event::read(root, &name(word("Event")?));
        let time = create_time.ok_or(Unusable::Missing("CreateTime"))?;
        (What::Event(Event::from(&typed)), key_of_event(root, time, &from, typed.name(), &to))
    } else {
        let key = match (root.word("MsgId"), create_time) {
            (Some(id), _) => format!("m:{}:{from}:{to}", short(id)),
            (None, Some(time)) => format!("n:{time}:{from}:{}:{to}", fingerprint(root)),
            (None, None) => return Err(Unusable::Missing("MsgId")),
        };
        (What::Message(message::read(root, &kind)), key)
    };
    Ok(Push {
        account: account.to_owned(),
        from,
        create_time: create_time.unwrap_or_default(),
        key: SeenKey(key),
        what,
    })
}

/// Sender and second alone would take two events of one second for one (reference: "Dedup rule"). Job events
/// have no `EventKey`, but the number of their job.
fn key_of_event(root: &Element, time: i64, from: &OpenId, name: &str, to: &str) -> String {
    let key = root.word("EventKey").or_else(|| root.word("MsgID")).unwrap_or_default();
    format!("e:{time}:{from}:{}:{}:{to}", name.to_ascii_lowercase(), short(key))
}

fn short(text: &str) -> String {
    if text.len() <= LONGEST_IN_KEY { text.to_owned() } else { hex::encode(Sha1::digest(text)) }
}

/// Equal for the same fields in any order.
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

fn name(text: &str) -> String {
    text.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests;
