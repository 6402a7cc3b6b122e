//! Reads elements from clients of any age and platform, trusted or not.
//!
//! Every field is optional, numbers may have any spelling, unknown fields are skipped (reference:
//! "Robust decoding"). An unreadable element keeps its position in the message as
//! [`AnswerPart::Other`].

use serde_json::Value;

use super::custom;

use crate::im::{number, text};
use crate::json::{self, integer};
use crate::model::AnswerPart;

/// The name of an unknown kind is shown to people and logged, so it is cut to this many characters.
const MAX_KIND_CHARS: usize = 64;

/// Reads the parts of a `MsgBody`, in order; none if it is not an array.
pub fn parts(body: &Value) -> Vec<AnswerPart> {
    let elements = body.as_array().map(Vec::as_slice).unwrap_or_default();
    let has_words = elements.iter().any(|element| kind(element) == "TIMTextElem");
    elements.iter().filter_map(|element| part(element, has_words)).collect()
}

fn kind(element: &Value) -> &str {
    element.get("MsgType").and_then(Value::as_str).unwrap_or_default()
}

/// Reads one part; `None` for an app-defined element that means nothing to anyone.
fn part(element: &Value, has_words: bool) -> Option<AnswerPart> {
    let kind = kind(element);
    let other = || AnswerPart::Other { kind: kind.chars().take(MAX_KIND_CHARS).collect() };
    let Some(content) = element.get("MsgContent").filter(|content| content.is_object()) else {
        return Some(other());
    };
    if kind == "TIMCustomElem" {
        let words = |name| content.get(name).and_then(json::text).unwrap_or_default();
        return custom::translate(&words("Data"), &words("Desc"), has_words);
    }
    Some(read_known(kind, content).unwrap_or_else(other))
}

fn read_known(kind: &str, content: &Value) -> Option<AnswerPart> {
    let string = |name| optional_text(content, name);
    let count = |name| number::<u64>(content, name).unwrap_or_default();
    Some(match kind {
        "TIMTextElem" => AnswerPart::Text(string("Text")?),
        "TIMLocationElem" => AnswerPart::Location {
            latitude: degrees(content, "Latitude"),
            longitude: degrees(content, "Longitude"),
            description: string("Desc")?,
        },
        "TIMFaceElem" => AnswerPart::Face {
            index: content.get("Index").and_then(integer).unwrap_or_default(),
            data: string("Data")?,
        },
        "TIMImageElem" => image(content)?,
        "TIMSoundElem" => {
            AnswerPart::Sound { url: string("Url")?, size: count("Size"), second: count("Second") }
        }
        "TIMFileElem" => AnswerPart::File {
            url: string("Url")?,
            size: count("FileSize"),
            name: base_name(&string("FileName")?).to_owned(),
        },
        "TIMVideoFileElem" => AnswerPart::Video {
            url: string("VideoUrl")?,
            size: count("VideoSize"),
            second: count("VideoSecond"),
            format: string("VideoFormat")?,
            thumb_url: string("ThumbUrl")?,
        },
        "TIMRelayElem" => AnswerPart::Relay {
            title: string("Title")?,
            text: string("CompatibleText")?,
            lines: array(content, "AbstractList")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        },
        _ => return None,
    })
}

/// Reads a picture: the original, or else the best other size that has a URL; and the next best.
fn image(content: &Value) -> Option<AnswerPart> {
    let sizes = match content.get("ImageInfoArray") {
        None | Some(Value::Null) => &[],
        Some(list) => list.as_array()?.as_slice(),
    };
    let order = |info: &&Value| number::<u32>(info, "Type").unwrap_or(u32::MAX);
    let best = sizes.iter().filter(|info| text(info, "URL").is_some()).min_by_key(order);
    let url = best.and_then(|info| text(info, "URL")).unwrap_or_default();
    let next =
        sizes.iter().filter(|info| text(info, "URL").is_some_and(|other| other != url)).min_by_key(order);
    Some(AnswerPart::Image {
        url: url.to_owned(),
        smaller: next.and_then(|info| text(info, "URL")).map(str::to_owned),
        size: best.and_then(|info| number(info, "Size")).unwrap_or_default(),
        format: number(content, "ImageFormat").unwrap_or(255),
    })
}

/// Reads an optional text: empty if it is missing, `None` if it has another type.
fn optional_text(object: &Value, name: &str) -> Option<String> {
    match object.get(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => None,
    }
}

fn array<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn degrees(object: &Value, name: &str) -> f64 {
    let degrees = match object.get(name) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    degrees.filter(|degrees| degrees.is_finite()).unwrap_or_default()
}

/// The file's name without its path. Clients send full paths (Unix and Windows) and `file:///`
/// URLs; the directories are private.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().filter(|name| !matches!(*name, "." | "..")).unwrap_or_default()
}
