//! Fuzzing without a fuzzer: documents of both platforms, in both directions and formats, changed at random from a fixed
//! seed. None may end in a panic or in an outcome that the contract does not have, and a damaged element may cost no
//! other one.
//!
//! A normal run changes a few hundred documents of each kind. `FUZZ_DOCUMENTS=100000 cargo test --test it mutations::`
//! changes as many of each kind, and prints the outcomes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use wechat_im_bridge::internals::im::receive::{Callback, VerifiedQuery};
use wechat_im_bridge::internals::im::send::HistoryPage;
use wechat_im_bridge::internals::json;
use wechat_im_bridge::internals::model::{AnswerPart, Content, PushBody};
use wechat_im_bridge::internals::wechat::receive::xml::Element;
use wechat_im_bridge::internals::wechat::receive::{PushError, document, parse};
use wechat_im_bridge::internals::wechat::send::{Failure, read_outcome};

use crate::fuzz_corpora::{fuzz, inputs};

/// Documents of each kind in a normal run.
const DOCUMENTS: usize = 400;
/// Larger documents are not changed any further.
const MAX_BYTES: usize = 20_000;
/// Pieces that have a meaning to some reader.
const PIECES: [&[u8]; 34] = [
    b"]]>",
    b"<![CDATA[",
    b"</Content>",
    b"<Content>",
    b"<MsgId>",
    b"</MsgId>",
    b"<FromUserName>",
    b"<xml>",
    b"</xml>",
    b"<!DOCTYPE x>",
    b"<?xml",
    b"&",
    b"&#0;",
    b"&lt;",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"\\ud83d",
    b"\\u0000",
    b"\\x",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"-1e999",
    b"\x00",
    b"\x1b[0m",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n\t",
];

fn documents() -> usize {
    std::env::var("FUZZ_DOCUMENTS").map_or(DOCUMENTS, |number| number.parse().unwrap())
}

fn is_long_run() -> bool {
    std::env::var_os("FUZZ_DOCUMENTS").is_some()
}

fn generator(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn pick<'a, T: ?Sized>(random: &mut StdRng, of: &[&'a T]) -> &'a T {
    of[random.random_range(0..of.len())]
}

/// Changes a document, mostly at one place.
fn mutate(random: &mut StdRng, document: &mut Vec<u8>, other: &[u8]) {
    let places = if random.random_bool(0.7) { 1 } else { random.random_range(2..=4) };
    for _ in 0..places {
        let at = random.random_range(0..=document.len());
        let end = random.random_range(at..=document.len().min(at + 40));
        match random.random_range(0..7) {
            0 if at < document.len() => document[at] ^= 1 << random.random_range(0..8),
            1 => document.insert(at, random.random()),
            2 => drop(document.drain(at..end)),
            3 => {
                let again = document[at..end].to_vec();
                document.splice(at..at, again);
            }
            4 if random.random_bool(0.2) => document.truncate(at),
            5 if !other.is_empty() => {
                let from = random.random_range(0..other.len());
                let to = random.random_range(from..=other.len().min(from + 60));
                document.splice(at..end, other[from..to].iter().copied());
            }
            _ => drop(document.splice(at..at, pick(random, &PIECES).iter().copied())),
        }
    }
}

/// Changes documents of a corpus, and counts the outcomes that `check` finds.
fn mutate_all(kind: &str, seed: u64, corpus: &[Vec<u8>], check: impl Fn(&[u8]) -> String) {
    let (started, mut random, mut outcomes) =
        (Instant::now(), generator(seed), BTreeMap::<String, usize>::new());
    for _ in 0..documents() {
        let mut document = corpus[random.random_range(0..corpus.len())].clone();
        if document.len() > MAX_BYTES {
            continue;
        }
        let other = &corpus[random.random_range(0..corpus.len())];
        mutate(&mut random, &mut document, other);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&document)))
            .unwrap_or_else(|_| panic!("{kind}: {:?}", String::from_utf8_lossy(&document)));
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(outcomes.len() > 1, "{kind}: all documents end alike: {outcomes:?}");
    report(kind, started, &outcomes);
}

