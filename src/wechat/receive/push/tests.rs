use proptest::prelude::*;

use super::*;
use crate::model::{Content, Event, EventDetails, EventKind};

const FROM: &str = "oBridgeUser0000000000000001x";

const COMMON: [&str; 3] = [
    "<ToUserName><![CDATA[gh_bridge000001]]></ToUserName>",
    "<FromUserName><![CDATA[oBridgeUser0000000000000001x]]></FromUserName>",
    "<CreateTime>1700000000</CreateTime>",
];

fn document(elements: &[&str]) -> String {
    format!("<xml>{}{}</xml>", COMMON.concat(), elements.concat())
}

fn push(elements: &[&str]) -> Push {
    parse(document(elements).as_bytes()).unwrap()
}

fn key(elements: &[&str]) -> String {
    push(elements).dedup_key.as_str().to_owned()
}

#[test]
fn the_first_example_of_the_reference_is_parsed() {
    let parsed = push(&[
        "<MsgType><![CDATA[text]]></MsgType>",
        "<Content><![CDATA[你好, bridge]]></Content>",
        "<MsgId>24300000000000001</MsgId>",
    ]);
    assert_eq!(
        parsed,
        Push {
            account: "gh_bridge000001".to_owned(),
            from: OpenId::new(FROM).unwrap(),
            create_time: 1_700_000_000,
            dedup_key: DedupKey::of_message(
                &format!("m:24300000000000001:{FROM}:gh_bridge000001"),
                1_700_000_000
            ),
            body: PushBody::Message(Content::Text { content: "你好, bridge".to_owned(), menu_id: None }),
        }
    );
}

#[test]
fn an_event_is_reduced_to_its_meaning_and_its_details() {
    let parsed = push(&[
        "<MsgType><![CDATA[event]]></MsgType>",
        "<Event><![CDATA[subscribe]]></Event>",
        "<EventKey><![CDATA[qrscene_shop42]]></EventKey>",
        "<Ticket><![CDATA[TICKET_1]]></Ticket>",
    ]);
    let details = EventDetails {
        name: "subscribe".to_owned(),
        key: Some("qrscene_shop42".to_owned()),
        scene: Some("shop42".to_owned()),
        ticket: Some("TICKET_1".to_owned()),
        status: None,
    };
    assert_eq!(parsed.body, PushBody::Event(Event { kind: EventKind::Subscribe, details }));
    assert_eq!(
        parsed.dedup_key.as_str(),
        format!("e:1700000000:{FROM}:subscribe:qrscene_shop42:gh_bridge000001")
    );
}

#[test]
fn numbers_keep_every_digit_and_lose_their_whitespace() {
    for id in ["18446744073709551615", "\n 18446744073709551615 ", "<![CDATA[18446744073709551615]]>"] {
        let id = format!("<MsgId>{id}</MsgId>");
        assert_eq!(
            key(&["<MsgType>text</MsgType>", &id]),
            format!("m:18446744073709551615:{FROM}:gh_bridge000001:1700000000")
        );
    }
    assert!(key(&["<MsgType>text</MsgType>", "<MsgId>no-number</MsgId>"]).starts_with("m:no-number:"));
}

