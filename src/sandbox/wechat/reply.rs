//! Checks whether WeChat accepts an answer to a push (reference: sections 2.3, 4 and 5.2).
//!
//! An answer that is not exactly right is invalid. The customer then sees the fault line, and the
//! ledger records the reason.

use super::crypto::sign;
use super::settings::{Mode, Settings};
use super::xml::{self, Element};
use crate::model::Millis;

/// The largest accepted difference of `CreateTime` from now, in seconds. A larger one means that
/// the unit is not seconds.
const MAX_CLOCK_DIFFERENCE_S: i64 = 86_400;

/// A valid reply, which the customer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The `MsgType`.
    pub kind: String,
    /// The text of a text reply, the titles of other kinds.
    pub content: String,
    /// The media id of an image, voice or video, or of the cover of music.
    pub media_id: Option<String>,
    /// The `CreateTime` in Unix seconds.
    pub create_time: i64,
    /// The XML document, decrypted if it was encrypted.
    pub raw_xml: String,
}

/// An answer after the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckedAnswer {
    /// `success` or an empty body.
    Acknowledged,
    /// A valid reply.
    Reply(Reply),
    /// Neither of the two. Holds the reason.
    Invalid(String),
}

/// The facts about a push that its answer is checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct PushContext<'a> {
    /// The customer's openid.
    pub openid: &'a str,
    /// Whether the push is an event.
    pub is_event: bool,
}

/// Checks the body of an answer with HTTP status 200. `has_media` takes a media type and an id, and
/// returns whether the platform has such a file.
pub(super) fn check_answer(
    body: &[u8],
    push: PushContext<'_>,
    settings: &Settings,
    now: Millis,
    has_media: impl Fn(&str, &str) -> bool,
) -> CheckedAnswer {
    if body.is_empty() || body == b"success" {
        return CheckedAnswer::Acknowledged;
    }
    let decrypted = std::str::from_utf8(body).map_err(|_| "not UTF-8".to_owned()).and_then(|text| {
        let document = xml::read(text)?;
        if document.child("Encrypt")?.is_some() {
            let text = decrypt_reply(&document, settings)?;
            return xml::read(&text).map(|document| (text, document));
        }
        if settings.mode == Mode::Safe {
            return Err("not encrypted in safe mode".to_owned());
        }
        Ok((text.to_owned(), document))
    });
    let checked = decrypted.and_then(|(raw_xml, document)| {
        let (kind, create_time) = envelope(&document, push, settings, now)?;
        let (content, media_id) = content(&document, kind, push, settings, &has_media)?;
        Ok(Reply { kind: kind.to_owned(), content, media_id, create_time, raw_xml })
    });
    match checked {
        Ok(reply) => CheckedAnswer::Reply(reply),
        Err(why) => CheckedAnswer::Invalid(why),
    }
}

fn decrypt_reply(document: &Element, settings: &Settings) -> Result<String, String> {
    if settings.mode == Mode::Plain {
        return Err("encrypted in plain mode".to_owned());
    }
    let encrypt = document.text_of("Encrypt")?;
    let (timestamp, nonce) = (document.text_of("TimeStamp")?, document.text_of("Nonce")?);
    if timestamp.is_empty() || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) || nonce.is_empty() {
        return Err("TimeStamp is not a number or Nonce is empty".to_owned());
    }
    if document.text_of("MsgSignature")? != sign(&[&settings.token, timestamp, nonce, encrypt]) {
        return Err("MsgSignature is wrong".to_owned());
    }
    let decrypted =
        settings.crypt().and_then(|crypt| crypt.decrypt(encrypt)).map_err(|error| error.to_string())?;
    String::from_utf8(decrypted).map_err(|_| "the decrypted text is not UTF-8".to_owned())
}

fn envelope<'a>(
    document: &'a Element,
    push: PushContext<'_>,
    settings: &Settings,
    now: Millis,
) -> Result<(&'a str, i64), String> {
    if document.text_of("ToUserName")? != push.openid {
        return Err("ToUserName is not the customer".to_owned());
    }
    if document.text_of("FromUserName")? != settings.account_id {
        return Err("FromUserName is not the account".to_owned());
    }
    let create_time = document.text_of("CreateTime")?;
    let create_time: i64 =
        create_time.parse().map_err(|_| format!("CreateTime {create_time:?} is not a number"))?;
    if (create_time - now.seconds()).abs() > MAX_CLOCK_DIFFERENCE_S {
        return Err(format!("CreateTime {create_time} is not the current time in seconds"));
    }
    Ok((document.text_of("MsgType")?, create_time))
}

