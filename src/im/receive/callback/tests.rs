use super::*;
use crate::clock::Clock;
use crate::model::AnswerPart;
use proptest::prelude::*;
use serde_json::json;

fn verifier() -> CallbackVerifier {
    let agents = vec![ImUserId::new("kf_lin").unwrap(), ImUserId::new("kf_wu").unwrap()];
    CallbackVerifier::new(1_400_000_000, None, 300, agents, Clock::movable())
}

fn verified_query(command: Option<&str>, opt_platform: Option<&str>) -> VerifiedQuery {
    VerifiedQuery { command: command.map(str::to_owned), opt_platform: opt_platform.map(str::to_owned) }
}

fn sample() -> Value {
    json!({"CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "kf_lin",
        "To_Account": "oABCD1234efgh5678IJKL90_-mno",
        "MsgSeq": 609, "MsgRandom": 690, "MsgTime": 1_700_000_100, "MsgKey": "609_690_1700000100",
        "MsgId": "144115200000000002-1700000100-690", "OnlineOnlyFlag": 0, "SendMsgResult": 0,
        "ErrorInfo": "send msg succeed", "UnreadMsgNum": 1,
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "Yes, size M is in stock."}}],
        "CloudCustomData": "", "EventTime": 1_700_000_100_345_i64})
}

fn expected() -> Answer {
    Answer {
        from: ImUserId::new("kf_lin").unwrap(),
        to: ImUserId::new("oABCD1234efgh5678IJKL90_-mno").unwrap(),
        msg_key: "609_690_1700000100".to_owned(),
        msg_time: 1_700_000_100,
        msg_seq: 609,
        msg_random: 690,
        quoted: None,
        parts: vec![AnswerPart::Text("Yes, size M is in stock.".to_owned())],
    }
}

/// Reads the sample with `changes` applied; a `null` removes the member.
fn read(changes: &Value) -> Callback {
    let mut body = sample();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    verifier()
        .parse(&verified_query(Some("C2C.CallbackAfterSendMsg"), Some("Web")), body.to_string().as_bytes())
        .unwrap()
}

#[test]
fn the_documented_event_is_an_answer() {
    assert_eq!(read(&json!({})), Callback::Answer(expected()));
}

#[test]
fn members_may_be_missing_and_numbers_come_in_every_spelling() {
    let bare = json!({"MsgId": null, "OnlineOnlyFlag": null, "SendMsgResult": null, "ErrorInfo": null,
        "UnreadMsgNum": null, "CloudCustomData": null, "EventTime": null});
    let spelled = json!({"MsgSeq": "609", "MsgRandom": 690.0, "MsgTime": "1700000100", "SendMsgResult": "0",
        "EventTime": "1700000100345", "Unknown": {"x": []}});
    for changes in [bare, spelled, json!({"MsgKey": null}), json!({"MsgKey": ""})] {
        assert_eq!(read(&changes), Callback::Answer(expected()), "{changes}");
    }
}

#[test]
fn without_a_message_time_the_event_time_is_used() {
    for event_time in [json!("1700000100345"), json!(1_700_000_100_345_i64)] {
        let read = read(&json!({"MsgTime": null, "EventTime": event_time}));
        assert_eq!(read, Callback::Answer(expected()));
    }
    let Callback::Answer(answer) = read(&json!({"MsgTime": null, "EventTime": null})) else { panic!() };
    assert!(Clock::system().now().seconds().abs_diff(answer.msg_time) < 60);
}

#[test]
fn an_ignored_callback_has_its_reason() {
    for (changes, reason) in [
        (json!({"CallbackCommand": "C2C.CallbackBeforeSendMsg"}), SkipReason::CommandMismatch),
        (json!({"SendMsgResult": 80001, "From_Account": "somebody"}), SkipReason::NotDelivered),
        (json!({"From_Account": null}), SkipReason::BadAccount),
        (json!({"From_Account": 7}), SkipReason::BadAccount),
        (json!({"To_Account": "with\ttab"}), SkipReason::BadAccount),
        (json!({"MsgBody": null}), SkipReason::Empty),
        (json!({"MsgBody": []}), SkipReason::Empty),
        (json!({"MsgBody": "text"}), SkipReason::Empty),
    ] {
        assert_eq!(read(&changes), Callback::Ignored(reason), "{changes}");
    }
}

