//! Callbacks of Tencent IM: only signed queries are accepted, any body is parsed or refused, and an
//! agent's text is not changed.

use std::borrow::Cow;

use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::im::receive::{Callback, CallbackVerifier, VerifiedQuery};
use wechat_im_bridge::internals::model::{Answer, AnswerPart, ImUserId};

const SDK_APP_ID: u32 = 1_400_000_000;
const TOKEN: &str = "kf-bridge-token";
const NOW_S: i64 = 1_700_000_123;
const MAX_SKEW_S: u64 = 300;
const AGENT: &str = "kf_lin";

/// `input` is the query of a callback, a line feed, and the body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (query, body) = input.split_at(end);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let verifier = verifier();
    let query = String::from_utf8_lossy(query);
    if let Ok(verified) = verifier.verify_query(&query) {
        check_query(&query);
        check_body(&verifier, &verified, body);
    }
    check_body(&verifier, &VerifiedQuery { command: None, opt_platform: None }, body);
}

/// The bridge's verifier of callbacks.
pub fn verifier() -> CallbackVerifier {
    let clock = Clock::movable();
    clock.advance(NOW_S * 1000 + 100 - clock.now().0);
    let agents = vec![ImUserId::new("kf_wu").unwrap(), ImUserId::new(AGENT).unwrap()];
    CallbackVerifier::new(SDK_APP_ID, Some(SecretString::from(TOKEN)), MAX_SKEW_S, agents, clock)
}

/// Checks an accepted query: it has the app's id and the time exactly once, and is signed.
fn check_query(query: &str) {
    let only = |parameter: &str| -> Cow<'_, str> {
        let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == parameter);
        let (_, value) = found.next().unwrap();
        assert!(found.next().is_none(), "{parameter} is repeated");
        value
    };
    assert_eq!(only("SdkAppid"), SDK_APP_ID.to_string());
    let time = only("RequestTime");
    assert!(time.parse::<i64>().unwrap().abs_diff(NOW_S) <= MAX_SKEW_S);
    let expected = hex::encode(Sha256::digest(format!("{TOKEN}{time}")));
    assert_eq!(only("Sign").to_ascii_lowercase(), expected);
}

fn check_body(verifier: &CallbackVerifier, query: &VerifiedQuery, body: &[u8]) {
    let json = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    match (verifier.parse(query, body), json) {
        // A broken document may be repaired. What is repaired is not judged here.
        (_, None) | (Ok(Callback::Ignored(_) | Callback::Typing(_) | Callback::Presence(_)), Some(_)) => {}
        (Ok(Callback::Skipped(_, answer)), Some(json)) => {
            assert!(!is_agent(&answer) && !is_from_server(query) || json["SendMsgResult"] != 0);
            check_answer(&answer, &json);
        }
        (Ok(Callback::Answer(answer)), Some(json)) => {
            assert!(is_agent(&answer));
            check_answer(&answer, &json);
        }
        (Ok(Callback::Edited(edit)), Some(json)) => check_answer(&edit.answer, &json),
        (Ok(Callback::Recalled(id)), Some(json)) => {
            assert_eq!(
                (&json["From_Account"], &json["To_Account"]),
                (&id.from.as_str().into(), &id.to.as_str().into())
            );
            assert_eq!(json["MsgKey"], id.msg_key.as_str());
        }
        (parsed, json) => panic!("{parsed:?} of {json:?}"),
    }
}

fn is_from_server(verified: &VerifiedQuery) -> bool {
    verified.opt_platform.as_deref().is_some_and(|platform| platform.to_lowercase() == "restapi")
}

fn is_agent(answer: &Answer) -> bool {
    ["kf_wu", AGENT].contains(&answer.from.as_str())
}

fn check_answer(answer: &Answer, json: &Value) {
    assert_eq!(json["From_Account"], answer.from.as_str());
    assert_eq!(json["To_Account"], answer.to.as_str());
    assert!(answer.msg_time > 0 && !answer.msg_key.is_empty());
    // An app-defined element becomes words, a notice or nothing.
    let elements = json["MsgBody"].as_array().unwrap().iter();
    let elements: Vec<&Value> = elements.filter(|element| element["MsgType"] != "TIMCustomElem").collect();
    let is_custom = |part: &&AnswerPart| {
        matches!(
            part,
            AnswerPart::Custom { .. }
                | AnswerPart::Untranslatable(_)
                | AnswerPart::Card(_)
                | AnswerPart::BadCard(_)
        )
    };
    let parts: Vec<&AnswerPart> = answer.parts.iter().filter(|part| !is_custom(part)).collect();
    assert!(elements.len() == parts.len() || json["MsgBody"].to_string().contains("TIMCustomElem"));
    for (element, part) in elements.into_iter().zip(parts) {
        let text = element["MsgContent"]["Text"].as_str();
        match part {
            AnswerPart::Text(parsed) => assert_eq!(parsed, text.unwrap_or_default()),
            _ => assert!(element["MsgType"] != "TIMTextElem" || text.is_none(), "{element}"),
        }
        match part {
            AnswerPart::Location { latitude, longitude, .. } => {
                assert!(latitude.is_finite() && longitude.is_finite());
            }
            AnswerPart::File { name, .. } => assert!(!name.contains(['/', '\\']), "{name}"),
            AnswerPart::Other { kind } => assert!(kind.chars().count() <= 64),
            _ => {}
        }
    }
}