fn content(
    document: &Element,
    kind: &str,
    push: PushContext<'_>,
    settings: &Settings,
    has_media: &impl Fn(&str, &str) -> bool,
) -> Result<(String, Option<String>), String> {
    let media = |group: &str, member: &str, kind: &str| {
        let group = document.child(group)?.ok_or_else(|| format!("{group} is missing"))?;
        let id = group.text_of(member)?;
        if has_media(kind, id) {
            Ok((group, id.to_owned()))
        } else {
            Err(format!("{member} is not a {kind} of this account"))
        }
    };
    let optional = |group: &Element, name: &str| -> Result<String, String> {
        Ok(group.child(name)?.map(|child| child.text.clone()).unwrap_or_default())
    };
    match kind {
        "text" => {
            let content = document.text_of("Content")?;
            if content.is_empty() {
                return Err("Content is empty".to_owned());
            }
            if content.len() > settings.passive_limit {
                return Err(format!("Content has {} bytes", content.len()));
            }
            Ok((content.to_owned(), None))
        }
        "image" => media("Image", "MediaId", "image").map(|(_, id)| (String::new(), Some(id))),
        "voice" => media("Voice", "MediaId", "voice").map(|(_, id)| (String::new(), Some(id))),
        "video" => {
            let (group, id) = media("Video", "MediaId", "video")?;
            Ok((optional(group, "Title")?, Some(id)))
        }
        "music" => {
            let (group, id) = media("Music", "ThumbMediaId", "thumb")?;
            Ok((optional(group, "Title")?, Some(id)))
        }
        "news" => news(document, if push.is_event { 8 } else { 1 }).map(|titles| (titles, None)),
        "transfer_customer_service" | "transfer_biz_ai_ivr" if push.is_event => {
            Err(format!("{kind} may not answer an event"))
        }
        "transfer_customer_service" | "transfer_biz_ai_ivr" => Ok((String::new(), None)),
        _ => Err(format!("the MsgType {kind:?} is unknown")),
    }
}