#[test]
fn an_undelivered_message_is_skipped() {
    for changes in [
        json!({"SendMsgResult": 80001, "UnreadMsgNum": -1}),
        json!({"SendMsgResult": "80001"}),
        json!({"SendMsgResult": {}}),
    ] {
        assert_eq!(read(&changes), Callback::Skipped(SkipReason::NotDelivered, expected()), "{changes}");
    }
}

#[test]
fn the_query_must_not_contradict_the_command_in_the_body() {
    let parse = |query: Option<&str>, body: Option<&str>| {
        let mut sample = sample();
        sample["CallbackCommand"] = body.map(Value::from).unwrap_or_default();
        verifier().parse(&verified_query(query, None), sample.to_string().as_bytes()).unwrap()
    };
    let after = Some("C2C.CallbackAfterSendMsg");
    let other = Some("State.StateChange");
    assert_eq!(parse(None, after), Callback::Answer(expected()));
    assert_eq!(parse(after, None), Callback::Answer(expected()));
    assert_eq!(parse(after, other), Callback::Ignored(SkipReason::CommandMismatch));
    assert_eq!(parse(other, after), Callback::Ignored(SkipReason::CommandMismatch));
    assert_eq!(parse(other, other), Callback::Ignored(SkipReason::OtherCommand));
    assert_eq!(parse(None, None), Callback::Ignored(SkipReason::OtherCommand));
}

#[test]
fn a_servers_message_in_an_agents_name_is_the_agents_unless_that_is_off() {
    let (body, stray) = (sample().to_string(), sample().to_string().replace("kf_lin", "somebody"));
    let rest_off = verifier().with_rest_answers(false);
    let parse = |verifier: &CallbackVerifier, platform: &str, body: &str| {
        verifier.parse(&verified_query(None, Some(platform)), body.as_bytes()).unwrap()
    };
    for platform in ["RESTAPI", "RestApi", "restapi"] {
        assert_eq!(parse(&verifier(), platform, &body), Callback::Answer(expected()), "{platform}");
        let skipped = Callback::Skipped(SkipReason::RestApi, expected());
        assert_eq!(parse(&rest_off, platform, &body), skipped, "{platform}");
        let ignored = Callback::Ignored(SkipReason::NotAnAgent);
        assert_eq!(parse(&verifier(), platform, &stray), ignored, "{platform}");
    }
    for platform in ["Web", "Windows", "Unknown", ""] {
        assert_eq!(parse(&rest_off, platform, &body), Callback::Answer(expected()), "{platform}");
    }
}

#[test]
fn a_message_of_someone_who_is_no_agent_is_skipped() {
    for name in ["somebody", "KF_LIN"] {
        let from = ImUserId::new(name).unwrap();
        let stray = Callback::Skipped(SkipReason::NotAnAgent, Answer { from, ..expected() });
        assert_eq!(read(&json!({"From_Account": name})), stray);
    }
}

#[test]
fn recalls_and_edits_name_their_message() {
    let parse = |command: &str, changes: &Value| {
        let mut body = sample();
        body["CallbackCommand"] = json!(command);
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        let query = verified_query(Some(command), Some("Web"));
        (verifier().parse(&query, body.to_string().as_bytes()).unwrap(), query.event())
    };
    let (recall, edit) = ("C2C.CallbackAfterMsgWithDraw", "C2C.CallbackAfterModifyMsg");
    let recalled = Callback::Recalled(expected().id());
    assert_eq!(parse(recall, &json!({"MsgBody": null})), (recalled, Some(AgentEvent::Recalled)));
    let ignored = |reason| Callback::Ignored(reason);
    assert_eq!(parse(recall, &json!({"MsgKey": null})).0, ignored(SkipReason::Empty));
    assert_eq!(parse(recall, &json!({"To_Account": ""})).0, ignored(SkipReason::BadAccount));
    let edited = AnswerEdit { answer: expected(), edited_at_ms: 1_700_000_100_345 };
    let quoted = json!({"EventTime": "1700000100345"});
    assert_eq!(parse(edit, &quoted), (Callback::Edited(edited), Some(AgentEvent::Edited)));
    assert_eq!(parse(edit, &json!({"MsgBody": []})).0, ignored(SkipReason::Empty));
    assert_eq!(parse("C2C.CallbackAfterMsgReport", &json!({})), (ignored(SkipReason::OtherCommand), None));
}

