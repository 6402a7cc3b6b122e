//! Tencent Cloud IM: `receive` is where it calls us, `send` is where we call it.
//!
//! The two halves never import each other; their shared code is here and in [`element`]. No code
//! outside this folder may know IM's wire format.

pub mod element;
pub mod receive;
pub mod send;

use serde_json::Value;

use crate::json::integer;

/// The name of IM's clock, among those with which ours is compared.
pub const CLOCK: &str = "im";

/// Reads the member `name` as an integer; `None` if it is missing or out of range.
fn number<T: TryFrom<i64>>(object: &Value, name: &str) -> Option<T> {
    T::try_from(integer(object.get(name)?)?).ok()
}

/// Reads the member `name` as text; `None` if it is missing or empty.
fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Builds a message's id for an answer of IM that has none, in the format of all documented
/// samples.
fn msg_key(seq: u32, random: u32, time_s: i64) -> String {
    format!("{seq}_{random}_{time_s}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_out_of_range_is_missing() {
        assert_eq!(number::<u32>(&json!({"a": 4_294_967_295_u32}), "a"), Some(u32::MAX));
        assert_eq!(number::<u32>(&json!({"a": -1}), "a"), None);
    }
}
