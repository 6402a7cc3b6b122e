//! The reader of pushes: any bytes are parsed or refused, within limits. An element that is
//! written and read again is the same.

use wechat_im_bridge::internals::model::{Content, Push, PushBody};
use wechat_im_bridge::internals::wechat::receive::xml::Element;
use wechat_im_bridge::internals::wechat::receive::{PushError, document, parse};

/// The documented limits of the XML reader.
const DEPTH: usize = 8;
const ELEMENTS: usize = 1000;
/// The maximum length of a dedup key in bytes: two ids, an openid, a name and a time.
const KEY_BYTES: usize = 64 * 4 + 32 * 2 + 64;

/// `input` is the body of a push.
pub fn check(input: &[u8]) {
    let push = parse(input);
    let root = match document::read(input) {
        Ok(root) => root,
        Err(no_xml) => return assert_eq!(push, Err(PushError::Xml(no_xml))),
    };
    let text = String::from_utf8_lossy(input);
    let is_json =
        text.trim_start_matches(|c: char| c == '\u{feff}' || c <= ' ' || c.is_control()).starts_with('{');
    let Size { depth, elements, bytes } = size(&root);
    // A number in JSON may be longer written out: 1E15.
    let growth = if is_json { 5 } else { 3 };
    assert!(
        depth <= DEPTH && elements <= ELEMENTS && bytes <= growth * input.len() + growth,
        "{depth} {elements} {bytes}"
    );
    // The names of JSON need not be names in XML. A document that WeChat cannot have written is read by a second reader
    // if that one can.
    if !is_json && is_plausible(&root) {
        let again = to_xml(&root);
        assert_eq!(document::read(again.as_bytes()).as_ref(), Ok(&root), "{again}");
    }
    if let Ok(push) = push {
        check_push(&push, &root);
    }
}

/// Whether no field is repeated and words hold no elements.
fn is_plausible(root: &Element) -> bool {
    let words = ["Content", "Title", "Description", "Url", "Label", "Recognition"];
    let names: std::collections::BTreeSet<&str> = root.children().iter().map(Element::name).collect();
    names.len() == root.children().len()
        && root.children().iter().all(|child| child.children().is_empty() || !words.contains(&child.name()))
}

fn check_push(push: &Push, root: &Element) {
    assert_eq!(Some(push.from.as_str()), root.trimmed_text("FromUserName"));
    assert_eq!(push.account, root.trimmed_text("ToUserName").unwrap_or_default());
    assert!(push.dedup_key.as_str().len() <= KEY_BYTES, "{}", push.dedup_key.as_str());
    let PushBody::Message(content) = &push.body else { return };
    match root.trimmed_text("MsgId") {
        Some(id) if id.len() <= 64 => assert!(push.dedup_key.as_str().starts_with(&format!("m:{id}:"))),
        Some(_) => assert!(push.dedup_key.as_str().starts_with("m:")),
        None => assert!(push.dedup_key.as_str().starts_with("n:")),
    }
    match content {
        Content::Text { content, .. } => assert_eq!(content, root.text("Content").unwrap_or_default()),
        Content::Location { latitude, longitude, .. } => {
            assert!(latitude.is_finite() && longitude.is_finite());
        }
        Content::Other { kind } => assert!(kind.chars().count() <= 64),
        _ => {}
    }
}

struct Size {
    depth: usize,
    elements: usize,
    /// Bytes of names and character data.
    bytes: usize,
}

fn size(element: &Element) -> Size {
    let own = Size { depth: 0, elements: 1, bytes: element.name().len() + element.content().len() };
    let all = element.children().iter().map(size).fold(own, |sum, child| Size {
        depth: sum.depth.max(child.depth),
        elements: sum.elements + child.elements,
        bytes: sum.bytes + child.bytes,
    });
    Size { depth: all.depth + 1, ..all }
}

/// Writes an element as another XML writer might.
fn to_xml(element: &Element) -> String {
    let name = element.name();
    if element.content().is_empty() && element.children().is_empty() {
        return format!("<{name}/>");
    }
    let escaped = element
        .content()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\r', "&#13;");
    let children: String = element.children().iter().map(to_xml).collect();
    format!("<{name}>{escaped}{children}</{name}>")
}
