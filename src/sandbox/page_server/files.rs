//! The page's files, embedded in the binary: the page needs no network and no build step.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// One file: its name, its type and its content.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
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
    ("early.js", SCRIPT, include_bytes!("../page/early.js")),
    ("figures.js", SCRIPT, include_bytes!("../page/figures.js")),
    ("files.js", SCRIPT, include_bytes!("../page/files.js")),
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
    ("words.js", SCRIPT, include_bytes!("../page/words.js")),
];

/// `GET /`.
pub(super) fn page() -> Response {
    response(&PAGE)
}

/// `GET /page/NAME`.
pub(super) fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some(file) => response(file),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file as it is served: without the indentation and the comments that have lines of their own. No text of the
/// page has several lines.
fn served(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let lines = text.lines().map(str::trim_start);
    let is_comment = |line: &&str| ["//", "/*", "* ", "*/"].iter().any(|start| line.starts_with(start));
    lines.filter(|line| !line.is_empty() && !is_comment(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Browsers must revalidate: a newer binary has other files under the same names.
fn response(&(_, content_type, content): &File) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, served(content)).into_response()
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
        names.sort_unstable();
        assert_eq!(names, in_folder);
        let bytes: usize = FILES.iter().chain([&PAGE]).map(|(_, _, content)| served(content).len()).sum();
        assert!(bytes < 100_000, "{bytes}");
    }

    #[test]
    fn a_file_is_served_without_indentation_and_comments() {
        let source = "// What it does.\n\n/**\n * More.\n */\nexport function a() {\n\treturn \"a // b\"; // here\n}\n";
        assert_eq!(served(source.as_bytes()), "export function a() {\nreturn \"a // b\"; // here\n}\n");
    }
}
