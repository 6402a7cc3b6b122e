//! The passive reply: for any text the customer reads the promised text, encrypted or not.

use wechat_im_bridge::internals::model::OpenId;
use wechat_im_bridge::internals::sandbox::wechat::crypto::sign;
use wechat_im_bridge::internals::wechat::receive::reply::{NonEmptyText, text_xml};
use wechat_im_bridge::internals::wechat::receive::xml;

use super::account::{self, CUSTOMER, NOW, TOKEN};

const TIME_S: i64 = 1_700_000_002;
const FIELDS: [&str; 5] = ["ToUserName", "FromUserName", "CreateTime", "MsgType", "Content"];

/// `input` is the account's name, a line feed, and the text.
pub fn check(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (from, text) = input.split_once('\n').unwrap_or(("gh_bridge000001", &input));
    let Some(promised) = NonEmptyText::new(text) else {
        assert!(!text.chars().any(|c| c == '\r' || is_xml(c)), "{text:?}");
        return;
    };
    let xml_chars = |text: &str| text.chars().filter(|c| is_xml(*c) && *c != '\n').collect::<String>();
    assert_eq!(xml_chars(promised.as_str()), xml_chars(text));
    assert_eq!(NonEmptyText::new(promised.as_str()).as_ref(), Some(&promised));
    let written = text_xml(&OpenId::new(CUSTOMER).unwrap(), from, &promised, TIME_S);
    check_with_own_parser(&written, promised.as_str());
    check_with_the_bridges_parser(&written, promised.as_str());
    check_encrypted(&written);
}

/// XML 1.0's `Char` without the carriage return, which an XML reader turns into a line feed.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Parses with the XML rules alone: a tag ends at `>`, a CDATA section at the first `]]>`.
fn check_with_own_parser(written: &str, text: &str) {
    assert!(written.chars().all(is_xml), "{written:?}");
    let mut rest = written;
    let (mut tags, mut content) = (Vec::new(), String::new());
    while !rest.is_empty() {
        if let Some(section) = rest.strip_prefix("<![CDATA[") {
            let (data, after) = section.split_once("]]>").unwrap();
            if tags.last() == Some(&"Content") {
                content += data;
            }
            rest = after;
        } else if let Some(tag) = rest.strip_prefix('<') {
            let (tag, after) = tag.split_once('>').unwrap();
            tags.push(tag);
            rest = after;
        } else {
            rest = rest.strip_prefix(|c: char| c.is_ascii_digit()).unwrap();
        }
    }
    let expected = FIELDS.map(|field| format!("{field} /{field}")).join(" ");
    assert_eq!(tags.join(" "), format!("xml {expected} /xml"));
    assert_eq!(content, text);
}

fn check_with_the_bridges_parser(written: &str, text: &str) {
    let root = xml::read(written.as_bytes()).unwrap();
    let names: Vec<&str> = root.children().iter().map(xml::Element::name).collect();
    assert_eq!(names, FIELDS);
    assert_eq!(root.text("ToUserName"), Some(CUSTOMER));
    assert_eq!(root.number("CreateTime"), Some(TIME_S));
    assert_eq!(root.text("MsgType"), Some("text"));
    assert_eq!(root.text("Content"), Some(text));
}

/// WeChat can decrypt the answer to an encrypted push.
fn check_encrypted(written: &str) {
    let verifier = account::verifier();
    let encrypt = account::encrypted(account::message().as_bytes());
    let decrypted = verifier
        .decrypt(&account::verified_query(&verifier, &encrypt), account::envelope(&encrypt).as_bytes())
        .unwrap();
    let encrypted = decrypted.reply_cipher.wrap(written.to_owned(), NOW);
    let root = xml::read(encrypted.as_bytes()).unwrap();
    let field = |name| root.text(name).unwrap();
    assert_eq!(account::crypt().decrypt(field("Encrypt")).as_deref(), Ok(written.as_bytes()));
    let signature = sign(&[TOKEN, field("TimeStamp"), field("Nonce"), field("Encrypt")]);
    assert_eq!(field("MsgSignature"), signature);
}
