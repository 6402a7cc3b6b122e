//! App-defined elements (`TIMCustomElem`) of agents' clients: what a customer reads of them. Pure.
//!
//! Tencent's kits send calls, cards, forms and plug-in traffic this way, and every house app its own. A JSON object never
//! reaches a customer.

use serde_json::{Value, json};

use crate::json;
use crate::model::{AnswerPart, Card, Untranslatable};

const CALL: AnswerPart = AnswerPart::Untranslatable(Untranslatable::Call);
const USELESS: AnswerPart = AnswerPart::Untranslatable(Untranslatable::Custom);

/// The kits' elements about groups and meetings, which mean nothing in a conversation with a customer.
const ROOMS: [&str; 5] =
    ["group_create", "group_room_message", "quick_conference", "ROOM_INVITE_ACTION", "tuikit_engine_room"];

/// What the customer reads of an element; `None` where it means nothing to anyone. `has_words` says whether the message has a text of its own beside it.
pub(super) fn translate(data: &str, description: &str, has_words: bool) -> Option<AnswerPart> {
    let trimmed = data.trim();
    if trimmed == "consultion" {
        return Some(USELESS);
    }
    let is_json = trimmed.starts_with(['{', '[', '\u{feff}']);
    let value = if is_json { json::from_slice::<Value>(trimmed.as_bytes()).ok() } else { None };
    match value {
        Some(value) if value.is_object() => object(&value, description, has_words),
        // A list, or an object that cannot be read.
        _ if is_json => or_tell(described(description)),
        _ => described(description).or_else(|| text(&[trimmed])),
    }
}

fn object(value: &Value, description: &str, has_words: bool) -> Option<AnswerPart> {
    let word = |name: &str| value.get(name).and_then(json::text).unwrap_or_default();
    let business = word("businessID");
    if value.get("wx").is_some() {
        // A customer's card that an agent forwards. Clients send its words as a text beside it.
        let is_forwarded = business == "text_link" || word("wx") == "link";
        return match Card::of_object(value) {
            _ if is_forwarded && has_words => None,
            Ok(card) => Some(AnswerPart::Card(card)),
            Err(_) if is_forwarded => or_tell(text(&[&word("title"), &word("description"), &word("url")])),
            Err(problem) => Some(AnswerPart::BadCard(problem)),
        };
    }
    match &*business {
        "user_typing_status" => return None,
        "1" => return call(value),
        "text_link" => return or_tell(text(&[&word("text"), &word("link")])),
        "order" => {
            let lines = [word("title"), word("description"), word("price"), word("link")];
            let lines = lines.each_ref().map(|line| &**line);
            let card = Card::of_object(&json!({
                "wx": "news",
                "title": lines[0],
                "description": format!("{} {}", lines[1], lines[2]),
                "url": lines[3],
                "picurl": word("imageUrl"),
            }));
            return card.map(AnswerPart::Card).ok().or_else(|| or_tell(text(&lines)));
        }
        "evaluation" => {
            let score =
                value.get("score").and_then(json::integer).and_then(|score| usize::try_from(score).ok());
            let stars = score.map_or_else(String::new, |score| "★".repeat(score.min(5)));
            return or_tell(text(&[&stars, &word("comment")]));
        }
        name if ROOMS.contains(&name) => return Some(USELESS),
        _ => {}
    }
    if value.get("customerServicePlugin").is_some() || value.get("chatbotPlugin").is_some() {
        return None;
    }
    if value.get("inviteID").is_some() && value.get("actionType").is_some() {
        return call(value);
    }
    described(description).or_else(|| {
        let first = ["text", "content", "title"].into_iter().find(|name| {
            value.get(name).and_then(Value::as_str).is_some_and(|words| !words.trim().is_empty())
        });
        let words = first.map(word).unwrap_or_default();
        or_tell(if words.trim_start().starts_with(['{', '[']) { None } else { text(&[&words, &word("url")]) })
    })
}

/// Only the invitation is told: it is followed by an end, a refusal or a time-out.
fn call(value: &Value) -> Option<AnswerPart> {
    let is_invitation = value.get("actionType").and_then(json::integer) == Some(1);
    if is_invitation { Some(CALL) } else { None }
}

fn described(description: &str) -> Option<AnswerPart> {
    let is_json = description.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<Value>(description).is_ok();
    if is_json { None } else { text(&[description]) }
}

fn or_tell(words: Option<AnswerPart>) -> Option<AnswerPart> {
    words.or(Some(USELESS))
}

