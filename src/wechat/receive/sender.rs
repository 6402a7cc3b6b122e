//! Makes out the sender of a push that cannot be read, so that the customer's agent can be told.

use crate::model::OpenId;

/// The name of the field, in XML and in JSON.
const FIELD: &str = "FromUserName";
/// The beginnings of the fields that hold people's words. Behind them, words could pretend to be the sender.
const WORDS: [&str; 6] = ["Content", "Title", "Description", "Url", "Label", "Recognition"];

/// The sender, if the beginning of the body, before all words of people, names one.
pub(super) fn find(body: &[u8]) -> Option<OpenId> {
    let text = String::from_utf8_lossy(body);
    let tags = WORDS.iter().flat_map(|name| [format!("<{name}"), format!("\"{name}\"")]);
    let words = tags.filter_map(|tag| text.find(&tag)).min().unwrap_or(text.len());
    let (_, after) = text[..words].split_once(FIELD)?;
    let value = after.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '>' | '"' | ':' | '='));
    let value = value.strip_prefix("<![CDATA[").unwrap_or(value);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))?;
    let (openid, rest) = value.split_at(end);
    let is_complete = ["]]>", "<", "\""].iter().any(|end| rest.trim_start().starts_with(end));
    is_complete.then(|| OpenId::new(openid).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_found_in_every_spelling_and_never_in_words() {
        for (body, sender) in [
            ("<xml><FromUserName><![CDATA[oA_-1]]></FromUserName><MsgT", Some("oA_-1")),
            ("<xml><FromUserName> oA</FromUserName>", Some("oA")),
            ("{\"ToUserName\":\"gh_1\",\"FromUserName\" : \"oA\",\"Content\":", Some("oA")),
            ("<xml><Content>FromUserName>oA<", None),
            ("{\"Content\":\"\\\"FromUserName\\\":\\\"oA\\\"\"", None),
            ("<xml><FromUserName><![CDATA[no openid]]>", None),
            ("<xml><FromUserName>oCut", None),
            ("<xml><FromUserName></FromUserName>", None),
            ("", None),
        ] {
            assert_eq!(find(body.as_bytes()).as_ref().map(OpenId::as_str), sender, "{body}");
        }
        assert_eq!(find(b"\xff<FromUserName>oA</\xff").unwrap().as_str(), "oA");
    }
}
