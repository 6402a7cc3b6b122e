//! Reads the body of a push as WeChat really sends it: strict XML first, then JSON or a lenient reader for XML whose
//! content breaks its own frame.
//!
//! WeChat puts a customer's words into a CDATA section without splitting `]]>`, so that a line of code or a pasted
//! document ends the section early. Whatever a customer writes must stay inside its own field: it must never become
//! another field of the push.

use serde_json::Value;

use super::xml::{self, CDATA_END, Element, MAX_DEPTH, MAX_ELEMENTS, SPACE, XmlError};
use crate::json;

/// The fields that hold people's words. Such a field ends at its last end tag; every other one at its first.
const FREE_TEXT: [&str; 6] = ["Content", "Title", "Description", "Url", "Label", "Recognition"];
/// How a CDATA section begins.
const CDATA_START: &str = "<![CDATA[";
/// How a writer that splits sections writes `]]>`. WeChat does not split them.
const SPLIT_END: &str = "]]]]><![CDATA[>";

/// Reads a document: an `<xml>` root, or a JSON object whose members are its fields. Invalid UTF-8 becomes U+FFFD.
/// Fails with the strict reader's error where no reader can read it.
pub fn read(body: &[u8]) -> Result<Element, XmlError> {
    let text = String::from_utf8_lossy(body);
    match xml::read(text.as_bytes()) {
        Ok(root) if is_plausible(&root) && sections_end_their_fields(&text) => Ok(root),
        Ok(root) => Ok(lenient(&text).unwrap_or(root)),
        Err(error) => lenient(&text).or_else(|| from_json(&text)).ok_or(error),
    }
}

/// Whether a well-formed document means what it says. WeChat repeats no field and puts no element into words: where
/// one of these is found, a customer's words have broken out of their field.
fn is_plausible(root: &Element) -> bool {
    let children = root.children();
    let is_repeated = |at: usize, name: &str| children[..at].iter().any(|earlier| earlier.name() == name);
    children.iter().enumerate().all(|(at, child)| {
        !is_repeated(at, child.name()) && (child.children().is_empty() || !FREE_TEXT.contains(&child.name()))
    })
}

/// Whether an end tag follows each section. Where something else does, the section's end stands in somebody's words.
fn sections_end_their_fields(text: &str) -> bool {
    text.replace(SPLIT_END, "").split(CDATA_END).skip(1).all(|rest| rest.trim_start().starts_with("</"))
}

/// Reads a flat document field by field.
fn lenient(text: &str) -> Option<Element> {
    let text = text.trim_start_matches('\u{feff}').trim_matches(SPACE);
    let text = match text.strip_prefix("<?xml") {
        Some(declared) => declared.split_once("?>")?.1.trim_start_matches(SPACE),
        None => text,
    };
    let fields = text.strip_prefix("<xml>")?.strip_suffix("</xml>")?;
    Some(Element::new("xml", String::new(), read_fields(fields, MAX_DEPTH - 1, &mut MAX_ELEMENTS.clone())?))
}

/// Reads fields down to `depth` levels; `left` is how many elements the document may still have.
fn read_fields(mut rest: &str, depth: usize, left: &mut usize) -> Option<Vec<Element>> {
    let mut fields: Vec<Element> = Vec::new();
    loop {
        rest = rest.trim_start_matches(SPACE);
        if rest.is_empty() {
            return Some(fields);
        }
        *left = left.checked_sub(1).filter(|left| *left > 0)?;
        let (name, after) = rest.strip_prefix('<')?.split_once('>')?;
        if let Some(empty) = name.strip_suffix('/').map(str::trim_end).filter(|name| xml::is_name(name)) {
            fields.push(Element::new(empty, String::new(), Vec::new()));
            rest = after;
            continue;
        }
        if !xml::is_name(name) {
            return None;
        }
        let (field, more) = read_field(name, after, depth, left)?;
        // The identities come before the words, so that a field that words pretend to be is a repeat.
        if !fields.iter().any(|earlier| earlier.name() == name) {
            fields.push(field);
        }
        rest = more;
    }
}