/// The lines that have words; `None` if none has.
fn text(lines: &[&str]) -> Option<AnswerPart> {
    let words: Vec<&str> = lines.iter().copied().filter(|line| !line.trim().is_empty()).collect();
    if words.is_empty() { None } else { Some(AnswerPart::Custom { text: words.join("\n") }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CardProblem;
    use proptest::prelude::*;

    fn words(text: &str) -> AnswerPart {
        AnswerPart::Custom { text: text.to_owned() }
    }

    #[test]
    fn what_the_kits_send_becomes_words_or_nothing() {
        let call = |action: i64| {
            format!(
                r#"{{"businessID":1,"inviteID":"a","inviter":"user1","inviteeList":["o1"],"actionType":{action},"groupID":"",
                    "timeout":30,"data":"{{\"businessID\":\"av_call\",\"call_type\":1}}"}}"#
            )
        };
        let useless = Some(USELESS);
        for (data, expected) in [
            (call(1).as_str(), Some(CALL)),
            (&call(2), None),
            (&call(5), None),
            (r#"{"businessID":"user_typing_status","typingStatus":1}"#, None),
            (
                r#"{"businessID":"text_link","text":"Welcome","link":"https://example.com/help"}"#,
                Some(words("Welcome\nhttps://example.com/help")),
            ),
            (
                r#"{"businessID":"order","title":"Shoe","description":"size M","price":"¥ 99","imageUrl":"","link":"https://e.com/7"}"#,
                Some(words("Shoe\nsize M\n¥ 99\nhttps://e.com/7")),
            ),
            (
                r#"{"businessID":"order","title":"Shoe","description":"size M","price":"¥ 99","imageUrl":"https://e.com/i","link":"https://e.com/7"}"#,
                Some(AnswerPart::Card(Card::News {
                    title: "Shoe".to_owned(),
                    description: "size M ¥ 99".to_owned(),
                    url: "https://e.com/7".to_owned(),
                    picture: "https://e.com/i".to_owned(),
                })),
            ),
            (r#"{"wx":"music","title":"T"}"#, Some(AnswerPart::BadCard(CardProblem::UnknownKind))),
            (r#"{"businessID":"evaluation","score":4,"comment":"good"}"#, Some(words("★★★★\ngood"))),
            ("consultion", useless.clone()),
            (r#"{"customerServicePlugin":0,"src":"7","content":{"command":"x"}}"#, None),
            (r#"{"chatbotPlugin":2,"src":22}"#, None),
            (r#"{"businessID":"group_create","content":"made a group"}"#, useless.clone()),
            (r#"{"businessID":"quick_conference"}"#, useless.clone()),
            (
                r#"{"wx":"link","title":"T","description":"D","url":"https://e.com"}"#,
                Some(words("T\nD\nhttps://e.com")),
            ),
            (r#"{"title":"House","url":"https://e.com/h"}"#, Some(words("House\nhttps://e.com/h"))),
            (r#"{"text":"words","title":"no"}"#, Some(words("words"))),
            (r#"{"content":{"text":"deep"}}"#, useless.clone()),
            (r#"{"id":7}"#, useless.clone()),
            ("[1,2]", useless.clone()),
            (r#"{"cut":"#, useless),
            ("plain words", Some(words("plain words"))),
            ("  ", None),
        ] {
            assert_eq!(translate(data, "", false), expected, "{data}");
        }
    }

    #[test]
    fn a_description_stands_for_an_object_that_no_kit_knows() {
        assert_eq!(translate("{}", "[order 7]", false), Some(words("[order 7]")));
        assert_eq!(translate("house data", "[order 7]", false), Some(words("[order 7]")));
        // The kits describe a rating without what it says.
        let rating = r#"{"businessID":"evaluation","score":"5","comment":""}"#;
        assert_eq!(translate(rating, "rated", false), Some(words("★★★★★")));
        assert_eq!(translate(r#"{"wx":"link","title":"T"}"#, "T", true), None, "the text says it");
    }

    proptest! {
        #[test]
        fn an_object_never_reaches_a_customer(
            name in prop::sample::select(&["businessID", "text", "content", "title", "data", "x"][..]),
            value in prop_oneof![Just("{}".to_owned()), Just("[{\"a\":1}]".to_owned()), "\"[a-z{]{0,9}\"", "[0-9]{1,3}"],
            description in prop::sample::select(&["", " ", "{\"a\":1}"][..]),
        ) {
            if let Some(AnswerPart::Custom { text: words }) = translate(&format!("{{\"{name}\":{value}}}"), description, false) {
                let object = serde_json::from_str::<Value>(&words).is_ok_and(|value| value.is_object() || value.is_array());
                prop_assert!(!object, "{words}");
            }
        }
    }
}
