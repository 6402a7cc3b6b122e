//! Formats bodies for reading: one element or member per line, with secrets masked by name. Nothing
//! else changes: members keep their order, and a body that cannot be parsed stays as it is.

use std::fmt::Write as _;

use quick_xml::events::Event;
use quick_xml::{Reader, Writer};

use super::MASK;

/// Members and elements whose values are always masked.
const SECRETS: [&str; 14] = [
    "access_token",
    "usersig",
    "UserSig",
    "secret",
    "appsecret",
    "app_secret",
    "secret_key",
    "signature",
    "Signature",
    "msg_signature",
    "MsgSignature",
    "Sign",
    "token",
    "encoding_aes_key",
];

/// The body, formatted if it is JSON or XML.
pub(super) fn pretty(body: &str) -> String {
    let formatted = match body.trim_start().as_bytes().first() {
        Some(b'{' | b'[') => json(body),
        Some(b'<') => xml(body),
        _ => None,
    };
    match formatted {
        Some(text) => text.lines().map(mask_line).collect::<Vec<_>>().join("\n"),
        None => body.to_owned(),
    }
}

/// A line with one member or element, with the value masked if it is a secret.
fn mask_line(line: &str) -> String {
    let content = line.trim_start();
    let indent = &line[..line.len() - content.len()];
    for name in SECRETS {
        if content.starts_with(&format!("\"{name}\": ")) {
            let comma = if content.ends_with(',') { "," } else { "" };
            return format!("{indent}\"{name}\": \"{MASK}\"{comma}");
        }
        if content.starts_with(&format!("<{name}>")) {
            return format!("{indent}<{name}>{MASK}</{name}>");
        }
    }
    line.to_owned()
}

/// Formats JSON without changing its numbers and escapes. `None` if the body is not JSON.
fn json(body: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(body).ok()?;
    let mut out = String::with_capacity(body.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut last = ' ';
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        let _ = write!(out, "{:1$}", "", depth * 2);
    };
    for c in body.chars() {
        if in_string {
            out.push(c);
            (in_string, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
            last = c;
            continue;
        }
        match c {
            c if c.is_ascii_whitespace() => continue,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !matches!(last, '{' | '[') {
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            c => {
                if matches!(last, '{' | '[') {
                    new_line(&mut out, depth);
                }
                out.push(c);
                match c {
                    '{' | '[' => depth += 1,
                    ',' => new_line(&mut out, depth),
                    ':' => out.push(' '),
                    '"' => in_string = true,
                    _ => {}
                }
            }
        }
        last = c;
    }
    Some(out)
}

/// Formats XML. `None` if the body is not XML.
fn xml(body: &str) -> Option<String> {
    let mut reader = Reader::from_str(body);
    reader.config_mut().trim_text(true);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    loop {
        match reader.read_event().ok()? {
            Event::Eof => break,
            event => writer.write_event(event).ok()?,
        }
    }
    String::from_utf8(writer.into_inner()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_keeps_its_order_and_its_numbers() {
        let text = pretty(r#"{"b":12345678901234567890.10,"a":[1,{"c":"x, \"y\": {"}],"e":{},"f":[]}"#);
        assert_eq!(
            text,
            "{\n  \"b\": 12345678901234567890.10,\n  \"a\": [\n    1,\n    {\n      \"c\": \"x, \\\"y\\\": {\"\n    \
             }\n  ],\n  \"e\": {},\n  \"f\": []\n}"
        );
    }

    #[test]
    fn xml_has_an_element_a_line_and_keeps_its_cdata() {
        let text = pretty("<xml><ToUserName><![CDATA[gh_1]]></ToUserName><A><B>1</B></A></xml>");
        let lines = "<xml>\n  <ToUserName><![CDATA[gh_1]]></ToUserName>\n  <A>\n    <B>1</B>\n  </A>\n</xml>";
        assert_eq!(text, lines);
    }

    #[test]
    fn secrets_are_masked_by_name_and_other_bodies_stay() {
        let text =
            pretty(r#"{"access_token":"77_abc","expires_in":7200,"x":{"usersig":"e,J\"x"},"Sign":"1"}"#);
        for secret in ["77_abc", "eJx", "e,J", "\"1\""] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("7200"), "{text}");
        let text = pretty("<xml><MsgSignature><![CDATA[abcd]]></MsgSignature><Nonce>1</Nonce></xml>");
        assert!(!text.contains("abcd") && text.contains("<Nonce>1</Nonce>"), "{text}");
        for body in ["success", "", "{broken", "<broken", "<12 bytes>"] {
            assert_eq!(pretty(body), body);
        }
    }

    proptest! {
        #[test]
        fn laid_out_json_is_the_same_json(text in r#"[a-z"\\{}\[\],: 世]{0,40}"#, number in any::<i64>()) {
            let value = serde_json::json!({"t": text, "n": [number, {"x": null, "t": [text]}]});
            let read: serde_json::Value = serde_json::from_str(&pretty(&value.to_string())).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn nothing_makes_it_panic(body in "[<>/a-z\"{}\\[\\]:,! \\\\]{0,60}") {
            let _ = pretty(&body);
        }
    }
}
