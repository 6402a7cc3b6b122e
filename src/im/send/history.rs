//! A conversation's history: settles a send whose outcome is unknown, and recovers missed callbacks.
//!
//! Reference: "`admin_getroammsg`"; docs 269/42794. Pages run from the newest to the oldest, messages inside a
//! page the other way.

use serde::Serialize;
use serde_json::Value;

use super::{Api, Client, Failure};
use crate::im::{element, msg_key, number, text};
use crate::model::{Answer, ImUserId};

/// Messages asked for in one page; the server also cuts a page at about 13 KB.
pub(super) const PAGE: u32 = 100;

/// The most pages of one history that are asked for: at 13 KB a page, more than half a megabyte of conversation.
pub(super) const PAGES_MAX: usize = 50;

/// The server's flag of a message that was recalled.
const RECALLED: i64 = 8;

/// Which part of which conversation.
#[derive(Clone, Debug)]
pub struct History<'a> {
    /// Whose view of it; an agent's holds both directions of our traffic, a customer's does not.
    pub operator: &'a ImUserId,
    /// The other party.
    pub peer: &'a ImUserId,
    /// The earliest time wanted, Unix seconds.
    pub min_s: i64,
    /// The latest time wanted, Unix seconds; on later pages the one that the page before gave.
    pub max_s: i64,
    /// The most messages wanted.
    pub max_count: u32,
    /// The key that the page before gave.
    pub last_key: Option<String>,
}

/// A page of history.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In ascending order; those whose sender or receiver is no UserID are left out.
    pub messages: Vec<PastMessage>,
    /// `max_s` and `last_key` of the next, older page; `None` when the range is exhausted.
    pub next: Option<(i64, String)>,
}

/// A message of either direction.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    /// The message, whoever sent it.
    pub message: Answer,
    /// It was taken back.
    pub recalled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    #[serde(rename = "Operator_Account")]
    operator: &'a ImUserId,
    #[serde(rename = "Peer_Account")]
    peer: &'a ImUserId,
    /// The same fields' names before 2024; each server generation ignores the other's.
    #[serde(rename = "From_Account")]
    from: &'a ImUserId,
    #[serde(rename = "To_Account")]
    to: &'a ImUserId,
    max_cnt: u32,
    min_time: i64,
    max_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_msg_key: Option<&'a str>,
}

impl Client {
    /// One page of a conversation's history.
    pub async fn admin_getroammsg(&self, history: &History<'_>) -> Result<Page, Failure> {
        let body = Body {
            operator: history.operator,
            peer: history.peer,
            from: history.operator,
            to: history.peer,
            max_cnt: history.max_count,
            min_time: history.min_s,
            max_time: history.max_s,
            last_msg_key: history.last_key.as_deref(),
        };
        let answer = self.call(Api::GetRoamMsg, &body).await?;
        let complete: i64 =
            number(&answer, "Complete").ok_or(Failure::no_answer("the page has no Complete"))?;
        let messages = answer.get("MsgList").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Page {
            messages: messages.iter().filter_map(past_message).collect(),
            next: if complete == 1 { None } else { Some(cursor(&answer)?) },
        })
    }

    /// The `MsgKey` of the message with these numbers in the range, both ends included; `None` when it surely is
    /// not there. Asks for up to 50 pages, each a call of its own; a longer history is a failure, never a `None`.
    pub async fn find(
        &self,
        operator: &ImUserId,
        peer: &ImUserId,
        min_s: i64,
        max_s: i64,
        msg_seq: u32,
        msg_random: u32,
    ) -> Result<Option<String>, Failure> {
        let mut history = History { operator, peer, min_s, max_s, max_count: PAGE, last_key: None };
        for _ in 0..PAGES_MAX {
            let page = self.admin_getroammsg(&history).await?;
            let same =
                |past: &PastMessage| past.message.msg_seq == msg_seq && past.message.msg_random == msg_random;
            if let Some(past) = page.messages.into_iter().find(same) {
                return Ok(Some(past.message.msg_key));
            }
            let Some((max_s, last_key)) = page.next else { return Ok(None) };
            if history.last_key.as_ref() == Some(&last_key) {
                return Err(Failure::no_answer("the history does not get on"));
            }
            history = History { max_s, last_key: Some(last_key), ..history };
        }
        Err(Failure::no_answer("the history has too many pages"))
    }
}

fn cursor(answer: &Value) -> Result<(i64, String), Failure> {
    let time = number(answer, "LastMsgTime");
    let key = text(answer, "LastMsgKey").map(str::to_owned);
    time.zip(key).ok_or(Failure::no_answer("the page is incomplete and names no next one"))
}

fn past_message(message: &Value) -> Option<PastMessage> {
    let account = |name| text(message, name).and_then(|id| ImUserId::new(id).ok());
    let msg_seq = number(message, "MsgSeq").unwrap_or_default();
    let msg_random = number(message, "MsgRandom").unwrap_or_default();
    let msg_time = number(message, "MsgTimeStamp").unwrap_or_default();
    let msg_key =
        text(message, "MsgKey").map_or_else(|| msg_key(msg_seq, msg_random, msg_time), str::to_owned);
    Some(PastMessage {
        message: Answer {
            from: account("From_Account")?,
            to: account("To_Account")?,
            msg_key,
            msg_time,
            msg_seq,
            msg_random,
            parts: message.get("MsgBody").map(element::parts).unwrap_or_default(),
        },
        recalled: number::<i64>(message, "MsgFlagBits").is_some_and(|flags| flags & RECALLED != 0),
    })
}

#[cfg(test)]
mod tests;
