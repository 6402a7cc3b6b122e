use super::*;
use crate::model::AnswerPart;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn documented_elements_are_read() {
    let body = json!([
        {"MsgType": "TIMTextElem", "MsgContent": {"Text": "Where are you?"}},
        {"MsgType": "TIMLocationElem", "MsgContent": {"Desc": "Station Rd 5", "Latitude": 22.54321, "Longitude": 113.97531}},
        {"MsgType": "TIMFaceElem", "MsgContent": {"Index": 3, "Data": "smile"}},
        {"MsgType": "TIMCustomElem", "MsgContent": {"Data": "house data", "Desc": "[order]", "Ext": "", "Sound": ""}},
        {"MsgType": "TIMImageElem", "MsgContent": {"UUID": "9e10", "ImageFormat": 1, "ImageInfoArray": [
            {"Type": 3, "Size": 9120, "Width": 198, "Height": 264, "URL": "https://example.org/t.jpg"},
            {"Type": 1, "Size": 84213, "Width": 1080, "Height": 1440, "URL": "https://example.org/o.jpg"}]}},
        {"MsgType": "TIMSoundElem", "MsgContent": {"Url": "https://example.org/v.mp3", "UUID": "e4d9", "Size": 15360, "Second": 6, "Download_Flag": 2}},
        {"MsgType": "TIMFileElem", "MsgContent": {"Url": "https://example.org/f.pdf", "UUID": "0cc1", "FileSize": 20480, "FileName": "file:///C:/Users/lin/price-list.pdf", "Download_Flag": 2}},
        {"MsgType": "TIMVideoFileElem", "MsgContent": {"VideoUrl": "https://example.org/v.mp4", "VideoSize": 1_194_603, "VideoSecond": 5, "VideoFormat": "mp4", "ThumbUrl": "https://example.org/v.jpg"}},
        {"MsgType": "TIMRelayElem", "MsgContent": {"Title": "Chat history", "MsgNum": 1, "CompatibleText": "[chat history]", "AbstractList": ["Lin: size M"]}},
    ]);
    let text = str::to_owned;
    let expected = vec![
        AnswerPart::Text(text("Where are you?")),
        AnswerPart::Location { latitude: 22.54321, longitude: 113.97531, description: text("Station Rd 5") },
        AnswerPart::Face { index: 3, data: text("smile") },
        AnswerPart::Custom { text: text("[order]") },
        AnswerPart::Image {
            url: text("https://example.org/o.jpg"),
            smaller: Some(text("https://example.org/t.jpg")),
            size: 84213,
            format: 1,
        },
        AnswerPart::Sound { url: text("https://example.org/v.mp3"), size: 15360, second: 6 },
        AnswerPart::File {
            url: text("https://example.org/f.pdf"),
            size: 20480,
            name: text("price-list.pdf"),
        },
        AnswerPart::Video {
            url: text("https://example.org/v.mp4"),
            size: 1_194_603,
            second: 5,
            format: text("mp4"),
            thumb_url: text("https://example.org/v.jpg"),
        },
        AnswerPart::Relay {
            title: text("Chat history"),
            text: text("[chat history]"),
            lines: vec![text("Lin: size M")],
        },
    ];
    assert_eq!(parts(&body), expected);
}

fn one(kind: &str, content: &Value) -> AnswerPart {
    let mut read = parts(&json!([{"MsgType": kind, "MsgContent": content, "Unknown": 1}]));
    assert_eq!(read.len(), 1);
    read.remove(0)
}

