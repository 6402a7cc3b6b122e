//! Checks `MsgBody` against the reference, section 5: the elements that REST may send, their
//! required fields, and the types of the fields.

use serde_json::Value;

use super::checks::{ApiError, Object};

/// The kind of sender. REST may send fewer element types than a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A REST call.
    Rest,
    /// A client.
    Client,
}

/// The type of a field.
#[derive(Clone, Copy)]
enum FieldKind {
    Text,
    /// A text that is not empty.
    NonEmptyText,
    /// An absolute `http` or `https` URL.
    Url,
    Number,
    /// A download flag, which must be the number 2.
    DownloadFlag,
    Images,
}

use FieldKind::{DownloadFlag, Images, NonEmptyText, Number, Text, Url};

/// The name of a field, its type, and whether it is required.
type FieldRule = (&'static str, FieldKind, bool);
const REQUIRED: bool = true;
const OPTIONAL: bool = false;

const TEXT: &[FieldRule] = &[("Text", Text, REQUIRED)];
const LOCATION: &[FieldRule] =
    &[("Desc", Text, OPTIONAL), ("Latitude", Number, REQUIRED), ("Longitude", Number, REQUIRED)];
const FACE: &[FieldRule] = &[("Index", Number, OPTIONAL), ("Data", Text, OPTIONAL)];
const CUSTOM: &[FieldRule] =
    &[("Data", Text, OPTIONAL), ("Desc", Text, OPTIONAL), ("Ext", Text, OPTIONAL), ("Sound", Text, OPTIONAL)];
const IMAGE: &[FieldRule] = &[
    ("UUID", NonEmptyText, REQUIRED),
    ("ImageFormat", Number, OPTIONAL),
    ("ImageInfoArray", Images, REQUIRED),
];
const IMAGE_INFO: &[FieldRule] = &[
    ("Type", Number, OPTIONAL),
    ("Size", Number, OPTIONAL),
    ("Width", Number, REQUIRED),
    ("Height", Number, REQUIRED),
    ("URL", Url, REQUIRED),
];
const SOUND: &[FieldRule] = &[
    ("Url", Url, REQUIRED),
    ("UUID", NonEmptyText, REQUIRED),
    ("Size", Number, OPTIONAL),
    ("Second", Number, OPTIONAL),
    ("Download_Flag", DownloadFlag, REQUIRED),
];
const FILE: &[FieldRule] = &[
    ("Url", Url, REQUIRED),
    ("UUID", NonEmptyText, REQUIRED),
    ("FileSize", Number, OPTIONAL),
    ("FileName", Text, OPTIONAL),
    ("Download_Flag", DownloadFlag, REQUIRED),
];
const VIDEO: &[FieldRule] = &[
    ("VideoUrl", Url, REQUIRED),
    ("VideoUUID", NonEmptyText, REQUIRED),
    ("VideoSize", Number, OPTIONAL),
    ("VideoSecond", Number, OPTIONAL),
    ("VideoFormat", Text, OPTIONAL),
    ("VideoDownloadFlag", DownloadFlag, REQUIRED),
    ("ThumbUrl", Url, REQUIRED),
    ("ThumbUUID", NonEmptyText, REQUIRED),
    ("ThumbSize", Number, OPTIONAL),
    ("ThumbWidth", Number, REQUIRED),
    ("ThumbHeight", Number, REQUIRED),
    ("ThumbFormat", Text, OPTIONAL),
    ("ThumbDownloadFlag", DownloadFlag, REQUIRED),
];

/// Checks a whole `MsgBody`. For a client's elements only `MsgType` and `MsgContent` are checked,
/// because old clients leave fields out and the bridge must accept that.
pub(super) fn check(body: Option<&Value>, sender: Sender) -> Result<(), ApiError> {
    let body = body.ok_or_else(|| ApiError::new(90002, "MsgBody is missing"))?;
    let elements = body.as_array().ok_or_else(|| ApiError::new(90007, "MsgBody must be an Array"))?;
    if elements.is_empty() {
        return Err(ApiError::new(90002, "MsgBody has no element"));
    }
    let mut custom_count = 0;
    for element in elements {
        let kind = check_one(element, sender)?;
        custom_count += usize::from(kind == "TIMCustomElem");
    }
    if custom_count > 1 {
        return Err(malformed("a message may hold one TIMCustomElem only"));
    }
    Ok(())
}

fn malformed(info: impl Into<String>) -> ApiError {
    ApiError::new(90010, info)
}

fn check_one(element: &Value, sender: Sender) -> Result<&str, ApiError> {
    let kind = element
        .get("MsgType")
        .and_then(Value::as_str)
        .ok_or_else(|| malformed("MsgType must be a String"))?;
    let content = element
        .get("MsgContent")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("MsgContent must be an Object"))?;
    if sender == Sender::Client {
        return Ok(kind);
    }
    let rules = match kind {
        "TIMTextElem" => TEXT,
        "TIMLocationElem" => LOCATION,
        "TIMFaceElem" => FACE,
        "TIMCustomElem" => CUSTOM,
        "TIMImageElem" => IMAGE,
        "TIMSoundElem" => SOUND,
        "TIMFileElem" => FILE,
        "TIMVideoFileElem" => VIDEO,
        _ => return Err(malformed(format!("{kind} cannot be sent over REST"))),
    };
    check_fields(kind, content, rules).map(|()| kind)
}

