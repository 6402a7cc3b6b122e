//! The page's files, embedded: it works without a network and without a build step.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// One file: its name, its type and its content.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";

const PAGE: File = ("page.html", HTML, include_bytes!("../page/page.html"));

/// Everything under `/page/`. A test holds it against the folder.
const FILES: &[File] = &[];

/// `GET /`.
pub(super) fn page() -> Response {
    answer(&PAGE)
}

/// `GET /page/NAME`.
pub(super) fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some(file) => answer(file),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A newer binary has newer files at the same names.
fn answer(&(_, content_type, content): &File) -> Response {
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
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort_unstable();
        let mut served: Vec<&str> = FILES.iter().chain([&PAGE]).map(|(name, _, _)| *name).collect();
        served.sort_unstable();
        assert_eq!(served, there);
        let bytes: usize = FILES.iter().chain([&PAGE]).map(|(_, _, content)| content.len()).sum();
        assert!(bytes < 100_000, "{bytes}");
    }
}
