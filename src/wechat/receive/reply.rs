//! The passive reply to a push (reference: "Passive replies").
//!
//! Writes only characters that XML 1.0 allows. `ReplyCipher` encrypts the
//! reply where needed.

use crate::model::OpenId;

/// Acknowledges a push without a reply. Not encrypted in any mode.
pub const SUCCESS: &str = "success";

/// The text of a reply. It is never empty, because WeChat shows the customer an error for an empty
/// reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmptyText(String);

impl NonEmptyText {
    /// Removes the characters that XML excludes from `text` and turns every line break into `\n`.
    /// `None` when nothing remains. The caller must keep to the limit of 2,000 bytes.
    pub fn new(text: &str) -> Option<Self> {
        let text = xml_safe(text);
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text as the customer reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The XML of a text reply from the account `from` (`gh_...`); `create_time_s` in Unix seconds.
pub fn text_xml(to: &OpenId, from: &str, content: &NonEmptyText, create_time_s: i64) -> String {
    let (to, from, content) = (cdata(to.as_str()), cdata(from), cdata(content.as_str()));
    format!(
        "<xml><ToUserName>{to}</ToUserName><FromUserName>{from}</FromUserName>\
         <CreateTime>{create_time_s}</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content>{content}</Content></xml>"
    )
}

/// Writes `text` as CDATA that its own content cannot end early.
pub(super) fn cdata(text: &str) -> String {
    // Split last: removing a character may create a `]]>`.
    format!("<![CDATA[{}]]>", xml_safe(text).replace("]]>", "]]]]><![CDATA[>"))
}

/// Makes `text` safe for XML 1.0: a reader refuses the whole reply for an excluded character, and
/// it turns every line break into `\n`.
fn xml_safe(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.retain(|c| matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..));
    text
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;
    use proptest::prelude::*;

    fn read_back(text: &str) -> Option<String> {
        let to = OpenId::new("oBridgeUser0000000000000001x").unwrap();
        let content = NonEmptyText::new(text)?;
        let xml_text = text_xml(&to, "gh_bridge000001", &content, 1_700_000_002);
        let root = xml::read(xml_text.as_bytes()).unwrap();
        assert_eq!(root.text("ToUserName"), Some(to.as_str()));
        assert_eq!(root.text("FromUserName"), Some("gh_bridge000001"));
        assert_eq!(root.number("CreateTime"), Some(1_700_000_002_i64));
        assert_eq!(root.text("MsgType"), Some("text"));
        root.text("Content").map(str::to_owned)
    }

    #[test]
    fn the_example_of_the_reference_is_written() {
        let to = OpenId::new("oBridgeUser0000000000000001x").unwrap();
        let text = NonEmptyText::new("收到").unwrap();
        assert_eq!(
            text_xml(&to, "gh_bridge000001", &text, 1_700_000_002),
            "<xml><ToUserName><![CDATA[oBridgeUser0000000000000001x]]></ToUserName><FromUserName>\
             <![CDATA[gh_bridge000001]]></FromUserName><CreateTime>1700000002</CreateTime><MsgType>\
             <![CDATA[text]]></MsgType><Content><![CDATA[收到]]></Content></xml>"
        );
    }

    #[test]
    fn a_reply_is_never_empty() {
        assert_eq!(NonEmptyText::new(""), None);
        assert_eq!(NonEmptyText::new("\u{0}\u{1b}\u{ffff}"), None);
        assert!(NonEmptyText::new(" ").is_some());
    }

    #[test]
    fn nothing_ends_the_character_data_early() {
        for (text, read) in [
            ("]]>", "]]>"),
            ("]]\u{1}>", "]]>"),
            ("]]]]>>]]", "]]]]>>]]"),
            ("<a href=\"x\">&amp;</a>", "<a href=\"x\">&amp;</a>"),
            ("]]></Content><Content>", "]]></Content><Content>"),
            ("a\r\nb\rc\td\u{7f}\u{85}", "a\nb\nc\td\u{7f}\u{85}"),
            ("👨‍👩‍👧 \u{fffe}\u{b}旺柴", "👨‍👩‍👧 旺柴"),
        ] {
            assert_eq!(read_back(text).as_deref(), Some(read), "{text:?}");
        }
    }

    #[test]
    fn an_account_name_cannot_break_out() {
        let to = OpenId::new("o").unwrap();
        let text = NonEmptyText::new("x").unwrap();
        let xml_text = text_xml(&to, "]]></FromUserName><Content>y", &text, 0);
        assert_eq!(xml::read(xml_text.as_bytes()).unwrap().text("Content"), Some("x"));
    }

    proptest! {
        #[test]
        fn every_text_round_trips(
            text in prop_oneof![
                any::<String>(),
                "[\\]>\u{0}-\u{20}\u{fffd}-\u{ffff}\u{1f600}]{0,40}",
            ]
        ) {
            let expected = NonEmptyText::new(&text).map(|text| text.as_str().to_owned());
            prop_assert_eq!(read_back(&text), expected);
        }
    }
}
