//! The page's sources: their texts in three languages, and no way to turn data into markup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Ways to turn a text into markup or script, and leftovers of debugging.
const FORBIDDEN: [&str; 8] = [
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
fn page_texts() -> BTreeMap<String, [String; 3]> {
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
fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(placeholder, _)| placeholder)
        .collect()
}

/// The texts between each `before` and the next quotation mark.
fn quoted_after<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    source.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_text_has_three_languages_with_the_same_placeholders() {
    let words = page_texts();
    assert!(words.len() > 100, "{}", words.len());
    for (key, texts) in &words {
        for text in texts {
            assert!(!text.is_empty(), "{key} has an empty text");
            assert_eq!(placeholders(text), placeholders(&texts[0]), "{key}: {texts:?}");
        }
    }
}

#[test]
fn every_text_key_in_use_exists() {
    let words = page_texts();
    let page = &files()["page.html"];
    let mut keys = Vec::new();
    for attribute in ["data-text=\"", "data-label=\"", "data-hint=\"", "data-placeholder=\""] {
        keys.extend(quoted_after(page, attribute).into_iter().map(str::to_owned));
    }
    for (_, source) in modules() {
        keys.extend(quoted_after(&source, " t(\"").into_iter().map(str::to_owned));
        keys.extend(quoted_after(&source, "(t(\"").into_iter().map(str::to_owned));
    }
    assert!(keys.len() > 60, "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !words.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_drill_has_its_texts() {
    let drills = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sandbox/drill.rs");
    let (source, words) = (std::fs::read_to_string(drills).unwrap(), page_texts());
    let names = quoted_after(&source, "name: \"");
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        // The drills of one instance share the text of their outcome.
        let outcome = if name.starts_with("instance_") { "instance" } else { name };
        for key in
            [format!("drill.{name}"), format!("drill.{name}.expect"), format!("drill.{outcome}.passed")]
        {
            assert!(words.contains_key(&key), "{key}");
        }
    }
}

#[test]
fn page_html_has_no_inline_code_or_style() {
    let page = &files()["page.html"];
    for inline in ["style=", "onclick", "<style", "http://", "https://"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"").count() + 1);
    assert!(page.contains("<script type=\"module\" src=\"/page/main.js\"></script>"));
}

#[test]
fn no_module_turns_data_into_markup() {
    for (name, source) in modules() {
        for forbidden in FORBIDDEN {
            assert!(!source.contains(forbidden), "{name} has {forbidden}");
        }
        assert!(source.starts_with("// "), "{name} does not begin with a comment that says what it is");
        // Behind it the line would be joined with the next one.
        let has_comment = source.lines().any(|line| line.contains("; // ") || line.contains(", // "));
        assert!(!has_comment, "{name} has a comment behind code");
        let lines = source.lines().count();
        assert!(lines <= 300, "{name} has {lines} lines");
    }
}

#[test]
fn every_file_is_referenced() {
    let files = files();
    let all: String = files.values().map(String::as_str).collect();
    // The server makes modules of it, one for each language.
    assert!(all.contains("fetch(`/page/words-${"));
    for name in files.keys().filter(|name| !["page.html", "words.js"].contains(&name.as_str())) {
        assert!(all.contains(&format!("/page/{name}\"")) || all.contains(&format!("\"./{name}\"")), "{name}");
    }
}
