//! What operators, metrics and stored rows see of the model: words and limits that other code does not check.

use super::*;

#[test]
fn names_are_the_documented_words() {
    assert_eq!(AgentEvent::ALL.map(AgentEvent::name), ["after_send", "recall", "edit"]);
    assert_eq!(Direction::ALL.map(Direction::name), ["to_im", "to_wechat"]);
    let kinds = [
        (MessageKind::Message, "message"),
        (MessageKind::Account, "account"),
        (MessageKind::Notice, "notice"),
        (MessageKind::Transfer, "transfer"),
        (MessageKind::Note, "note"),
        (MessageKind::Rating, "rating"),
        (MessageKind::GroupMenu, "group_menu"),
    ];
    for (kind, name) in kinds {
        assert_eq!(kind.name(), name);
    }
    for (state, name, is_open) in [
        (State::Accepted, "waiting", true),
        (State::Sending, "waiting", true),
        (State::Delivered, "delivered", false),
        (State::Held, "held", false),
        (State::Refused, "refused", false),
        (State::Unknown, "unknown", false),
        (State::Recalled, "recalled", false),
        (State::Unreadable, "unreadable", false),
        (State::Deferred, "deferred", false),
        (State::Queued, "queued", false),
    ] {
        assert_eq!((state.name(), state.is_open()), (name, is_open), "{state:?}");
    }
    let text = String::new;
    for (call, name) in [
        (OutboundCall::ImportAccount, "account_import"),
        (OutboundCall::DeleteAccount, "account_delete"),
        (OutboundCall::TextToAgent(text()), "sendmsg"),
        (OutboundCall::FirstLineToAgent(text()), "sendmsg"),
        (OutboundCall::EarlierMessageToAgent { text: text(), at_s: 0, medium: None }, "importmsg"),
        (OutboundCall::TextToCustomer(text()), "custom/send"),
    ] {
        assert_eq!(call.api_name(), name);
    }
}

#[test]
fn an_id_that_is_refused_is_described_without_its_text() {
    let problem = |text: &str| OpenId::new(text).unwrap_err().to_string();
    assert!(problem("").ends_with("not nothing"));
    assert!(problem(&"x".repeat(34)).ends_with("not 34 bytes"));
    assert!(problem(" ").ends_with("not other characters"));
    assert!(problem(&format!("{} ", "x".repeat(31))).ends_with("not other characters"));
}

#[test]
fn only_digits_behind_the_last_underscore_are_an_accounts_number() {
    for (user, openids) in
        [("oA_7", &["oA_7", "oA"][..]), ("oA_x", &["oA_x"]), ("oA_", &["oA_"]), ("oA_7x", &["oA_7x"])]
    {
        let found = ImUserId::new(user).unwrap().possible_openids();
        assert_eq!(found.iter().map(OpenId::as_str).collect::<Vec<_>>(), openids);
    }
}

#[test]
fn media_are_named_in_full_where_they_are_stored_and_in_part_where_they_are_shown() {
    let name = MediaName::of_bits(0xabc_def0_1234);
    assert_eq!(String::from(name.clone()), format!("{:0>32}", "abcdef01234"));
    assert_eq!(format!("{name:?}"), "000000…");
    assert_eq!(format!("{:?}", MediaHash::of_digest([1; 32])), "01".repeat(32));
    let shown = |kind| MediaInfo { name: name.clone(), link: "https://x/m".to_owned(), kind }.as_text();
    assert_eq!(shown(MediaInfoKind::Image), "[image]\nhttps://x/m");
    assert_eq!(shown(MediaInfoKind::Sound { original: None }), "[voice message]\nhttps://x/m");
    let video = MediaInfoKind::Video { thumb: name.clone(), thumb_link: String::new() };
    assert_eq!(shown(video), "[video]\nhttps://x/m");
}

#[test]
fn a_file_without_a_known_size_shows_none() {
    let file = |size| Attachment {
        label: "[file] a.pdf".to_owned(),
        size,
        kind: AttachmentKind::File { file_name: "a.pdf".to_owned() },
        ..attachment()
    };
    assert_eq!(file(0).as_text("link"), "[file] a.pdf\nlink");
    assert_eq!(file(1).as_text("link"), "[file] a.pdf (1 B)\nlink");
}

fn attachment() -> Attachment {
    Attachment {
        url: String::new(),
        label: String::new(),
        size: 0,
        name: MediaName::of_bits(1),
        kind: AttachmentKind::Image,
        smaller: None,
    }
}

#[test]
fn only_the_event_of_leaving_is_one() {
    let push = |body| Push {
        account: String::new(),
        from: OpenId::new("oA").unwrap(),
        create_time: 0,
        dedup_key: DedupKey::new("k"),
        body,
    };
    let event = |kind| PushBody::Event(Event { kind, details: EventDetails::default() });
    let text = Content::Text { content: String::new(), menu_id: None };
    assert!(push(event(EventKind::Unsubscribe)).is_unsubscribe());
    assert!(!push(event(EventKind::Subscribe)).is_unsubscribe());
    assert!(!push(PushBody::Message(text)).is_unsubscribe());
}

#[test]
fn repeats_are_known_for_three_days_also_under_the_key_without_a_time() {
    assert_eq!(DEDUP_RETENTION_MS, 259_200_000);
    let key = DedupKey::of_message("m:1", 5);
    assert_eq!((key.as_str(), key.earlier_form()), ("m:1:5", Some("m:1")));
    assert_eq!(DedupKey::new("e:1").earlier_form(), None);
}

#[test]
fn an_unreadable_push_is_shown_without_its_body() {
    let push = UnreadablePush { sender: None, why: "no XML".to_owned(), bytes: b"private".to_vec() };
    assert_eq!(push.to_string(), "no XML");
    let shown = format!("{push:?}");
    assert!(shown.contains("no XML") && !shown.contains("private"), "{shown}");
}

#[test]
fn a_text_that_fits_is_not_split() {
    assert_eq!(split_text("aaaaaaaaaa\nb", 12), ["aaaaaaaaaa\nb"]);
    assert_eq!(split_text("aaaaaaaaaa\nbb", 12), ["aaaaaaaaaa\n", "bb"]);
}

#[test]
fn a_failure_tells_whether_to_wait_and_whether_all_calls_have_it() {
    for class in FailureClass::ALL {
        let at_once = matches!(class, FailureClass::NextUserId | FailureClass::LostUpload);
        let of_all = matches!(class, FailureClass::Unreachable | FailureClass::Configuration);
        assert_eq!((class.retry_now(), class.is_platform_wide()), (at_once, of_all), "{class:?}");
    }
}
