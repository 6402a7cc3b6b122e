//! Checks `MsgBody` against the reference, section 5: the elements that REST may send, their
//! required fields, and the types of the fields.

use serde_json::Value;

use super::checks::{Object, Refused};

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
enum Kind {
    Text,
    /// A text that is not empty.
    Name,
    /// An absolute `http` or `https` URL.
    Url,
    Number,
    /// A download flag, which must be the number 2.
    Two,
    Images,
}

use Kind::{Images, Name, Number, Text, Two, Url};

/// The name of a field, its type, and whether it is required.
type FieldRule = (&'static str, Kind, bool);
const NEEDED: bool = true;
const OPTIONAL: bool = false;

const TEXT: &[FieldRule] = &[("Text", Text, NEEDED)];
const LOCATION: &[FieldRule] =
    &[("Desc", Text, OPTIONAL), ("Latitude", Number, NEEDED), ("Longitude", Number, NEEDED)];
const FACE: &[FieldRule] = &[("Index", Number, OPTIONAL), ("Data", Text, OPTIONAL)];
const CUSTOM: &[FieldRule] =
    &[("Data", Text, OPTIONAL), ("Desc", Text, OPTIONAL), ("Ext", Text, OPTIONAL), ("Sound", Text, OPTIONAL)];
const IMAGE: &[FieldRule] =
    &[("UUID", Name, NEEDED), ("ImageFormat", Number, OPTIONAL), ("ImageInfoArray", Images, NEEDED)];
const IMAGE_INFO: &[FieldRule] = &[
    ("Type", Number, OPTIONAL),
    ("Size", Number, OPTIONAL),
    ("Width", Number, NEEDED),
    ("Height", Number, NEEDED),
    ("URL", Url, NEEDED),
];
const SOUND: &[FieldRule] = &[
    ("Url", Url, NEEDED),
    ("UUID", Name, NEEDED),
    ("Size", Number, OPTIONAL),
    ("Second", Number, OPTIONAL),
    ("Download_Flag", Two, NEEDED),
];
const FILE: &[FieldRule] = &[
    ("Url", Url, NEEDED),
    ("UUID", Name, NEEDED),
    ("FileSize", Number, OPTIONAL),
    ("FileName", Text, OPTIONAL),
    ("Download_Flag", Two, NEEDED),
];
const VIDEO: &[FieldRule] = &[
    ("VideoUrl", Url, NEEDED),
    ("VideoUUID", Name, NEEDED),
    ("VideoSize", Number, OPTIONAL),
    ("VideoSecond", Number, OPTIONAL),
    ("VideoFormat", Text, OPTIONAL),
    ("VideoDownloadFlag", Two, NEEDED),
    ("ThumbUrl", Url, NEEDED),
    ("ThumbUUID", Name, NEEDED),
    ("ThumbSize", Number, OPTIONAL),
    ("ThumbWidth", Number, NEEDED),
    ("ThumbHeight", Number, NEEDED),
    ("ThumbFormat", Text, OPTIONAL),
    ("ThumbDownloadFlag", Two, NEEDED),
];

/// Checks a whole `MsgBody`. For a client's elements only `MsgType` and `MsgContent` are checked,
/// because old clients leave fields out and the bridge must accept that.
pub(super) fn check(body: Option<&Value>, sender: Sender) -> Result<(), Refused> {
    let body = body.ok_or_else(|| Refused::new(90002, "MsgBody is missing"))?;
    let elements = body.as_array().ok_or_else(|| Refused::new(90007, "MsgBody must be an Array"))?;
    if elements.is_empty() {
        return Err(Refused::new(90002, "MsgBody has no element"));
    }
    let mut customs = 0;
    for element in elements {
        let kind = check_one(element, sender)?;
        customs += usize::from(kind == "TIMCustomElem");
    }
    if customs > 1 {
        return Err(malformed("a message may hold one TIMCustomElem only"));
    }
    Ok(())
}

fn malformed(info: impl Into<String>) -> Refused {
    Refused::new(90010, info)
}

fn check_one(element: &Value, sender: Sender) -> Result<&str, Refused> {
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

fn check_fields(kind: &str, content: &Object, rules: &[FieldRule]) -> Result<(), Refused> {
    for &(name, wanted, needed) in rules {
        match content.get(name) {
            Some(value) if is(value, wanted) => {}
            None if !needed => {}
            _ => return Err(malformed(format!("{kind} has no usable {name}"))),
        }
    }
    Ok(())
}

fn is(value: &Value, wanted: Kind) -> bool {
    match wanted {
        Text => value.is_string(),
        Name => value.as_str().is_some_and(|text| !text.is_empty()),
        Url => value
            .as_str()
            .and_then(|text| url::Url::parse(text).ok())
            .is_some_and(|url| matches!(url.scheme(), "http" | "https")),
        Number => value.is_number(),
        Two => value.as_u64() == Some(2),
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
    fn every_needed_field_is_missed_and_every_field_has_its_type() {
        for sample in samples() {
            let kind = sample["MsgType"].as_str().unwrap().to_owned();
            for name in sample["MsgContent"].as_object().unwrap().keys() {
                let mut odd = sample.clone();
                odd["MsgContent"][name] = json!({"of": "another type"});
                assert_eq!(rest(&json!([odd])), Err(90010), "{kind} {name}");
                let optional = ["Desc", "Data", "Ext", "Sound", "Index", "ImageFormat", "Size", "Second"];
                let optional =
                    optional.contains(&name.as_str()) || name.starts_with("FileS") || name == "FileName";
                let mut less = sample.clone();
                less["MsgContent"].as_object_mut().unwrap().remove(name);
                assert_eq!(rest(&json!([less])), if optional { Ok(()) } else { Err(90010) }, "{kind} {name}");
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