/// Prints the outcomes of a long run.
fn report(kind: &str, started: Instant, outcomes: &BTreeMap<String, usize>) {
    if is_long_run() {
        let line = format!("{kind}: {:.1} s, {outcomes:?}\n", started.elapsed().as_secs_f64());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    inputs(target).iter().map(|input| std::fs::read(input).unwrap()).collect()
}

/// A push of the corpus as an account gets it whose data format is JSON.
fn as_json(element: &Element) -> Value {
    if element.children().is_empty() {
        return element.content().into();
    }
    Value::Object(element.children().iter().map(|child| (child.name().to_owned(), as_json(child))).collect())
}

fn json_pushes() -> Vec<Vec<u8>> {
    let read = corpus("xml").into_iter().filter_map(|body| document::read(&body).ok());
    read.filter(|root| !root.children().is_empty())
        .map(|root| as_json(&root).to_string().into_bytes())
        .collect()
}

/// The outcome of a push; the contract has these and no others.
fn push_outcome(body: &[u8]) -> String {
    fuzz::xml::check(body);
    match parse(body) {
        Ok(push) => match push.body {
            PushBody::Message(_) => "message".to_owned(),
            PushBody::Event(_) => "event".to_owned(),
        },
        Err(PushError::Xml(_) | PushError::Missing(_) | PushError::Sender(_)) => "unreadable".to_owned(),
    }
}

#[test]
fn mutated_xml_pushes_are_read_or_kept_as_unreadable() {
    mutate_all("WeChat's pushes, XML", 1, &corpus("xml"), push_outcome);
}

#[test]
fn mutated_json_pushes_are_read_or_kept_as_unreadable() {
    let pushes = json_pushes();
    assert!(pushes.len() > 20);
    mutate_all("WeChat's pushes, JSON", 2, &pushes, push_outcome);
}

#[test]
fn mutated_callbacks_move_a_message_or_nothing() {
    let verifier = fuzz::callback::verifier();
    mutate_all("IM's callbacks", 3, &corpus("callback"), |input| {
        fuzz::callback::check(input);
        let body = input.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default();
        let query =
            VerifiedQuery { command: Some("C2C.CallbackAfterSendMsg".to_owned()), opt_platform: None };
        match verifier.parse(&query, body) {
            Ok(Callback::Answer(_)) => "answer".to_owned(),
            Ok(Callback::Skipped(reason, _) | Callback::Ignored(reason)) => {
                format!("ignored: {}", reason.name())
            }
            Ok(Callback::Typing(_)) => "typing".to_owned(),
            Ok(Callback::Presence(_)) => "presence".to_owned(),
            Ok(Callback::Recalled(_)) => "recall".to_owned(),
            Ok(Callback::Edited(_)) => "edit".to_owned(),
            Err(_) => "400".to_owned(),
        }
    });
}

/// A message in a page of the history.
fn past(seq: u64, elements: &Value) -> Value {
    json!({
        "From_Account": "user1", "To_Account": "oBridgeUser0000000000000001x", "MsgSeq": seq, "MsgRandom": seq + 7,
        "MsgTimeStamp": 1_700_000_000 + seq, "MsgFlagBits": 0, "MsgKey": format!("{seq}_{}_1", seq + 7),
        "MsgBody": elements, "CloudCustomData": "",
    })
}

fn page(messages: &[Value]) -> Value {
    json!({
        "ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "Complete": 1, "MsgCnt": messages.len(),
        "LastMsgTime": 1_700_000_000, "LastMsgKey": "1_8_1", "MsgList": messages,
    })
}

fn text(words: &str) -> Value {
    json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": words}}])
}

#[test]
fn mutated_pages_of_the_history_are_read_or_asked_for_again() {
    let bodies = corpus("callback").into_iter().filter_map(|input| {
        let body = input.splitn(2, |byte| *byte == b'\n').nth(1)?.to_vec();
        let elements = serde_json::from_slice::<Value>(&body).ok()?.get("MsgBody")?.clone();
        Some(
            page(&[past(1, &text("first")), past(2, &elements), past(3, &text("last"))])
                .to_string()
                .into_bytes(),
        )
    });
    mutate_all("IM's history pages", 4, &bodies.collect::<Vec<_>>(), |body| {
        let Ok(answer) = json::from_slice::<Value>(body) else { return "no JSON: asked again".to_owned() };
        match HistoryPage::read(&answer) {
            Ok(page) => format!("{} messages", page.messages.len().min(4)),
            Err(_) => "incomplete: asked again".to_owned(),
        }
    });
}

#[test]
fn mutated_answers_of_wechat_are_a_code_or_unknown() {
    let answers = [
        r#"{"errcode":0,"errmsg":"ok"}"#,
        r#"{"errcode":"45015","errmsg":"response out of time limit or subscription is canceled rid: 1-2-3"}"#,
        "\u{feff}{\"errcode\":0,\"errmsg\":\"ok\",\"msgid\":123}",
        r#"{"errcode":40001,"errmsg":"invalid credential","media_id":null,"thumb_media_id":["x"]}"#,
        r#"{"errcode":-1,"errmsg":"system error \ud83d"}"#,
    ];
    let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.as_bytes().to_vec()).collect();
    mutate_all("WeChat's answers", 5, &answers, |body| match read_outcome(body) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Code { code: 45015 | 40001 | -1, .. }) => "the code".to_owned(),
        Err(Failure::Code { .. }) => "another code".to_owned(),
        Err(Failure::NoAnswer(..)) => "unknown".to_owned(),
        Err(failure) => panic!("{failure}"),
    });
}