#[test]
fn a_body_that_is_not_a_json_object_is_bad() {
    for body in ["", "{", "[]", "null", "7", "\"text\"", "{} {}", "<xml/>", "{\"a\":}"] {
        assert_eq!(verifier().parse(&verified_query(None, None), body.as_bytes()), Err(BadBody), "{body}");
    }
    assert!(
        verifier().parse(&verified_query(None, None), b"\xef\xbb\xbf{\"a\":\"\xff\x01\"}").is_ok(),
        "broken, but an object"
    );
    assert_eq!(
        verifier().parse(&verified_query(None, None), b"{}"),
        Ok(Callback::Ignored(SkipReason::OtherCommand)),
        "an object is enough"
    );
    let deep = "[".repeat(100_000);
    assert_eq!(verifier().parse(&verified_query(None, None), deep.as_bytes()), Err(BadBody));
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = SkipReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), SkipReason::ALL.len());
}

proptest! {
    #[test]
    fn only_an_object_is_read_and_no_input_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let object = serde_json::from_slice::<Value>(&body).is_ok_and(|value| value.is_object());
        prop_assert_eq!(verifier().parse(&verified_query(None, None), &body).is_ok(), object);
    }

    #[test]
    fn a_member_of_any_type_is_tolerated(
        name in prop::sample::select(vec!["CallbackCommand", "From_Account", "To_Account", "MsgSeq", "MsgRandom",
            "MsgTime", "MsgKey", "SendMsgResult", "MsgBody", "EventTime"]),
        value in prop::sample::select(vec![json!(-1), json!(1e308), json!("x"), json!([[]]), json!({"a": 1}),
            json!(true), json!(u64::MAX), json!("")]),
    ) {
        let mut body = sample();
        body[name] = value;
        prop_assert!(verifier().parse(&verified_query(None, None), body.to_string().as_bytes()).is_ok());
    }
}

#[test]
fn online_only_messages_move_nothing_and_typing_is_passed_on() {
    let typing = |data: &str| json!([{"MsgType": "TIMCustomElem", "MsgContent": {"Data": data, "Desc": "", "Ext": ""}}]);
    let start = r#"{"businessID":"user_typing_status","typingStatus":1,"version":1,"userAction":14,"actionParam":"EIMAMSG_InputStatus_Ing"}"#;
    // Flutter's kit leaves `userAction` as it was.
    let end = r#"{"businessID":"user_typing_status","typingStatus":0,"version":1,"userAction":14}"#;
    let signal = |is_typing| {
        let Answer { from: agent, to, .. } = expected();
        Callback::Typing(TypingSignal { agent, to, is_typing })
    };
    for flag in [json!(1), json!("1"), json!(true), json!(0), json!(null)] {
        let read_typing = |data| read(&json!({"OnlineOnlyFlag": flag, "MsgBody": typing(data)}));
        assert_eq!((read_typing(start), read_typing(end)), (signal(true), signal(false)), "{flag}");
    }
    let ignored = Callback::Ignored(SkipReason::OnlineOnly);
    for flag in [json!(1), json!("1"), json!(1.0), json!(true), json!("true")] {
        for data in ["{\"command\":\"textInput\"}", "正在输入中"] {
            assert_eq!(read(&json!({"OnlineOnlyFlag": flag, "MsgBody": typing(data)})), ignored, "{flag}");
        }
    }
    assert_eq!(read(&json!({"MsgBody": typing(start), "From_Account": "stranger"})), ignored);
    assert_eq!(read(&json!({"MsgBody": typing(start), "SendMsgResult": 80001})), ignored);
}

#[test]
fn an_agents_coming_and_going_is_read() {
    let event = |action: &str, platform: &str, user: &str| {
        let body = json!({
            "CallbackCommand": "State.StateChange", "EventTime": 1_700_000_001_234_i64,
            "Info": {"Action": action, "To_Account": user, "Reason": "Register"},
        });
        verifier().parse(&verified_query(None, Some(platform)), body.to_string().as_bytes()).unwrap()
    };
    for (action, platform, is_present) in
        [("Login", "IOS", true), ("Logout", "Android", false), ("Disconnect", "web", false)]
    {
        let change =
            PresenceChange { agent: ImUserId::new("kf_lin").unwrap(), is_present, at_ms: 1_700_000_001_234 };
        assert_eq!(event(action, platform, "kf_lin"), Callback::Presence(change), "{action}");
    }
    for (action, platform) in [("Disconnect", "Android"), ("Sleep", "Web")] {
        let ignored = Callback::Ignored(SkipReason::OtherCommand);
        assert_eq!(event(action, platform, "kf_lin"), ignored, "a push may still reach a phone");
    }
    assert_eq!(event("Login", "Web", "anna"), Callback::Ignored(SkipReason::NotAnAgent));
}
