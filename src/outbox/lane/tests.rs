use std::io;
use std::sync::Mutex;

use super::*;
use crate::model::{MessageId, MessageKind, OpenId, OutboundCall};

const OPENID: &str = "oABCD1234efgh5678IJKL90_-mno";

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pending() -> PendingCall {
    let customer = OpenId::new(OPENID).unwrap();
    PendingCall {
        id: MessageId(17),
        lane: Lane { direction: Direction::ToWechat, customer },
        kind: MessageKind::Message,
        agent: None,
        call: OutboundCall::TextToCustomer("a secret".to_owned()),
        call_index: 0,
        call_count: 1,
        msg_seq: 1,
        msg_random: 2,
        created_at: Millis(0),
        attempts: 2,
        attempt_at: Millis(0),
        unsettled: false,
        attached: AttachState::Detached,
        before_backfill: false,
        rounds: 0,
        generation: 0,
        waiting_since: Millis(0),
        burst: None,
    }
}

#[test]
fn every_line_of_an_attempt_names_the_message_the_attempt_and_a_pseudonym() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        attempt_span(&pending(), 3).in_scope(|| tracing::warn!("the attempt failed; it will be retried"));
    });
    let bytes = buffer.0.lock().unwrap().clone();
    let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let span = serde_json::json!({
        "name": "attempt", "message.id": 17, "attempt": 3, "openid.hash": "aab2d572b3",
    });
    assert_eq!(line["span"], span);
    let text = line.to_string();
    assert!(!text.contains(OPENID) && !text.contains("secret"), "{text}");
}
