//! A small, tolerant, bounded reader for the XML of pushes.
//!
//! Accepts elements in any order, with or without CDATA, known or unknown. Never expands a DTD and
//! never recurses. Skips content that is nested too deeply or has too many elements.

use std::str::FromStr;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// The number of levels that are kept, the root included; the deepest known push has five.
pub(super) const MAX_DEPTH: usize = 8;
/// The number of elements that are kept; the largest known push has about a hundred.
pub(super) const MAX_ELEMENTS: usize = 1000;

/// One element with its own character data and its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

/// Why the input is not an `<xml>` document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is malformed at this byte.
    #[error("it is not well-formed at byte {0}")]
    Malformed(u64),
    /// It has a document type. No push has one, and it could define entities.
    #[error("it has a DOCTYPE")]
    DocType,
    /// The root is another element, or there is no root.
    #[error("its root is not <xml>")]
    WrongRoot,
    /// There is content before or after the root.
    #[error("there is text or a second element outside the root")]
    OutsideRoot,
    /// It ends inside an element.
    #[error("it ends inside an element")]
    Truncated,
}

impl Element {
    /// An element with this character data and these children.
    pub(super) fn new(name: &str, text: String, children: Vec<Self>) -> Self {
        Self { name: name.to_owned(), text, children }
    }

    /// The first child with this name; the comparison is exact.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children, in document order.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The element's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element's own character data.
    pub fn content(&self) -> &str {
        &self.text
    }