#[test]
fn different_pushes_have_different_keys() {
    let event =
        |name: &str, rest: &str| key(&["<MsgType>event</MsgType>", &format!("<Event>{name}</Event>"), rest]);
    let long = |last: &str| format!("<EventKey>https://example.com/{}{last}</EventKey>", "x".repeat(200));
    let keys = [
        event("CLICK", "<EventKey>A</EventKey>"),
        event("CLICK", "<EventKey>B</EventKey>"),
        event("VIEW", "<EventKey>A</EventKey>"),
        event("CLICK", ""),
        event("VIEW", &long("1")),
        event("VIEW", &long("2")),
        event("TEMPLATESENDJOBFINISH", "<MsgID>1</MsgID>"),
        event("TEMPLATESENDJOBFINISH", "<MsgID>2</MsgID>"),
        key(&["<MsgType>text</MsgType>", "<MsgId>1</MsgId>"]),
        key(&["<MsgType>text</MsgType>", "<MsgId>2</MsgId>"]),
        key(&["<MsgType>text</MsgType>", "<Content>a</Content>"]),
        key(&["<MsgType>text</MsgType>", "<Content>b</Content>"]),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
    assert!(keys.iter().all(|key| key.len() < 200), "{keys:?}");
    assert_eq!(event("click", "<EventKey>A</EventKey>"), keys[0]);
}

#[test]
fn a_message_without_an_id_is_identified_by_its_fields_in_any_order() {
    let (kind, content) = ("<MsgType>text</MsgType>", "<Content>a</Content>");
    assert_eq!(key(&[kind, content]), key(&[content, kind]));
    assert!(key(&[kind, content]).starts_with(&format!("n:1700000000:{FROM}:")));
}

#[test]
fn a_missing_element_is_named() {
    let (to, from, time) = (COMMON[0], COMMON[1], COMMON[2]);
    for (elements, missing) in [
        (vec![to, time, "<MsgType>text</MsgType>"], "FromUserName"),
        (vec![to, from, time], "MsgType"),
        (vec![to, from, time, "<MsgType>event</MsgType>"], "Event"),
        (vec![to, from, "<MsgType>event</MsgType>", "<Event>CLICK</Event>"], "CreateTime"),
        (vec![to, from, "<MsgType>text</MsgType>", "<Content>a</Content>"], "MsgId"),
        (vec![to, "<FromUserName> </FromUserName>", "<MsgType>text</MsgType>"], "FromUserName"),
    ] {
        let xml = format!("<xml>{}</xml>", elements.concat());
        assert_eq!(parse(xml.as_bytes()), Err(PushError::Missing(missing)), "{xml}");
    }
    let foreign = "<xml><ToUserName>gh</ToUserName><FromUserName>不是</FromUserName></xml>";
    assert!(matches!(parse(foreign.as_bytes()), Err(PushError::Sender(_))));
    assert_eq!(parse(b"[]"), Err(PushError::Xml(xml::XmlError::WrongRoot)));
    assert_eq!(parse(b"{}"), Err(PushError::Missing("FromUserName")));
}

#[test]
fn a_message_with_an_id_needs_no_time() {
    let xml = format!("<xml>{}{}<MsgType>text</MsgType><MsgId>1</MsgId></xml>", COMMON[0], COMMON[1]);
    assert_eq!(parse(xml.as_bytes()).unwrap().create_time, 0);
}

#[test]
fn names_are_bounded() {
    let long = "长".repeat(1000);
    let kind = format!("<MsgType>{long}</MsgType>");
    match push(&[&kind, "<MsgId>1</MsgId>"]).body {
        PushBody::Message(content) => assert_eq!(content.msg_type(), "长".repeat(64)),
        PushBody::Event(event) => panic!("{event:?}"),
    }
}

proptest! {
    #[test]
    fn the_order_of_elements_and_unknown_ones_between_them_change_nothing(
        order in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(),
        cdata in any::<bool>(),
    ) {
        let elements = [
            COMMON[0],
            COMMON[1],
            COMMON[2],
            "<MsgType><![CDATA[voice]]></MsgType>",
            if cdata { "<MediaId><![CDATA[v1]]></MediaId>" } else { "<MediaId>v1</MediaId>" },
            "<Format><![CDATA[amr]]></Format>",
            "<MsgId>24300000000000004</MsgId>",
            "<Extra><MsgId>1</MsgId><FromUserName>nobody</FromUserName></Extra>",
            "\n<Novel a='b'/>\n",
        ];
        let shuffled: String = order.iter().map(|index| elements[*index]).collect();
        prop_assert_eq!(
            parse(format!("<xml>{shuffled}</xml>").as_bytes()),
            parse(format!("<xml>{}</xml>", elements[..7].concat()).as_bytes())
        );
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_field_makes_it_panic(
        name in prop::sample::select(&["MsgType", "Event", "CreateTime", "MsgId", "EventKey", "Location_X"][..]),
        value in any::<String>(),
        kind in prop::sample::select(&["text", "event", "location"][..]),
    ) {
        let value = value.replace("]]>", "");
        let kind = format!("<MsgType>{kind}</MsgType>");
        let field = format!("<{name}><![CDATA[{value}]]></{name}>");
        let _ = parse(document(&[&field, &kind, "<Event>VIEW</Event>"]).as_bytes());
    }
}

#[test]
fn one_msgid_with_another_time_is_another_message() {
    let at = |time: &str| {
        let document = document(&["<MsgType>text</MsgType>", "<MsgId>7</MsgId>"]);
        parse(document.replace("1700000000", time).as_bytes()).unwrap().dedup_key
    };
    assert_eq!(at("1700000000"), at("1700000000"));
    assert_ne!(at("1700000000").as_str(), at("1700000001").as_str());
    assert_eq!(at("1700000000").earlier_form(), at("1700000001").earlier_form());
}

#[test]
fn what_devices_push_is_an_event_that_opens_no_window() {
    for (kind, event) in [("device_event", "subscribe"), ("device_text", ""), ("Device_Event", "unsubscribe")]
    {
        let pushed = push(&[
            &format!("<MsgType>{kind}</MsgType><Event>{event}</Event><DeviceID>dev-1</DeviceID>"),
            "<Content>MTIz</Content><MsgId>9</MsgId>",
        ]);
        let PushBody::Event(read) = pushed.body else { panic!("{kind}: {:?}", pushed.body) };
        assert_eq!((read.kind, read.name()), (EventKind::Other, kind.to_ascii_lowercase().as_str()));
    }
}
