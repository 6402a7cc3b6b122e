//! Reads a conversation's history: to settle a send whose outcome is unknown, and to backfill
//! messages whose callback never came.
//!
//! Reference: "`admin_getroammsg`"; docs 269/42794. Pages run from the newest to the oldest;
//! messages inside a page run from the oldest to the newest.

use serde::Serialize;
use serde_json::Value;

use super::{Api, Client, Failure};
use crate::im::{element, msg_key, number, text};
use crate::model::{Answer, ImUserId};

/// The number of messages requested per page; the server also cuts a page at about 13 KB.
pub(super) const PAGE_MESSAGES: u32 = 100;

/// The largest number of pages read from one history: at 13 KB a page, more than two megabytes.
const MAX_PAGES: usize = 200;

/// The server's flag for a recalled message.
const RECALLED: i64 = 8;

/// A part of a conversation's history.
#[derive(Clone, Debug)]
pub struct History<'a> {
    /// The account whose view is read. An agent's view has both directions of our traffic; a
    /// customer's has not.
    pub operator: &'a ImUserId,
    /// The other party.
    pub peer: &'a ImUserId,
    /// The earliest requested time, Unix seconds.
    pub min_s: i64,
    /// The latest requested time, Unix seconds; for later pages, the time that the previous page
    /// returned.
    pub max_s: i64,
    /// The largest number of messages to return.
    pub max_count: u32,
    /// The key that the previous page returned.
    pub last_key: Option<String>,
}

/// A page of history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// The messages in ascending order, without those whose sender or receiver is not a valid
    /// UserID.
    pub messages: Vec<PastMessage>,
    /// `max_s` and `last_key` of the next, older page; `None` when the range is exhausted.
    pub next: Option<(i64, String)>,
}

/// A message in the history, of either direction.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    /// The message; the agent or the customer sent it.
    pub message: Answer,
    /// Whether the sender recalled it.
    pub recalled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    #[serde(rename = "Operator_Account")]
    operator: &'a ImUserId,
    #[serde(rename = "Peer_Account")]
    peer: &'a ImUserId,
    /// The names of the two fields above before 2024; each server generation ignores the other's
    /// names.
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
    /// Reads one page of a conversation's history.
    pub async fn admin_getroammsg(&self, history: &History<'_>) -> Result<HistoryPage, Failure> {
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
        HistoryPage::read(&self.call(Api::GetRoamMsg, &body).await?)
    }
}

impl HistoryPage {
    /// Reads a page. A message that cannot be read costs only itself. Fails if the page does not say whether it is the
    /// last one, or where the next one begins.
    pub fn read(answer: &Value) -> Result<Self, Failure> {
        let complete: i64 =
            number(answer, "Complete").ok_or(Failure::no_answer("the page has no Complete"))?;
        let messages = answer.get("MsgList").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            messages: messages.iter().filter_map(past_message).collect(),
            next: if complete == 1 { None } else { Some(cursor(answer)?) },
        })
    }
}

/// The state of reading a history page by page, the newest first. The caller makes the calls.
#[derive(Debug)]
pub(super) struct HistoryPages<'a> {
    next: Option<History<'a>>,
    pages_read: usize,
}

impl<'a> HistoryPages<'a> {
    /// Starts to read `history`.
    pub fn new(history: History<'a>) -> Self {
        Self { next: Some(history), pages_read: 0 }
    }

    /// The next request; `None` when the range is exhausted or the page limit is reached.
    pub fn next(&self) -> Option<&History<'a>> {
        self.next.as_ref().filter(|_| self.pages_read < MAX_PAGES)
    }

    /// Whether the whole range has been read.
    pub fn is_exhausted(&self) -> bool {
        self.next.is_none()
    }

    /// Takes the requested page and returns its messages.
    pub fn accept_page(&mut self, page: HistoryPage) -> Result<Vec<PastMessage>, Failure> {
        self.pages_read += 1;
        if let (Some(history), Some((max_s, last_key))) = (&mut self.next, page.next) {
            if history.last_key.as_ref() == Some(&last_key) {
                return Err(Failure::no_answer("the history returned the same page again"));
            }
            (history.max_s, history.last_key) = (max_s, Some(last_key));
        } else {
            self.next = None;
        }
        Ok(page.messages)
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
            quoted: element::quoted(message),
            parts: message.get("MsgBody").map(element::parts).unwrap_or_default(),
        },
        recalled: number::<i64>(message, "MsgFlagBits").is_some_and(|flags| flags & RECALLED != 0),
    })
}

#[cfg(test)]
mod tests;