#[test]
fn every_field_may_be_missing_and_numbers_come_in_every_spelling() {
    let empty = String::new;
    assert_eq!(one("TIMTextElem", &json!({"Text": null})), AnswerPart::Text(empty()));
    assert_eq!(
        one("TIMSoundElem", &json!({"Size": 15360.0, "Second": "6", "New": []})),
        AnswerPart::Sound { url: empty(), size: 15360, second: 6 }
    );
    assert_eq!(
        one("TIMImageElem", &json!({})),
        AnswerPart::Image { url: empty(), smaller: None, size: 0, format: 255 }
    );
    assert_eq!(
        one("TIMLocationElem", &json!({"Latitude": "22.5", "Longitude": 114})),
        AnswerPart::Location { latitude: 22.5, longitude: 114.0, description: empty() }
    );
    assert_eq!(
        one("TIMVideoFileElem", &json!({"VideoSecond": "unknown", "VideoSize": -1})),
        AnswerPart::Video { url: empty(), size: 0, second: 0, format: empty(), thumb_url: empty() }
    );
    assert_eq!(
        one(
            "TIMImageElem",
            &json!({"ImageInfoArray": [{"Type": 1, "URL": ""}, {"Type": 2.0, "URL": "https://e.org/l", "Size": "7"}]})
        ),
        AnswerPart::Image { url: "https://e.org/l".to_owned(), smaller: None, size: 7, format: 255 }
    );
}

#[test]
fn an_unreadable_element_keeps_its_place() {
    let other = |kind: &str| AnswerPart::Other { kind: kind.to_owned() };
    let body = json!([
        {"MsgType": "TIMStickerElem", "MsgContent": {"Text": "x"}},
        {"MsgType": "TIMTextElem", "MsgContent": {"Text": ["x"]}},
        {"MsgType": "TIMTextElem", "MsgContent": "x"},
        {"MsgType": "TIMTextElem"},
        {"MsgType": "TIMImageElem", "MsgContent": {"ImageInfoArray": "x"}},
        {"MsgContent": {"Text": "x"}},
        7,
        {"MsgType": "TIMTextElem", "MsgContent": {"Text": "still read"}},
    ]);
    let expected = vec![
        other("TIMStickerElem"),
        other("TIMTextElem"),
        other("TIMTextElem"),
        other("TIMTextElem"),
        other("TIMImageElem"),
        other(""),
        other(""),
        AnswerPart::Text("still read".to_owned()),
    ];
    assert_eq!(parts(&body), expected);
    assert_eq!(parts(&json!({"Text": "no array"})), []);
}

#[test]
fn a_file_is_named_by_its_base_name() {
    for (name, expected) in [
        ("a.pdf", "a.pdf"),
        ("/data/user/0/a.pdf", "a.pdf"),
        ("C:\\Users\\lin\\a.pdf", "a.pdf"),
        ("file:///sdcard/a b.pdf", "a b.pdf"),
        ("价格表.pdf", "价格表.pdf"),
        ("../..", ""),
        ("dir/", ""),
    ] {
        let read = one("TIMFileElem", &json!({"FileName": name}));
        assert_eq!(read, AnswerPart::File { url: String::new(), size: 0, name: expected.to_owned() });
    }
}

#[test]
fn calls_become_elements() {
    let built =
        elements_for(&OutboundCall::TextToAgent("Is this in stock?".to_owned()), &MediaDetails::default())
            .unwrap();
    assert_eq!(
        serde_json::to_string(&built).unwrap(),
        r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"Is this in stock?"}}]"#
    );
    let place = OutboundCall::LocationToAgent {
        latitude: 22.5,
        longitude: 114.0,
        description: "Station Rd 5".to_owned(),
    };
    assert_eq!(
        serde_json::to_string(&elements_for(&place, &MediaDetails::default()).unwrap()).unwrap(),
        concat!(
            r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"[location] Station Rd 5\n22.5,114\n"#,
            "https://apis.map.qq.com/uri/v1/marker?marker=coord:22.5,114;title:Station%20Rd%205&referer=bridge",
            r#""}},{"MsgType":"TIMLocationElem","#,
            r#""MsgContent":{"Desc":"Station Rd 5","Latitude":22.5,"Longitude":114.0}}]"#
        )
    );
    for other in [
        OutboundCall::ImportAccount,
        OutboundCall::DeleteAccount,
        OutboundCall::Note(String::new()),
        OutboundCall::TextToCustomer("x".to_owned()),
    ] {
        assert_eq!(elements_for(&other, &MediaDetails::default()), None);
    }
}