/// Any JSON value, down to some levels.
fn any_value(random: &mut StdRng, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => random.random::<bool>().into(),
        2 => random.random::<i64>().into(),
        3 => random.random::<f64>().into(),
        4 => String::from_utf8_lossy(pick(random, &PIECES)).into(),
        5 => pick(
            random,
            &["TIMTextElem", "TIMCustomElem", "{\"businessID\":\"user_typing_status\"}", "{\"wx\":1}"],
        )
        .into(),
        6 => (0..random.random_range(0..4)).map(|_| any_value(random, depth - 1)).collect(),
        _ => (0..random.random_range(0..4)).map(|n| (n.to_string(), any_value(random, depth - 1))).collect(),
    }
}

/// An element of any kind, with one member or more of another type than it should have.
fn damaged_element(random: &mut StdRng) -> Value {
    let kinds = [
        "TIMTextElem",
        "TIMImageElem",
        "TIMSoundElem",
        "TIMFileElem",
        "TIMVideoFileElem",
        "TIMLocationElem",
        "TIMFaceElem",
        "TIMCustomElem",
        "TIMRelayElem",
        "TIMNewElem",
    ];
    let members = [
        "Text",
        "UUID",
        "ImageFormat",
        "ImageInfoArray",
        "Url",
        "Size",
        "Second",
        "FileName",
        "FileSize",
        "VideoUrl",
        "ThumbUrl",
        "Desc",
        "Latitude",
        "Longitude",
        "Index",
        "Data",
        "Ext",
        "Title",
        "AbstractList",
        "CompatibleText",
    ];
    let mut content = Map::new();
    for _ in 0..random.random_range(0..4) {
        content.insert(pick(random, &members).to_owned(), any_value(random, 3));
    }
    match random.random_range(0..6) {
        0 => any_value(random, 3),
        1 => json!({"MsgType": any_value(random, 1), "MsgContent": content}),
        2 => json!({"MsgType": pick(random, &kinds), "MsgContent": any_value(random, 2)}),
        _ => json!({"MsgType": pick(random, &kinds), "MsgContent": content}),
    }
}

/// Breaks bytes inside the texts of a document that stand between `{{` and `}}`: raw control bytes, halves of surrogate
/// pairs and invalid UTF-8.
fn with_broken_text(random: &mut StdRng, document: &str) -> Vec<u8> {
    let broken: [&[u8]; 6] = [b"\x01", b"\x1b[0m", b"\\ud83d", b"\\ude00", b"\xff", b"\n"];
    let Some((before, rest)) = document.split_once("{{") else { return document.as_bytes().to_vec() };
    let (_, after) = rest.split_once("}}").unwrap();
    [before.as_bytes(), pick(random, &broken), after.as_bytes()].concat()
}

