//! Reads the JSON that platforms really send: strictly first, and repaired only where the strict reader fails.
//!
//! Proven on the wire: a byte-order mark, raw control bytes inside strings, half a surrogate pair, invalid UTF-8, numbers
//! written as strings and strings written as numbers. A repair changes nothing but the broken bytes, and it never
//! accepts a document that is cut off.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

/// The byte-order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Parses a document. Fails with the strict reader's error if the repaired document cannot be read either.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    serde_json::from_slice(bytes).or_else(|error| serde_json::from_str(&repaired(bytes)).map_err(|_| error))
}

/// The document with U+FFFD for each lone surrogate and each invalid byte, and without raw control characters:
/// line breaks and tabs inside strings become their escapes, all others are dropped.
fn repaired(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut repaired = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_string = !in_string;
                repaired.push(c);
            }
            '\\' if in_string => {
                let rest: String = chars.clone().take(11).collect();
                let (escape, taken) = escape(&rest);
                repaired.push_str(&escape);
                for _ in 0..taken {
                    chars.next();
                }
            }
            '\n' if in_string => repaired.push_str("\\n"),
            '\r' if in_string => repaired.push_str("\\r"),
            '\t' if in_string => repaired.push_str("\\t"),
            c if c < ' ' && (in_string || !matches!(c, '\n' | '\r' | '\t')) => {}
            c => repaired.push(c),
        }
    }
    repaired
}

/// What an escape becomes, given the characters after its backslash; and how many of these it takes.
fn escape(rest: &str) -> (Cow<'static, str>, usize) {
    let unit = |text: &str| text.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    match rest.chars().next() {
        Some('u') => {
            let Some(first) = unit(&rest[1..]) else { return (Cow::Borrowed("\\ufffd"), 1) };
            let second = rest.get(5..).and_then(|rest| rest.strip_prefix("\\u")).and_then(unit);
            match (first, second) {
                (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                    (Cow::Owned(format!("\\u{first:04x}\\u{low:04x}")), 11)
                }
                (0xd800..=0xdfff, _) => (Cow::Borrowed("\\ufffd"), 5),
                _ => (Cow::Owned(format!("\\u{first:04x}")), 5),
            }
        }
        Some(c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => (Cow::Owned(format!("\\{c}")), 1),
        // An escape that JSON does not have stands for its character.
        _ => (Cow::Borrowed(""), 0),
    }
}

/// Reads an integer, which a platform may write as an integer, a float or a numeric string; fractions are
/// cut off.
pub fn integer(value: &Value) -> Option<i64> {
    /// Up to this magnitude every whole `f64` is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.abs() <= EXACT)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the range is checked, and the fraction is to be cut off"
            )]
            Some(float as i64)
        }),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| integer(&Value::from(text.parse::<f64>().ok()?)))
        }
        _ => None,
    }
}

/// Reads a text, which a platform may write as a number.
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// For `#[serde(deserialize_with)]` on an optional integer: see [`integer`]. A value of another type counts as missing,
/// so that it costs no other member.
pub fn optional_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(integer(&Value::deserialize(deserializer)?))
}

/// For `#[serde(deserialize_with)]` on an optional text: see [`text`]. A value of another type counts as missing.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(text(&Value::deserialize(deserializer)?).map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &[u8]) -> Value {
        from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
    }

    #[test]
    fn what_platforms_break_is_read() {
        for (broken, value) in [
            (&b"\xef\xbb\xbf{\"errcode\":0}"[..], json!({"errcode": 0})),
            (b"{\"a\":\"on its way \\ud83d\"}", json!({"a": "on its way \u{fffd}"})),
            (
                b"{\"a\":\"\\ude00 low, \\ud83d\\ude00 both, \\ud83d\\ud83d\"}",
                json!({"a": "\u{fffd} low, \u{1f600} both, \u{fffd}\u{fffd}"}),
            ),
            (b"{\"a\":\"\x1b[0m1\n2\t3\r\",\x00\"b\":1}", json!({"a": "[0m1\n2\t3\r", "b": 1})),
            (b"{\"a\":\"\xff\xfe\"}", json!({"a": "\u{fffd}\u{fffd}"})),
            (b"{\"a\":\"it\\'s \\x41 \\u12\"}", json!({"a": "it's x41 \u{fffd}12"})),
            (b"{\"a\":\"\\\\\",\"b\":\"\\\"\x01\"}", json!({"a": "\\", "b": "\""})),
        ] {
            assert_eq!(read(broken), value);
        }
    }

    #[test]
    fn what_is_cut_off_or_no_json_stays_an_error() {
        for bad in ["", "{", "{\"a\":\"\\ud83d", "{\"a\":\x1b", "<xml/>", "{\"a\":1}}", "{'a':1}"] {
            assert!(from_slice::<Value>(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_and_texts_are_read_in_every_spelling() {
        for spelling in [json!(609), json!(609.0), json!(609.9), json!("609"), json!(" 609.0 ")] {
            assert_eq!(integer(&spelling), Some(609), "{spelling}");
        }
        for none in
            [json!(null), json!("six"), json!(""), json!([609]), json!(1e300), json!("NaN"), json!(true)]
        {
            assert_eq!(integer(&none), None, "{none}");
        }
        assert_eq!(text(&json!(12)).as_deref(), Some("12"));
        assert_eq!(text(&json!(null)), None);
    }

    proptest! {
        #[test]
        fn valid_json_reads_as_the_strict_reader_reads_it(text in ".{0,80}", number in any::<i64>()) {
            let document = json!({"text": text, "number": number, "list": [text]});
            prop_assert_eq!(read(document.to_string().as_bytes()), document.clone());
            // A repair that was not needed changes nothing.
            let again: Value = serde_json::from_str(&repaired(document.to_string().as_bytes())).unwrap();
            prop_assert_eq!(again, document);
        }

        #[test]
        fn one_bad_byte_in_a_text_costs_no_neighbour(before in "[a-z]{0,9}", bad in 0_u8..32, after in "[a-z]{0,9}") {
            let mut document = format!("[\"{before}").into_bytes();
            document.push(bad);
            document.extend_from_slice(format!("{after}\",\"neighbour\"]").as_bytes());
            let value = read(&document);
            prop_assert_eq!(&value[1], "neighbour");
            let text = value[0].as_str().unwrap();
            prop_assert!(text.starts_with(&before) && text.ends_with(&after));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_slice::<Value>(&bytes);
        }
    }
}
