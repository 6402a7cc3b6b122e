//! The page's files, embedded in the binary: the page needs no network and no build step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// One file: its name, its type and its content.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

const PAGE: File = ("page.html", HTML, include_bytes!("../page/page.html"));

/// Every file under `/page/`. A test compares the list with the folder.
const FILES: &[File] = &[
    ("bubble.js", SCRIPT, include_bytes!("../page/bubble.js")),
    ("call.js", SCRIPT, include_bytes!("../page/call.js")),
    ("changes.js", SCRIPT, include_bytes!("../page/changes.js")),
    ("choices.js", SCRIPT, include_bytes!("../page/choices.js")),
    ("desk.css", STYLE, include_bytes!("../page/desk.css")),
    ("desk.js", SCRIPT, include_bytes!("../page/desk.js")),
    ("dom.js", SCRIPT, include_bytes!("../page/dom.js")),
    ("drills.js", SCRIPT, include_bytes!("../page/drills.js")),
    ("duty.js", SCRIPT, include_bytes!("../page/duty.js")),
    ("early.js", SCRIPT, include_bytes!("../page/early.js")),
    ("figures.js", SCRIPT, include_bytes!("../page/figures.js")),
    ("files.js", SCRIPT, include_bytes!("../page/files.js")),
    ("guide.js", SCRIPT, include_bytes!("../page/guide.js")),
    ("icon.svg", PICTURE, include_bytes!("../page/icon.svg")),
    ("main.js", SCRIPT, include_bytes!("../page/main.js")),
    ("notice.js", SCRIPT, include_bytes!("../page/notice.js")),
    ("page.css", STYLE, include_bytes!("../page/page.css")),
    ("phone.css", STYLE, include_bytes!("../page/phone.css")),
    ("phone.js", SCRIPT, include_bytes!("../page/phone.js")),
    ("store.js", SCRIPT, include_bytes!("../page/store.js")),
    ("texts.js", SCRIPT, include_bytes!("../page/texts.js")),
    ("thread.js", SCRIPT, include_bytes!("../page/thread.js")),
    ("trace.js", SCRIPT, include_bytes!("../page/trace.js")),
    ("wire.css", STYLE, include_bytes!("../page/wire.css")),
    ("wire.js", SCRIPT, include_bytes!("../page/wire.js")),
];

/// The texts in all languages, of which the page loads one.
const WORDS: &str = include_str!("../page/words.js");
/// The files of one language each, in the order of `words.js`.
const LANGUAGES: [&str; 3] = ["words-en.txt", "words-ko.txt", "words-zh.txt"];

/// `GET /`.
pub(super) fn page() -> Response {
    response(&PAGE)
}

/// `GET /page/NAME`.
pub(super) fn file(name: &str) -> Response {
    if let Some(language) = LANGUAGES.iter().position(|known| *known == name) {
        return response_of(TEXT, words(language));
    }
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some(file) => response(file),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The texts of one language, one a line: its key, a tab and the text.
fn words(language: usize) -> String {
    let mut list = String::new();
    for line in WORDS.lines().filter(|line| line.starts_with('\t')) {
        // A line is a member of a JSON object: a key, and its texts.
        let member = format!("{{{}}}", line.trim().trim_end_matches(','));
        let texts: BTreeMap<String, Vec<String>> = serde_json::from_str(&member).unwrap_or_default();
        for (key, texts) in &texts {
            let text = texts.get(language).map_or("", String::as_str);
            let _ = writeln!(list, "{key}\t{text}");
        }
    }
    list
}

/// A file as it is served: without the indentation, the comments that have lines of their own, and most line breaks, and
/// a style without the spaces around its signs. No text of the page has several lines, and no style contains a text with
/// such a space.
fn served(content_type: &str, content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let lines = text.lines().map(str::trim_start);
    let is_comment = |line: &&str| ["//", "/*", "* ", "*/"].iter().any(|start| line.starts_with(start));
    let lines = lines.filter(|line| !line.is_empty() && !is_comment(line));
    if content_type != STYLE {
        // A statement may end with its line.
        let ends_here = |line: &str| content_type != SCRIPT || !line.ends_with(['{', '(', '[', ',', ';']);
        return lines.flat_map(|line| [line, if ends_here(line) { "\n" } else { "" }]).collect();
    }
    let signs = [(": ", ":"), ("; ", ";"), (" {", "{"), ("{ ", "{"), (" }", "}"), (";}", "}"), (", ", ",")];
    let style = lines.collect::<String>();
    signs.into_iter().fold(style, |style, (spaced, sign)| style.replace(spaced, sign))
}

fn response(&(_, content_type, content): &File) -> Response {
    response_of(content_type, served(content_type, content))
}

/// Browsers must revalidate: a newer binary has other files under the same names.
fn response_of(content_type: &'static str, content: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_together_they_stay_under_100_kilobytes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sandbox/page");
        let mut in_folder: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        in_folder.sort_unstable();
        let mut names: Vec<&str> = FILES.iter().chain([&PAGE]).map(|(name, _, _)| *name).collect();
        names.push("words.js");
        names.sort_unstable();
        assert_eq!(names, in_folder);
        let bytes: usize =
            FILES.iter().chain([&PAGE]).map(|(_, kind, content)| served(kind, content).len()).sum();
        let texts = (0..LANGUAGES.len()).map(|language| words(language).len()).max().unwrap();
        assert!(bytes + texts < 100_000, "{bytes} + {texts}");
    }

    #[test]
    fn each_language_has_a_list_of_its_texts() {
        for (language, text) in ["Follow", "팔로우", "关注"].into_iter().enumerate() {
            let list = words(language);
            assert!(list.contains(&format!("phone.follow\t{text}\n")), "{list}");
            assert_eq!(list.lines().count(), WORDS.lines().filter(|line| line.starts_with('\t')).count());
            assert!(list.lines().all(|line| line.split('\t').count() == 2), "{list}");
        }
    }

    #[test]
    fn a_file_is_served_without_indentation_and_comments() {
        let source = "// What it does.\n\n/**\n * More.\n */\nexport function a() {\n\treturn \"a // b\"; // here\n}\n";
        assert_eq!(served(SCRIPT, source.as_bytes()), "export function a() {return \"a // b\"; // here\n}\n");
        let source =
            ".a, .b { color: red; }\n\n/* More. */\n@media (x: 1) {\n\t.c:not(.d) > i { top: 0; }\n}\n";
        let expected = ".a,.b{color:red}@media (x:1){.c:not(.d) > i{top:0}}";
        assert_eq!(served(STYLE, source.as_bytes()), expected);
    }
}