fn check_fields(kind: &str, content: &Object, rules: &[FieldRule]) -> Result<(), ApiError> {
    for &(name, field_kind, required) in rules {
        match content.get(name) {
            Some(value) if has_kind(value, field_kind) => {}
            None if !required => {}
            _ => return Err(malformed(format!("{kind} has no usable {name}"))),
        }
    }
    Ok(())
}

fn has_kind(value: &Value, kind: FieldKind) -> bool {
    match kind {
        Text => value.is_string(),
        NonEmptyText => value.as_str().is_some_and(|text| !text.is_empty()),
        Url => value
            .as_str()
            .and_then(|text| url::Url::parse(text).ok())
            .is_some_and(|url| matches!(url.scheme(), "http" | "https")),
        Number => value.is_number(),
        DownloadFlag => value.as_u64() == Some(2),
        Images => value.as_array().is_some_and(|images| {
            !images.is_empty()
                && images.iter().all(|image| {
                    image.as_object().is_some_and(|image| check_fields("", image, IMAGE_INFO).is_ok())
                })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn samples() -> Vec<Value> {
        vec![
            json!({"MsgType":"TIMTextElem","MsgContent":{"Text":"Where are you?"}}),
            json!({"MsgType":"TIMLocationElem","MsgContent":{"Desc":"Station Rd 5","Latitude":22.54321,"Longitude":113}}),
            json!({"MsgType":"TIMFaceElem","MsgContent":{"Index":3,"Data":"smile"}}),
            json!({"MsgType":"TIMCustomElem","MsgContent":{"Data":"{}","Desc":"[link]","Ext":"","Sound":""}}),
            json!({"MsgType":"TIMImageElem","MsgContent":{"UUID":"9e10","ImageFormat":1,"ImageInfoArray":[
                {"Type":1,"Size":84213,"Width":1080,"Height":1440,"URL":"https://bridge.example.org/m/9e10.jpg"}]}}),
            json!({"MsgType":"TIMSoundElem","MsgContent":{"Url":"https://bridge.example.org/m/v1.mp3","UUID":"e4d9","Size":15360,"Second":6,"Download_Flag":2}}),
            json!({"MsgType":"TIMFileElem","MsgContent":{"Url":"https://bridge.example.org/m/f.pdf","UUID":"0cc1","FileSize":20480,"FileName":"price-list.pdf","Download_Flag":2}}),
            json!({"MsgType":"TIMVideoFileElem","MsgContent":{"VideoUrl":"https://bridge.example.org/m/v.mp4","VideoUUID":"92eb","VideoDownloadFlag":2,
                "ThumbUrl":"https://bridge.example.org/m/v.jpg","ThumbUUID":"4a8a","ThumbWidth":720,"ThumbHeight":1280,"ThumbDownloadFlag":2}}),
        ]
    }

    fn rest(body: &Value) -> Result<(), i64> {
        check(Some(body), Sender::Rest).map_err(|refused| refused.code)
    }

    #[test]
    fn every_documented_sample_passes_alone_and_together() {
        for sample in samples() {
            assert_eq!(rest(&json!([sample])), Ok(()));
        }
        assert_eq!(rest(&Value::Array(samples())), Ok(()));
    }

    #[test]
    fn required_fields_and_field_types_are_enforced() {
        for sample in samples() {
            let kind = sample["MsgType"].as_str().unwrap().to_owned();
            for name in sample["MsgContent"].as_object().unwrap().keys() {
                let mut wrong_type = sample.clone();
                wrong_type["MsgContent"][name] = json!({"of": "another type"});
                assert_eq!(rest(&json!([wrong_type])), Err(90010), "{kind} {name}");
                let optional = ["Desc", "Data", "Ext", "Sound", "Index", "ImageFormat", "Size", "Second"];
                let optional =
                    optional.contains(&name.as_str()) || name.starts_with("FileS") || name == "FileName";
                let mut without_field = sample.clone();
                without_field["MsgContent"].as_object_mut().unwrap().remove(name);
                assert_eq!(
                    rest(&json!([without_field])),
                    if optional { Ok(()) } else { Err(90010) },
                    "{kind} {name}"
                );
            }
        }
    }

    #[test]
    fn flags_urls_and_frames_are_strict() {
        let with = |at: usize, name: &str, value: Value| {
            let mut sample = samples().remove(at);
            sample["MsgContent"][name] = value;
            rest(&json!([sample]))
        };
        assert_eq!(with(5, "Download_Flag", json!(1)), Err(90010));
        assert_eq!(with(5, "Url", json!("/m/v1.mp3")), Err(90010));
        assert_eq!(with(4, "ImageInfoArray", json!([])), Err(90010));
        assert_eq!(check(None, Sender::Rest).unwrap_err().code, 90002);
        assert_eq!(rest(&json!([])), Err(90002));
        assert_eq!(rest(&json!({"MsgType": "TIMTextElem"})), Err(90007));
        assert_eq!(rest(&json!(["text"])), Err(90010));
        let custom = samples().remove(3);
        assert_eq!(rest(&json!([custom, custom])), Err(90010));
        let relay = json!([{"MsgType":"TIMRelayElem","MsgContent":{"Title":"Chat history"}}]);
        assert_eq!(rest(&relay), Err(90010));
        assert_eq!(check(Some(&relay), Sender::Client), Ok(()));
    }
}
