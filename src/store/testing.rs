//! What tests of several rooms store. Must not be used outside tests.

use super::NewMessage;
use crate::model::{Direction, MessageKind, OpenId, OutboundCall};

/// A message with one call, as the bridge would add it.
pub fn message(direction: Direction, openid: &OpenId, call: OutboundCall) -> NewMessage {
    NewMessage {
        direction,
        kind: MessageKind::Message,
        openid: openid.clone(),
        agent: None,
        calls: vec![call],
        msg_seq: 1,
        msg_random: 1,
        source: "a test".to_owned(),
        erase: false,
    }
}
