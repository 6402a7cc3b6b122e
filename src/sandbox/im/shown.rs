//! What an agent's client shows of a message. Every kit shows the first element and no other.

use serde_json::Value;

use super::agent_client::MessageView;

/// What the kits write for a custom element that they do not know.
const UNKNOWN_CUSTOM: &str = "[custom message]";

/// One message as a client draws it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The kind of the bubble: `text`, `image`, `sound`, `video`, `file`, `face`, `location`, `custom` or
    /// `other`.
    pub kind: &'static str,
    /// The words in the bubble.
    pub text: String,
    /// The file's address.
    pub url: Option<String>,
    /// The file's name.
    pub name: Option<String>,
}

impl MessageView {
    /// What the client shows.
    pub fn shown(&self) -> Shown {
        shown(&self.current_elements()[0])
    }
}

fn shown(element: &Value) -> Shown {
    let content = &element["MsgContent"];
    let field = |name: &str| content[name].as_str().map(str::to_owned);
    let words =
        |kind, text: Option<String>| Shown { kind, text: text.unwrap_or_default(), ..Shown::default() };
    let file = |kind, url, name| Shown { kind, url, name, ..Shown::default() };
    match element["MsgType"].as_str().unwrap_or_default() {
        "TIMTextElem" => words("text", field("Text")),
        "TIMImageElem" => {
            file("image", content["ImageInfoArray"][0]["URL"].as_str().map(str::to_owned), None)
        }
        "TIMSoundElem" => file("sound", field("Url"), None),
        "TIMFileElem" => file("file", field("Url"), field("FileName")),
        "TIMVideoFileElem" => file("video", field("VideoUrl"), None),
        "TIMFaceElem" => words("face", None),
        // Most kits have no bubble for a location.
        "TIMLocationElem" => words("location", None),
        "TIMCustomElem" => words("custom", Some(custom(&field("Data").unwrap_or_default()))),
        "TIMRelayElem" => words("other", field("Title")),
        kind => words("other", Some(kind.to_owned())),
    }
}

/// The kits draw their own sample card and name the calls; anything else is unknown to them.
fn custom(data: &str) -> String {
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    match (&data["businessID"], data["text"].as_str(), data["link"].as_str()) {
        (kind, Some(text), Some(link)) if kind == "text_link" => format!("{text}\n{link}"),
        (kind, ..) if kind == 1 => "[call]".to_owned(),
        _ => UNKNOWN_CUSTOM.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_shows_words_and_files_and_nothing_of_what_it_does_not_know() {
        let element = |kind: &str, content: Value| json!({"MsgType": kind, "MsgContent": content});
        let text = shown(&element("TIMTextElem", json!({"Text": "hi"})));
        assert_eq!((text.kind, text.text.as_str()), ("text", "hi"));
        let location = shown(&element("TIMLocationElem", json!({"Desc": "Seoul", "Latitude": 1})));
        assert_eq!((location.kind, location.text.as_str()), ("location", ""));
        let card = json!({"wx": "link", "title": "Jackets"}).to_string();
        let card = shown(&element("TIMCustomElem", json!({"Data": card, "Desc": "Jackets"})));
        assert_eq!(card.text, UNKNOWN_CUSTOM);
        let sound = shown(&element("TIMSoundElem", json!({"Url": "http://a/1"})));
        assert_eq!((sound.kind, sound.url.as_deref()), ("sound", Some("http://a/1")));
    }
}
