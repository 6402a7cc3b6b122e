//! The page's sources: their size, their texts in three languages, and no way to turn data into
//! markup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Limit for all files together as they are served, in bytes.
const LIMIT: usize = 100_000;

/// Ways to turn a text into markup or script, and leftovers of debugging.
const NEVER: [&str; 8] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "console.",
    "debugger",
];

fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sandbox/page");
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

fn modules() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|ending| ending == "js"))
}

/// Every text by its key, in English, Korean and Chinese.
fn words() -> BTreeMap<String, [String; 3]> {
    let source = &files()["words.js"];
    let mut words = BTreeMap::new();
    for line in source.lines().filter(|line| line.starts_with('\t')) {
        let row = format!("{{{}}}", line.trim().trim_end_matches(','));
        let row: BTreeMap<String, [String; 3]> =
            serde_json::from_str(&row).unwrap_or_else(|error| panic!("{line}: {error}"));
        for (key, texts) in row {
            assert!(words.insert(key.clone(), texts).is_none(), "{key} is defined twice");
        }
    }
    words
}

/// The `{placeholders}` of a text.
fn places(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place).collect()
}

/// The texts between each `before` and the next quotation mark.
fn named<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    source.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_page_is_small() {
    let sizes: BTreeMap<String, usize> = files().into_iter().map(|(name, text)| (name, text.len())).collect();
    let total: usize = sizes.values().sum();
    assert!(total < LIMIT, "{total} bytes: {sizes:#?}");
}

#[test]
fn every_text_stands_in_three_languages_with_the_same_places() {
    let words = words();
    assert!(words.len() > 100, "{}", words.len());
    for (key, texts) in &words {
        for text in texts {
            assert!(!text.is_empty(), "{key} has an empty text");
            assert_eq!(places(text), places(&texts[0]), "{key}: {texts:?}");
        }
    }
}

#[test]
fn every_text_that_is_named_exists() {
    let words = words();
    let page = &files()["page.html"];
    let mut keys = Vec::new();
    for attribute in ["data-text=\"", "data-label=\"", "data-hint=\"", "data-placeholder=\""] {
        keys.extend(named(page, attribute).into_iter().map(str::to_owned));
    }
    for (_, source) in modules() {
        keys.extend(named(&source, " t(\"").into_iter().map(str::to_owned));
        keys.extend(named(&source, "(t(\"").into_iter().map(str::to_owned));
    }
    assert!(keys.len() > 60, "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !words.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn page_html_itself_holds_no_words_and_nothing_inline() {
    let page = &files()["page.html"];
    for inline in ["style=", "onclick", "<style", "http://", "https://"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"").count() + 1);
    assert!(page.contains("<script type=\"module\" src=\"/page/main.js\"></script>"));
}

#[test]
fn no_module_makes_markup_of_data() {
    for (name, source) in modules() {
        for never in NEVER {
            assert!(!source.contains(never), "{name} has {never}");
        }
        assert!(source.starts_with("// "), "{name} does not begin with a comment that says what it is");
        let lines = source.lines().count();
        assert!(lines <= 300, "{name} has {lines} lines");
    }
}

#[test]
fn every_file_is_reached_from_the_page() {
    let files = files();
    let all: String = files.values().map(String::as_str).collect();
    for name in files.keys().filter(|name| *name != "page.html") {
        assert!(all.contains(&format!("/page/{name}\"")) || all.contains(&format!("\"./{name}\"")), "{name}");
    }
}