/// The titles of the articles that the customer sees, at most `shown`. WeChat drops the others
/// silently.
fn news(document: &Element, limit: usize) -> Result<String, String> {
    let count = document.text_of("ArticleCount")?;
    let articles = document.child("Articles")?.ok_or_else(|| "Articles is missing".to_owned())?;
    let items: Vec<&Element> = articles.children.iter().filter(|child| child.name == "item").collect();
    if items.is_empty() || count.parse() != Ok(items.len()) {
        return Err(format!("ArticleCount is {count:?} with {} articles", items.len()));
    }
    let mut titles = Vec::new();
    for item in items {
        for member in ["Description", "PicUrl", "Url"] {
            item.text_of(member)?;
        }
        titles.push(item.text_of("Title")?);
    }
    titles.truncate(limit);
    Ok(titles.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_002_000);
    const HEAD: &str = "<ToUserName>o1</ToUserName><FromUserName><![CDATA[gh_bridge000001]]></FromUserName>\
                        <CreateTime>1700000002</CreateTime>";

    fn check_in(mode: Mode, is_event: bool, body: &str) -> CheckedAnswer {
        let settings = Settings { mode, ..Settings::default() };
        let push = PushContext { openid: "o1", is_event };
        check_answer(body.as_bytes(), push, &settings, NOW, |kind, id| id == format!("M_{kind}"))
    }

    fn check(body: &str) -> CheckedAnswer {
        check_in(Mode::Plain, false, body)
    }

    fn document(kind: &str, rest: &str) -> String {
        format!("<xml>{HEAD}<MsgType><![CDATA[{kind}]]></MsgType>{rest}</xml>")
    }

    fn content_of(answer: &CheckedAnswer) -> Option<&str> {
        match answer {
            CheckedAnswer::Reply(reply) => Some(&reply.content),
            _ => None,
        }
    }

    #[test]
    fn success_and_an_empty_body_acknowledge_in_every_mode() {
        for mode in [Mode::Plain, Mode::Compatible, Mode::Safe] {
            assert_eq!(check_in(mode, false, ""), CheckedAnswer::Acknowledged);
            assert_eq!(check_in(mode, false, "success"), CheckedAnswer::Acknowledged);
            assert!(matches!(check_in(mode, false, "SUCCESS"), CheckedAnswer::Invalid(_)));
            assert!(matches!(check_in(mode, false, "{\"errcode\":0}"), CheckedAnswer::Invalid(_)));
        }
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        let item = "<item><Title>t</Title><Description/><PicUrl/><Url/></item>";
        for (kind, rest, expected) in [
            ("text", "<Content><![CDATA[a<b]]></Content>".to_owned(), "a<b"),
            ("image", "<Image><MediaId>M_image</MediaId></Image>".to_owned(), ""),
            ("voice", "<Voice><MediaId>M_voice</MediaId></Voice>".to_owned(), ""),
            ("video", "<Video><MediaId>M_video</MediaId><Title>t</Title></Video>".to_owned(), "t"),
            ("music", "<Music><ThumbMediaId>M_thumb</ThumbMediaId></Music>".to_owned(), ""),
            ("news", format!("<ArticleCount>2</ArticleCount><Articles>{item}{item}</Articles>"), "t"),
            ("transfer_customer_service", String::new(), ""),
        ] {
            assert_eq!(content_of(&check(&document(kind, &rest))), Some(expected), "{kind}");
        }
    }

    #[test]
    fn a_reply_that_is_wrong_in_one_place_is_refused_for_it() {
        let right = document("text", "<Content>hi</Content>");
        assert_eq!(content_of(&check(&right)), Some("hi"));
        for (from, to, reason) in [
            ("<ToUserName>o1<", "<ToUserName>o2<", "the customer"),
            ("gh_bridge000001", "gh_other", "the account"),
            ("1700000002", "1700000002000", "seconds"),
            ("1700000002", "soon", "not a number"),
            ("1700000002", "1699913601", "seconds"),
            ("[text]", "[song]", "unknown"),
            (">hi<", "><", "empty"),
            ("<Content>hi</Content>", "", "missing"),
            ("</xml>", "</xml>x", "outside"),
            ("<xml>", "<reply>", "malformed"),
            ("<Content>hi", "<Content>hi</Content><Content>ho", "more than once"),
        ] {
            let broken = right.replacen(from, to, 1);
            let CheckedAnswer::Invalid(why) = check(&broken) else { panic!("accepted: {broken}") };
            assert!(why.contains(reason), "{why} / {reason}");
        }
        assert!(matches!(
            check(&document("image", "<Image><MediaId>x</MediaId></Image>")),
            CheckedAnswer::Invalid(_)
        ));
        let event = check_in(Mode::Plain, true, &document("transfer_customer_service", ""));
        assert!(matches!(event, CheckedAnswer::Invalid(_)));
    }

    #[test]
    fn a_text_may_have_2047_bytes() {
        let text = |bytes: usize| document("text", &format!("<Content>{}</Content>", "x".repeat(bytes)));
        assert!(content_of(&check(&text(2047))).is_some());
        assert!(matches!(check(&text(2048)), CheckedAnswer::Invalid(_)));
    }

    #[test]
    fn an_envelope_needs_its_signature_its_key_and_its_mode() {
        let settings = Settings::default();
        let encrypt_for = |app_id: &str| {
            let crypt = super::super::crypto::Crypt::new(&settings.encoding_aes_key, app_id).unwrap();
            crypt.encrypt(document("text", "<Content>hi</Content>").as_bytes(), [1; 16]).unwrap()
        };
        let envelope = |encrypt: &str| {
            let signature = sign(&[&settings.token, "1700000002", "77", encrypt]);
            format!(
                "<xml><Encrypt>{encrypt}</Encrypt><MsgSignature>{signature}</MsgSignature>\
                 <TimeStamp>1700000002</TimeStamp><Nonce>77</Nonce></xml>"
            )
        };
        let right = envelope(&encrypt_for(&settings.app_id));
        assert_eq!(content_of(&check_in(Mode::Safe, false, &right)), Some("hi"));
        assert_eq!(content_of(&check_in(Mode::Compatible, false, &right)), Some("hi"));
        let plain = document("text", "<Content>hi</Content>");
        assert_eq!(content_of(&check_in(Mode::Compatible, false, &plain)), Some("hi"));
        for (mode, body) in [
            (Mode::Plain, right.clone()),
            (Mode::Safe, plain),
            (Mode::Safe, right.replace("<Nonce>77", "<Nonce>78")),
            (Mode::Safe, envelope(&encrypt_for("wxffffffffffffffff"))),
        ] {
            assert!(matches!(check_in(mode, false, &body), CheckedAnswer::Invalid(_)), "{mode:?} {body}");
        }
    }
}