#[test]
fn media_carry_every_required_member() {
    let size = |r#type| ImageInfo {
        r#type,
        size: 84213,
        width: 1080,
        height: 1440,
        url: "https://bridge.example.org/m/9e10.jpg".to_owned(),
    };
    let built = json!([
        Element::Image(Image {
            uuid: "9e10".to_owned(),
            image_format: 1,
            image_info_array: [size(1), size(2), size(3)]
        }),
        Element::Sound(Sound {
            url: "https://e.org/v".to_owned(),
            uuid: "e4".to_owned(),
            size: 1,
            second: 2,
            download_flag: ByUrl
        }),
        Element::File(File {
            url: "https://e.org/f".to_owned(),
            uuid: "0c".to_owned(),
            file_size: 1,
            file_name: "f".to_owned(),
            download_flag: ByUrl
        }),
    ]);
    let info = |kind| json!({"Type": kind, "Size": 84213, "Width": 1080, "Height": 1440, "URL": "https://bridge.example.org/m/9e10.jpg"});
    assert_eq!(
        built,
        json!([
            {"MsgType": "TIMImageElem", "MsgContent": {"UUID": "9e10", "ImageFormat": 1, "ImageInfoArray": [info(1), info(2), info(3)]}},
            {"MsgType": "TIMSoundElem", "MsgContent": {"Url": "https://e.org/v", "UUID": "e4", "Size": 1, "Second": 2, "Download_Flag": 2}},
            {"MsgType": "TIMFileElem", "MsgContent": {"Url": "https://e.org/f", "UUID": "0c", "FileSize": 1, "FileName": "f", "Download_Flag": 2}},
        ])
    );
    let video = Element::Video(Video {
        video_url: "https://bridge.example.org/m/v.mp4".to_owned(),
        video_uuid: "92eb".to_owned(),
        video_size: 1_194_603,
        video_second: 5,
        video_format: "mp4".to_owned(),
        video_download_flag: ByUrl,
        thumb_url: "https://bridge.example.org/m/v.jpg".to_owned(),
        thumb_uuid: "4a8a".to_owned(),
        thumb_size: 13907,
        thumb_width: 720,
        thumb_height: 1280,
        thumb_format: "JPG".to_owned(),
        thumb_download_flag: ByUrl,
    });
    assert_eq!(
        serde_json::to_string(&video).unwrap(),
        r#"{"MsgType":"TIMVideoFileElem","MsgContent":{"VideoUrl":"https://bridge.example.org/m/v.mp4","VideoUUID":"92eb","VideoSize":1194603,"VideoSecond":5,"VideoFormat":"mp4","VideoDownloadFlag":2,"ThumbUrl":"https://bridge.example.org/m/v.jpg","ThumbUUID":"4a8a","ThumbSize":13907,"ThumbWidth":720,"ThumbHeight":1280,"ThumbFormat":"JPG","ThumbDownloadFlag":2}}"#
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "Text",
        "Desc",
        "Size",
        "Url",
        "ImageInfoArray",
        "URL",
        "Type",
        "FileName",
    ]);
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_element_of_a_client_is_one_part(
        elements in prop::collection::vec(
            (prop::sample::select(vec!["TIMTextElem", "TIMImageElem", "TIMFileElem", "TIMSoundElem", "TIMLocationElem", "?"]), any_json()),
            0..6,
        )
    ) {
        let body: Vec<Value> = elements
            .into_iter()
            .map(|(kind, content)| json!({"MsgType": kind, "MsgContent": content}))
            .collect();
        let count = body.len();
        prop_assert_eq!(parts(&Value::from(body)).len(), count);
    }

    #[test]
    fn text_reaches_the_agent_as_it_is(text in ".{0,200}") {
        let sent = serde_json::to_value(elements_for(&OutboundCall::TextToAgent(text.clone()), &MediaDetails::default()).unwrap()).unwrap();
        prop_assert_eq!(parts(&sent), vec![AnswerPart::Text(text)]);
    }
}
