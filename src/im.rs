//! Tencent Cloud IM: `receive` is where it calls us, `send` is where we call it.
//!
//! The two halves never import each other; their shared code is here and in [`element`]. No code
//! outside this folder may know IM's wire format.

pub mod element;
pub mod receive;
pub mod send;

use serde_json::Value;

/// Reads an integer, which IM may write as an integer, a float or a numeric string; fractions are
/// cut off.
fn integer(value: &Value) -> Option<i64> {
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
    fn a_number_is_read_in_every_spelling() {
        for spelling in [json!(609), json!(609.0), json!(609.9), json!("609"), json!(" 609.0 ")] {
            assert_eq!(integer(&spelling), Some(609), "{spelling}");
        }
        for none in
            [json!(null), json!("six"), json!(""), json!([609]), json!(1e300), json!("NaN"), json!(true)]
        {
            assert_eq!(integer(&none), None, "{none}");
        }
        assert_eq!(number::<u32>(&json!({"a": 4_294_967_295_u32}), "a"), Some(u32::MAX));
        assert_eq!(number::<u32>(&json!({"a": -1}), "a"), None);
    }
}
