//! XML as WeChat writes it in pushes and reads it in answers (reference: sections 2 to 5).
//!
//! The reader is as strict as a validating one. It accepts exactly one root, nothing after it, no
//! document type and no control characters.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;

/// The deepest nesting that is accepted. A valid answer goes no deeper than
/// `xml/Articles/item/Title`.
const DEPTH_LIMIT: usize = 8;

/// One element of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A name, and character data in CDATA.
    Text(String, String),
    /// A name and a number without CDATA.
    Number(String, String),
    /// A name and the elements inside.
    Group(String, Vec<Field>),
}

impl Field {
    /// Creates an element with CDATA.
    pub fn text(name: &str, value: impl Into<String>) -> Self {
        Self::Text(name.to_owned(), value.into())
    }

    /// Creates an element with a number without CDATA.
    pub fn number(name: &str, value: impl Into<String>) -> Self {
        Self::Number(name.to_owned(), value.into())
    }

    /// Creates an element that contains elements.
    pub fn group(name: &str, fields: Vec<Self>) -> Self {
        Self::Group(name.to_owned(), fields)
    }

    /// The element's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Text(name, _) | Self::Number(name, _) | Self::Group(name, _) => name,
        }
    }

    /// The element's character data. `None` for a group.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Text(_, value) | Self::Number(_, value) => Some(value),
            Self::Group(..) => None,
        }
    }
}

/// The value of the element called `name`, or an empty text.
pub(super) fn value_of<'a>(fields: &'a [Field], name: &str) -> &'a str {
    fields.iter().find(|field| field.name() == name).and_then(Field::value).unwrap_or_default()
}

/// Writes the document of a push.
pub(super) fn write(fields: &[Field]) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("<xml>");
    write_fields(&mut out, fields);
    out.push_str("</xml>");
    out
}

fn write_fields(out: &mut String, fields: &[Field]) {
    for field in fields {
        let name = field.name();
        let _ = write!(out, "<{name}>");
        match field {
            Field::Text(_, value) => {
                let legal: String = value.chars().filter(|c| is_legal(*c)).collect();
                // Like the real platform, without a second section for a text that holds `]]>`.
                let _ = write!(out, "<![CDATA[{legal}]]>");
            }
            Field::Number(_, value) => out.push_str(value),
            Field::Group(_, fields) => write_fields(out, fields),
        }
        let _ = write!(out, "</{name}>");
    }
}

/// Whether XML 1.0 allows the character in a document.
fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..) && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// An element of a document that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// The element's name.
    pub name: String,
    /// The element's own character data.
    pub text: String,
    /// The elements inside.
    pub children: Vec<Element>,
}

impl Element {
    /// The only child called `name`, if there is one. More than one is an error.
    pub fn child(&self, name: &str) -> Result<Option<&Self>, String> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(format!("{name} occurs more than once")),
            (child, _) => Ok(child),
        }
    }

    /// The text of the child called `name`. A missing child and one with elements inside are
    /// errors.
    pub fn text_of(&self, name: &str) -> Result<&str, String> {
        let child = self.child(name)?.ok_or_else(|| format!("{name} is missing"))?;
        if child.children.is_empty() { Ok(&child.text) } else { Err(format!("{name} contains elements")) }
    }
}

/// Reads one document. The error describes the first fault in it.
pub(super) fn read(document: &str) -> Result<Element, String> {
    if let Some(illegal) = document.chars().find(|c| !is_legal(*c)) {
        return Err(format!("the character {illegal:?} is not allowed in XML"));
    }
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let mut open_elements: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    loop {
        let event = reader.read_event().map_err(|error| format!("malformed XML: {error}"))?;
        let text = match event {
            // The reader expands an empty element into a start and an end.
            Event::Start(start) | Event::Empty(start) => {
                if root.is_some() {
                    return Err("a second root element".to_owned());
                }
                if open_elements.len() == DEPTH_LIMIT {
                    return Err("nested too deeply".to_owned());
                }
                let name: &str = start.name().into_inner();
                open_elements.push(Element { name: name.to_owned(), ..Element::default() });
                continue;
            }
            Event::End(_) => {
                let Some(finished) = open_elements.pop() else {
                    return Err("an end tag without a start tag".to_owned());
                };
                match open_elements.last_mut() {
                    Some(parent) => parent.children.push(finished),
                    None => root = Some(finished),
                }
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(entity) => match entity.resolve_char_ref() {
                Ok(Some(c)) if is_legal(c) => c.to_string(),
                Ok(None) => quick_xml::escape::resolve_xml_entity(&entity)
                    .ok_or_else(|| format!("unknown entity {:?}", &*entity))?
                    .to_owned(),
                _ => return Err("a character reference to an illegal character".to_owned()),
            },
            Event::Comment(_) | Event::Decl(_) => continue,
            Event::PI(_) | Event::DocType(_) => return Err("a document type or instruction".to_owned()),
            Event::Eof => break,
        };
        match open_elements.last_mut() {
            Some(element) => element.text.push_str(&text),
            None if text.trim().is_empty() => {}
            None => return Err("text outside the root element".to_owned()),
        }
    }
    if !open_elements.is_empty() {
        return Err("an element without an end tag".to_owned());
    }
    let root = root.ok_or_else(|| "no XML element".to_owned())?;
    if root.name == "xml" { Ok(root) } else { Err(format!("the root is <{}>, not <xml>", root.name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(text in "\\PC*") {
            prop_assume!(!text.contains("]]>"));
            let element = read(&write(&[Field::text("Content", &text)])).unwrap();
            prop_assert_eq!(element.text_of("Content").unwrap(), &text);
        }

        #[test]
        fn reading_never_panics(document in "(<|>|/|xml|&|;|!\\[CDATA\\[|\\]\\]>|a| )*") {
            let _ = read(&document);
        }
    }

    #[test]
    fn a_push_is_written_as_in_the_reference() {
        let fields = [
            Field::text("Content", "a]]>b"),
            Field::number("MsgId", "24300000000000001"),
            Field::group("ScanCodeInfo", vec![Field::text("ScanType", "qrcode")]),
        ];
        assert_eq!(
            write(&fields),
            "<xml><Content><![CDATA[a]]>b]]></Content><MsgId>24300000000000001</MsgId>\
             <ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType></ScanCodeInfo></xml>"
        );
    }

    #[test]
    fn invalid_documents_are_refused() {
        for bad in [
            "",
            "success",
            "{\"a\":1}",
            "<html></html>",
            "<xml>",
            "<xml></xml><xml></xml>",
            "<xml></xml>x",
            "<xml><a></b></xml>",
            "<xml>&nbsp;</xml>",
            "<xml>\u{1}</xml>",
            "<xml>&#1;</xml>",
            "<!DOCTYPE xml [<!ENTITY a \"b\">]><xml>&a;</xml>",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn escapes_are_resolved_and_repeats_are_refused() {
        let element = read("<?xml version=\"1.0\"?> <xml><a>1 &lt; &#50;</a><b/><b/></xml> ").unwrap();
        assert_eq!(element.text_of("a").unwrap(), "1 < 2");
        assert!(element.text_of("b").unwrap_err().contains("more than once"));
        assert!(element.text_of("c").unwrap_err().contains("missing"));
    }
}