/// The texts among the parts.
fn words(parts: &[AnswerPart]) -> Vec<&str> {
    let texts = parts.iter().filter_map(|part| match part {
        AnswerPart::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_damaged_element_of_a_callback_costs_no_other_one() {
    let (started, mut random, mut outcomes) = (Instant::now(), generator(6), BTreeMap::new());
    let verifier = fuzz::callback::verifier();
    let query = VerifiedQuery { command: None, opt_platform: None };
    for _ in 0..documents() {
        let damaged = damaged_element(&mut random);
        let body = json!({
            "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "kf_lin",
            "To_Account": "oBridgeUser0000000000000001x", "MsgSeq": 1, "MsgRandom": 2, "MsgTime": 1_700_000_000,
            "MsgKey": "1_2_3", "SendMsgResult": 0, "CloudCustomData": any_value(&mut random, 2),
            "MsgBody": [text("before")[0], damaged, text("{{x}}")[0], text("after")[0]],
        });
        let body = with_broken_text(&mut random, &body.to_string());
        let shown = String::from_utf8_lossy(&body).into_owned();
        let Ok(Callback::Answer(answer)) = verifier.parse(&query, &body) else { panic!("not read: {shown}") };
        let words = words(&answer.parts);
        assert!(words.first() == Some(&"before") && words.last() == Some(&"after"), "{words:?} of {shown}");
        let others = answer.parts.len() - 2;
        *outcomes.entry(format!("both neighbours and {others} more")).or_default() += 1;
    }
    report("a damaged element of a callback", started, &outcomes);
}

#[test]
fn a_damaged_message_of_a_page_costs_no_other_one() {
    let (started, mut random, mut outcomes) = (Instant::now(), generator(7), BTreeMap::new());
    for _ in 0..documents() {
        let mut damaged = past(2, &json!([text("{{x}}")[0], damaged_element(&mut random)]));
        for _ in 0..random.random_range(0..4) {
            let members =
                ["From_Account", "To_Account", "MsgSeq", "MsgTimeStamp", "MsgKey", "MsgFlagBits", "MsgBody"];
            damaged[pick(&mut random, &members)] = any_value(&mut random, 3);
        }
        let damaged = if random.random_bool(0.1) { any_value(&mut random, 3) } else { damaged };
        let page = page(&[past(1, &text("before")), damaged, past(3, &text("after"))]);
        let body = with_broken_text(&mut random, &page.to_string());
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = json::from_slice::<Value>(&body).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let messages = HistoryPage::read(&answer).unwrap_or_else(|error| panic!("{error}: {shown}")).messages;
        let words_of = |at: usize| words(&messages[at].message.parts);
        assert!((2..=3).contains(&messages.len()), "{shown}");
        assert_eq!((words_of(0), words_of(messages.len() - 1)), (vec!["before"], vec!["after"]), "{shown}");
        *outcomes.entry(format!("both neighbours and {} more", messages.len() - 2)).or_default() += 1;
    }
    report("a damaged message of a page", started, &outcomes);
}

#[test]
fn words_of_a_customer_cost_no_other_field_of_a_push() {
    let (started, mut random, mut outcomes) = (Instant::now(), generator(8), BTreeMap::new());
    for number in 0..documents() {
        let pieces: Vec<&[u8]> =
            (0..random.random_range(0..12)).map(|_| pick(&mut random, &PIECES)).collect();
        let words = String::from_utf8_lossy(&pieces.concat()).into_owned();
        let is_json = number % 2 == 1;
        let body = if is_json {
            json!({"ToUserName": "gh_1", "FromUserName": "oReal", "CreateTime": 1_700_000_000, "MsgType": "text",
                "Content": words, "MsgId": 7})
            .to_string()
        } else {
            format!(
                "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oReal]]></FromUserName>\
                 <CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType>\
                 <Content><![CDATA[{words}]]></Content><MsgId>7</MsgId></xml>"
            )
        };
        let push = parse(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        assert_eq!(
            (push.from.as_str(), push.account.as_str(), push.create_time),
            ("oReal", "gh_1", 1_700_000_000)
        );
        assert_eq!(push.dedup_key.as_str(), "m:7:oReal:gh_1:1700000000", "{body:?}");
        let PushBody::Message(Content::Text { content, menu_id: None }) = push.body else {
            panic!("{body:?}")
        };
        // XML has one kind of line break.
        let as_typed = if is_json { words } else { words.replace("\r\n", "\n").replace('\r', "\n") };
        assert_eq!(content, as_typed, "{body:?}");
        *outcomes.entry(if is_json { "JSON" } else { "XML" }.to_owned()).or_default() += 1;
    }
    report("words of a customer", started, &outcomes);
}

#[test]
fn a_damaged_member_of_wechats_answer_costs_no_other_one() {
    let (started, mut random, mut outcomes) = (Instant::now(), generator(9), BTreeMap::new());
    for _ in 0..documents() {
        let code = if random.random_bool(0.5) { json!(45015) } else { json!("45015") };
        let mut answer = json!({"errcode": code, "errmsg": "{{x}}", "msgid": any_value(&mut random, 3)});
        for member in ["errmsg", "media_id", "thumb_media_id", "type"] {
            if random.random_bool(0.3) {
                answer[member] = any_value(&mut random, 3);
            }
        }
        let body = with_broken_text(&mut random, &answer.to_string());
        let outcome = read_outcome(&body);
        let is_read = matches!(outcome, Err(Failure::Code { code: 45015, .. }));
        assert!(is_read, "{outcome:?} of {}", String::from_utf8_lossy(&body));
        *outcomes.entry("the code".to_owned()).or_default() += 1;
    }
    report("a damaged member of WeChat's answer", started, &outcomes);
}