/// Reads one field after its start tag: the field, and the rest of the document.
fn read_field<'a>(name: &str, after: &'a str, depth: usize, left: &mut usize) -> Option<(Element, &'a str)> {
    let end_tag = format!("</{name}>");
    let is_words = FREE_TEXT.contains(&name);
    let find = |text: &str, end: &str| if is_words { text.rfind(end) } else { text.find(end) };
    if let Some(content) = after.trim_start_matches(SPACE).strip_prefix(CDATA_START) {
        let end = format!("{CDATA_END}{end_tag}");
        if let Some(at) = find(content, &end) {
            let text = content[..at].replace("\r\n", "\n").replace('\r', "\n");
            return Some((Element::new(name, text, Vec::new()), &content[at + end.len()..]));
        }
    }
    let at = find(after, &end_tag)?;
    let (content, rest) = (&after[..at], &after[at + end_tag.len()..]);
    let may_nest = !is_words && depth > 1 && content.trim_start_matches(SPACE).starts_with('<');
    let nested = if may_nest { read_fields(content, depth - 1, left) } else { None };
    let nested = nested.filter(|children| !children.is_empty());
    let text = if nested.is_some() { String::new() } else { unescape(content) };
    Some((Element::new(name, text, nested.unwrap_or_default()), rest))
}

/// Resolves the references in plain content. A `&` that begins none stays.
fn unescape(content: &str) -> String {
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let reference = after.split_once(';').filter(|(name, _)| name.len() <= 10);
        if let Some((character, left)) = reference.and_then(|(name, left)| Some((resolve(name)?, left))) {
            text.push(character);
            rest = left;
        } else {
            text.push('&');
            rest = after;
        }
    }
    text.push_str(rest);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn resolve(name: &str) -> Option<char> {
    let number = name.strip_prefix('#').map(|digits| match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    });
    match number {
        Some(code) => code.and_then(char::from_u32).filter(|c| *c != '\0'),
        None => xml::predefined(name),
    }
}

/// Reads a JSON push, which an account gets whose data format is set to JSON.
fn from_json(text: &str) -> Option<Element> {
    let value: Value = json::from_slice(text.as_bytes()).ok()?;
    value.is_object().then(|| element("xml", &value, MAX_DEPTH, &mut MAX_ELEMENTS.clone()))
}