    /// The character data of the first child with this name, untrimmed.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// Like [`Element::text`], without surrounding whitespace; `None` when nothing remains.
    pub fn trimmed_text(&self, name: &str) -> Option<&str> {
        self.text(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Like [`Element::text`], parsed as a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.trimmed_text(name)?.parse().ok()
    }
}

/// Reads a well-formed document whose root is `<xml>`. Every line break becomes `\n` (XML 1.0,
/// "End-of-Line Handling").
pub fn read(document: &[u8]) -> Result<Element, XmlError> {
    let document = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
    let mut reader = Reader::from_str(document.trim_start_matches('\u{feff}').trim_start_matches(SPACE));
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    let mut tree = Tree::default();
    loop {
        match reader.read_event().map_err(|_| XmlError::Malformed(reader.error_position()))? {
            Event::Start(tag) if !is_name(tag.name().as_ref()) => {
                return Err(XmlError::Malformed(reader.buffer_position()));
            }
            Event::Start(tag) => tree.start_element(tag.name().as_ref())?,
            Event::End(_) => tree.end_element(),
            // XML forbids this in text. It is the rest of a CDATA section that holds its own end.
            Event::Text(text) if text.contains(CDATA_END) => {
                return Err(XmlError::Malformed(reader.buffer_position()));
            }
            Event::Text(text) => tree.add_text(&text.xml10_content())?,
            Event::CData(text) => tree.add_inner_text(&text.xml10_content())?,
            Event::GeneralRef(reference) => tree.add_inner_text(&resolve_reference(&reference))?,
            Event::DocType(_) => return Err(XmlError::DocType),
            Event::Eof => return tree.finish(),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// Whether `name` is a valid element name. The library accepts everything up to a space as a name.
/// Every non-ASCII character is allowed here.
pub(super) fn is_name(name: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':') || !c.is_ascii();
    let continues = |c: char| starts(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    name.starts_with(starts) && name.chars().all(continues)
}

/// The end of a CDATA section.
pub(super) const CDATA_END: &str = "]]>";

pub(super) const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The text for an entity reference; an unknown reference stays as it was written.
fn resolve_reference(reference: &BytesRef<'_>) -> String {
    predefined(reference)
        .or_else(|| reference.resolve_char_ref().ok().flatten())
        .map_or_else(|| format!("&{};", &**reference), String::from)
}

/// The character of one of XML's five predefined entities.
pub(super) fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

/// The document as read so far. `open` holds the open elements, outermost first.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    kept: usize,
    /// The number of open elements that are not kept.
    skipped: usize,
}

impl Tree {
    fn start_element(&mut self, name: &str) -> Result<(), XmlError> {
        if self.open.is_empty() {
            match (&self.root, name) {
                (None, "xml") => {}
                (None, _) => return Err(XmlError::WrongRoot),
                (Some(_), _) => return Err(XmlError::OutsideRoot),
            }
        }
        if self.skipped > 0 || self.open.len() >= MAX_DEPTH || self.kept >= MAX_ELEMENTS {
            self.skipped += 1;
            return Ok(());
        }
        self.kept += 1;
        self.open.push(Element { name: name.to_owned(), text: String::new(), children: Vec::new() });
        Ok(())
    }

    fn end_element(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
        } else if let Some(done) = self.open.pop() {
            match self.open.last_mut() {
                Some(parent) => parent.children.push(done),
                None => self.root = Some(done),
            }
        }
    }

    /// Adds character data. Whitespace may stand outside the root.
    fn add_text(&mut self, text: &str) -> Result<(), XmlError> {
        if self.open.is_empty() && text.trim_matches(SPACE).is_empty() {
            return Ok(());
        }
        self.add_inner_text(text)
    }

    fn add_inner_text(&mut self, text: &str) -> Result<(), XmlError> {
        match self.open.last_mut() {
            None => {
                return Err(if self.root.is_some() { XmlError::OutsideRoot } else { XmlError::WrongRoot });
            }
            Some(element) if self.skipped == 0 => element.text.push_str(text),
            Some(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, XmlError> {
        if self.open.is_empty() { self.root.ok_or(XmlError::WrongRoot) } else { Err(XmlError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of_a(document: &str) -> Option<String> {
        read(document.as_bytes()).unwrap().text("a").map(str::to_owned)
    }

    #[test]
    fn character_data_is_read_in_every_notation() {
        for (document, text) in [
            ("<xml><a>x</a></xml>", "x"),
            ("<xml><a><![CDATA[x]]></a></xml>", "x"),
            ("<xml><a> <![CDATA[<b>&amp;]]> </a></xml>", " <b>&amp; "),
            ("<xml><a><![CDATA[]]]]><![CDATA[>]]></a></xml>", "]]>"),
            ("<xml><a/></xml>", ""),
            ("<xml><a></a></xml>", ""),
            ("<xml><a><![CDATA[]]></a></xml>", ""),
            ("<xml><a>&lt;&#x4f60;&#22909;&amp;&nbsp;&#0; & &x</a></xml>", "<你好&&nbsp;&#0; & &x"),
            ("<xml><a>1\u{0}2\u{1b}3</a></xml>", "1\u{0}2\u{1b}3"),
            ("<xml><a>1\r\n2\r3</a></xml>", "1\n2\n3"),
            ("<xml><a>1<!-- 2 -->3<?pi 4?>5<b>6</b>7</a></xml>", "1357"),
            ("<xml k='v'><a k='v'>x</a></xml>", "x"),
            ("<xml><_z.1-:é/><a>x</a></xml>", "x"),
            ("<xml><z><a>not this</a></z><a>x</a><a>nor this</a></xml>", "x"),
            ("\u{feff}<?xml version=\"1.0\" encoding=\"GBK\"?>\n<!-- c -->\n<xml><a>x</a></xml>\n", "x"),
            (" \r\n\t<?xml version=\"1.0\"?><xml><a>x</a></xml> \r\n\t", "x"),
        ] {
            assert_eq!(text_of_a(document).as_deref(), Some(text), "{document:?}");
        }
    }

    #[test]
    fn words_and_numbers_are_trimmed_and_texts_are_not() {
        let root = read(b"<xml><a>\n 7 </a><b> </b></xml>").unwrap();
        assert_eq!(root.text("a"), Some("\n 7 "));
        assert_eq!(root.trimmed_text("a"), Some("7"));
        assert_eq!(root.number("a"), Some(7_u64));
        assert_eq!((root.trimmed_text("b"), root.number::<i64>("b")), (None, None));
    }

    #[test]
    fn an_invalid_document_gives_its_error() {
        for (document, why) in [
            (&b""[..], XmlError::WrongRoot),
            (b"success", XmlError::WrongRoot),
            (b"{\"ToUserName\":\"gh\"}", XmlError::WrongRoot),
            (b"<html></html>", XmlError::WrongRoot),
            (b"<XML></XML>", XmlError::WrongRoot),
            (b"x<xml></xml>", XmlError::WrongRoot),
            (b"<![CDATA[x]]><xml></xml>", XmlError::WrongRoot),
            (b"<xml></xml>x", XmlError::OutsideRoot),
            (b"<xml></xml>\0", XmlError::OutsideRoot),
            (b"<xml></xml>&amp;", XmlError::OutsideRoot),
            (b"<xml></xml><xml></xml>", XmlError::OutsideRoot),
            (b"<xml><a>", XmlError::Truncated),
            (b"<xml><a></a>", XmlError::Truncated),
            (b"<!DOCTYPE xml [<!ENTITY e \"x\">]><xml>&e;</xml>", XmlError::DocType),
            (b"<xml><a>\xff</a></xml>", XmlError::Encoding),
        ] {
            assert_eq!(read(document), Err(why), "{}", String::from_utf8_lossy(document));
        }
        for malformed in [
            "<xml><a></b></xml>",
            "<xml><a",
            "<xml><![CDATA[x</xml>",
            "</xml>",
            "<xml></xml></xml>",
            "<xml>< a/></xml>",
            "<xml><a/<b/></xml>",
            "<xml><1/></xml>",
            "<xml><\"a\"/></xml>",
        ] {
            assert!(matches!(read(malformed.as_bytes()), Err(XmlError::Malformed(_))), "{malformed}");
        }
    }

    #[test]
    fn depth_and_number_of_elements_are_bounded() {
        let deep = format!("<xml>{}{}<a>x</a></xml>", "<d>".repeat(50_000), "</d>".repeat(50_000));
        assert_eq!(text_of_a(&deep).as_deref(), Some("x"));
        let text = format!("<xml><a>1{}lost{}2</a></xml>", "<d>".repeat(MAX_DEPTH), "</d>".repeat(MAX_DEPTH));
        assert_eq!(text_of_a(&text).as_deref(), Some("12"), "nothing of a skipped element is kept");
        let deepest = read(text.as_bytes()).unwrap().child("a").cloned();
        assert!(!format!("{deepest:?}").contains("lost"));
        let wide = format!("<xml><a>x</a>{}</xml>", "<d/>".repeat(50_000));
        assert_eq!(text_of_a(&wide).as_deref(), Some("x"));
        assert_eq!(read(wide.as_bytes()).unwrap().children().len(), MAX_ELEMENTS - 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "(<xml>|</xml>|<a>|</a>|<a/>|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<\\?|\\?>|&|;|#x|x|<!DOCTYPE|<|>|\")*"
                    .prop_map(String::into_bytes),
            ]
        ) {
            let _ = read(&bytes);
        }
    }
}
