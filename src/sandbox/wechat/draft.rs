//! A customer's action, ready to be pushed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::customer::Customer;

/// A customer's action, ready to be pushed any number of times. Clones share one push.
#[derive(Clone, Debug)]
pub struct Draft(pub(super) Arc<PreparedPush>);

/// The push, made once.
#[derive(Debug)]
pub(super) struct PreparedPush {
    pub customer: Arc<Customer>,
    pub kind: String,
    pub is_event: bool,
    pub msg_id: Option<u64>,
    pub text: String,
    pub document: String,
    pub body: Bytes,
    pub encrypt: Option<String>,
    pub timestamp_and_nonce: (String, String),
    /// The id of the customer's action in their timeline.
    pub action_id: u64,
    /// Whether a reply was shown. WeChat shows one reply for each push, even if a repeat gets
    /// another answer.
    pub reply_shown: AtomicBool,
}

impl Draft {
    /// The `MsgId`. `None` for an event.
    pub fn msg_id(&self) -> Option<u64> {
        self.0.msg_id
    }

    /// The XML document before encryption.
    pub(super) fn document(&self) -> &str {
        &self.0.document
    }

    /// Whether the body contains the document in encrypted form.
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.encrypt.is_some()
    }

    /// The body of every request of this push.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }
}