fn element(name: &str, value: &Value, depth: usize, left: &mut usize) -> Element {
    *left = left.saturating_sub(1);
    let members: Vec<(&str, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        Value::Array(items) => items.iter().map(|item| ("item", item)).collect(),
        _ => Vec::new(),
    };
    let text = match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let mut children = Vec::new();
    for (name, value) in members {
        if depth <= 1 || *left == 0 {
            break;
        }
        children.push(element(name, value, depth - 1, left));
    }
    Element::new(name, text, children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A text message as WeChat writes it: the words unsplit in a CDATA section.
    fn push(content: &str) -> String {
        format!(
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oReal]]></FromUserName>\
             <CreateTime>1</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content}]]></Content>\
             <MsgId>7</MsgId></xml>"
        )
    }

    fn fields(body: &[u8]) -> Vec<(String, String)> {
        let root = read(body).unwrap();
        root.children().iter().map(|field| (field.name().to_owned(), field.content().to_owned())).collect()
    }

    #[track_caller]
    fn assert_content(content: &str) {
        let expected = ["gh_1", "oReal", "1", "text", content, "7"];
        let names = ["ToUserName", "FromUserName", "CreateTime", "MsgType", "Content", "MsgId"];
        let expected: Vec<_> =
            names.map(str::to_owned).into_iter().zip(expected.map(str::to_owned)).collect();
        assert_eq!(fields(push(content).as_bytes()), expected);
    }

    #[test]
    fn words_that_end_the_section_stay_words() {
        for content in [
            "if (a[b[0]]>c) why?",
            "]]>",
            "<xml><status><![CDATA[paid]]></status><note>please check</note></xml>",
            "]]></Content><Content><![CDATA[",
            "]]></Content></xml>",
            "<![CDATA[",
            "a]]]]><b",
            "]]><![CDATA[",
            "<!DOCTYPE x []>]]> &lt; &amp;",
        ] {
            assert_content(content);
        }
    }

    #[test]
    fn words_never_become_another_field() {
        for content in [
            "x]]></Content><FromUserName><![CDATA[oVictim]]></FromUserName><Content><![CDATA[y",
            "x]]></ToUserName><FromUserName><![CDATA[oVictim]]></FromUserName><ToUserName><![CDATA[",
            "]]></Content><MsgType><![CDATA[event]]></MsgType><Event>unsubscribe</Event><Content><![CDATA[",
        ] {
            assert_content(content);
        }
    }

    #[test]
    fn plain_content_may_hold_markup_and_bare_ampersands() {
        let body = |content: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<xml>\n<MsgType>text</MsgType>\n<Content>{content}</Content><A/></xml>\n"
            )
        };
        for (content, text) in [
            ("a < b & c", "a < b & c"),
            ("<b>bold</b> &lt;i&gt; &#20320;", "<b>bold</b> <i> 你"),
            ("</Content><Content>", "</Content><Content>"),
            ("1\r\n2 ]]> & &nbsp;", "1\n2 ]]> & &nbsp;"),
        ] {
            let read = fields(body(content).as_bytes());
            let expected = [("MsgType", "text"), ("Content", text), ("A", "")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        let mut body = push("price: ").into_bytes();
        let at = body.windows(7).position(|window| window == b"price: ").unwrap() + 7;
        body.splice(at..at, [0xff, 0xfe]);
        assert_eq!(fields(&body)[4].1, "price: \u{fffd}\u{fffd}");
    }

    #[test]
    fn json_has_the_same_fields() {
        let body = r#"{"ToUserName":"gh_1","FromUserName":"oReal","CreateTime":1,"MsgType":"text","Content":"666 ]]>",
                       "MsgId":23568243490745350,"SendPicsInfo":{"PicList":[{"PicMd5Sum":"a"},{"PicMd5Sum":"b"}]}}"#;
        let root = read(format!("\u{feff}{body}").as_bytes()).unwrap();
        assert_eq!(root.text("Content"), Some("666 ]]>"));
        assert_eq!(root.number::<u64>("MsgId"), Some(23_568_243_490_745_350));
        let pictures = root.child("SendPicsInfo").unwrap().child("PicList").unwrap();
        assert_eq!(pictures.children()[1].text("PicMd5Sum"), Some("b"));
    }

    #[test]
    fn what_no_reader_reads_is_the_strict_readers_error() {
        for (body, error) in [
            ("", XmlError::WrongRoot),
            ("[]", XmlError::WrongRoot),
            ("\"text\"", XmlError::WrongRoot),
            ("<html></html>", XmlError::WrongRoot),
            ("<!DOCTYPE x><xml></xml>", XmlError::DocType),
            ("<xml><A>", XmlError::Truncated),
        ] {
            assert_eq!(read(body.as_bytes()), Err(error), "{body}");
        }
    }

    #[test]
    fn deep_and_wide_documents_are_bounded() {
        fn size(element: &Element) -> (usize, usize) {
            let inner = element.children().iter().map(size);
            inner.fold((1, 1), |(depth, count), (inner, more)| (depth.max(inner + 1), count + more))
        }
        let deep = format!("<xml>{}]]>{}</xml>", "<a>".repeat(50_000), "</a>".repeat(50_000));
        let mut wide = String::new();
        for n in 0..50_000 {
            wide.extend([format!("<a{n}>"), format!("]]></a{n}>")]);
        }
        let json = format!("{{\"a\":[{}0]}}", "[0],".repeat(50_000));
        for body in [deep, format!("<xml>{wide}</xml>"), json] {
            let started = std::time::Instant::now();
            if let Ok(root) = read(body.as_bytes()) {
                let (depth, count) = size(&root);
                assert!(depth <= MAX_DEPTH && count <= MAX_ELEMENTS, "{depth} {count}");
            }
            assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
        }
    }

    proptest! {
        #[test]
        fn any_words_stay_in_their_field(
            pieces in prop::collection::vec(prop::sample::select(&[
                "]]>", "<![CDATA[", "</Content>", "<Content>", "</xml>", "<xml>", "<MsgId>", "</MsgId>", "a", "&", "&lt;",
                "<", ">", "]", " ", "<FromUserName>", "</FromUserName>", "oVictim", "<!--", "-->", "你",
            ][..]), 0..14),
        ) {
            let content = pieces.concat();
            prop_assume!(!content.contains(SPLIT_END));
            let read = fields(push(&content).as_bytes());
            prop_assert_eq!(&read[1].1, "oReal");
            prop_assert_eq!(&read[4].1, &content);
            prop_assert_eq!(read.len(), 6);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
