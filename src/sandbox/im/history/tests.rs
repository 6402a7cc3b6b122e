use super::super::msg_key::{key, parse_key};
use super::*;
use serde_json::json;

fn store_message(messages: &mut Messages, from: &str, to: &str, seq: u32, time: i64) -> Arc<Message> {
    let new = NewMessage {
        from: from.into(),
        to: to.into(),
        seq,
        random: 7,
        time,
        id: String::new(),
        elements: Arc::new(json!([{"MsgType":"TIMTextElem","MsgContent":{"Text":format!("{seq}")}}])),
        cloud_custom_data: String::new(),
        arrived: Millis(time * 1000),
        flags: Flags { stored: true, visible_to_sender: true, arrival: ArrivalKind::Counted },
        expires: time + 60,
    };
    messages.store(new, false, 4)
}

#[test]
fn keys_round_trip() {
    assert_eq!(parse_key(&key(609, u32::MAX, 1_700_000_100)), Some((609, u32::MAX, 1_700_000_100)));
    for bad in ["", "1_2", "1_2_3_4", "a_2_3", "1_4294967296_3"] {
        assert_eq!(parse_key(bad), None, "{bad}");
    }
}

#[test]
fn a_conversation_is_ordered_by_time_and_seq_and_bounded() {
    let mut messages = Messages::default();
    for (seq, time) in [(1, 10), (9, 20), (3, 20), (2, 15), (5, 30)] {
        store_message(&mut messages, "c", "a", seq, time);
    }
    let view = ConversationView { operator: "a", peer: "c", first_serial: 0, now: Millis(31_000), delay: 0 };
    let order: Vec<u32> = messages.newest_first(view, 0, (99, 0, 0)).map(|message| message.seq).collect();
    assert_eq!(order, [5, 9, 3, 2], "the limit of 4 drops the first to arrive");
    assert!(messages.inbox("a").is_empty(), "the receiver is not connected");
    messages.connect("a", Millis(31_000));
    assert_eq!(messages.inbox("a").len(), 4);
}

#[test]
fn reading_and_expiry_affect_the_right_messages() {
    let mut messages = Messages::default();
    store_message(&mut messages, "c", "a", 1, 10);
    store_message(&mut messages, "c", "a", 2, 40);
    messages.read_until("a", "c", 10);
    assert_eq!(messages.unread_count("a"), 1);
    messages.read_until("a", "c", 99);
    assert_eq!(messages.unread_count("a"), 0);
    messages.connect("a", Millis(80_000));
    let seqs: Vec<u32> = messages.inbox("a").iter().map(|message| message.seq).collect();
    assert_eq!(seqs, [2], "the message that expired at 70 is not delivered");
}
