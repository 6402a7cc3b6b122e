//! The tables in the documents agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wechat_im_bridge::im::send::code as im;
use wechat_im_bridge::wechat::send::code as wechat;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of every table below a heading, without the tables' header rows.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("{heading} is missing"));
    let section = section.split("\n## ").next().unwrap();
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-")).map(cells).collect()
}

/// Class, meaning and advice, by code.
type Codes<'a> = BTreeMap<i64, (&'a str, &'a str, &'a str)>;

fn codes<'a>(rows: &[Vec<&'a str>]) -> Codes<'a> {
    let mut codes = Codes::new();
    for row in rows {
        let Ok(code) = row[0].parse() else { continue };
        let [_, class, meaning, advice] = row.as_slice() else { panic!("{row:?}") };
        assert!(
            codes.insert(code, (class.trim_matches('`'), *meaning, *advice)).is_none(),
            "{code} is listed twice"
        );
    }
    codes
}

fn classes<'a>(rows: &[Vec<&'a str>]) -> BTreeSet<&'a str> {
    let first = rows.iter().filter(|row| row.len() == 5).map(|row| row[0]);
    first.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`')).collect()
}

#[test]
fn the_document_lists_exactly_wechats_return_codes() {
    let text = read("docs/return-codes.md");
    let rows = rows(&text, "## WeChat");
    let documented = codes(&rows);
    let known: Codes<'_> = wechat::CODES
        .iter()
        .map(|code| (code.number, (code.class.name(), code.meaning, code.advice.unwrap_or_default())))
        .collect();
    assert_eq!(documented, known);
    assert_eq!(classes(&rows), known.values().map(|(class, ..)| *class).collect());
}

#[test]
fn the_document_lists_exactly_ims_return_codes() {
    let text = read("docs/return-codes.md");
    let rows = rows(&text, "## Tencent IM");
    let documented = codes(&rows);
    assert!(documented.values().all(|(_, meaning, _)| !meaning.is_empty()));
    let without_meaning = |(code, (class, _, advice)): (i64, (&'_ str, &str, &'_ str))| {
        (code, (class.to_owned(), advice.to_owned()))
    };
    let documented: BTreeMap<i64, (String, String)> = documented.into_iter().map(without_meaning).collect();
    let known: BTreeMap<i64, (String, String)> = im::TABLE
        .iter()
        .map(|(code, class)| {
            (*code, (class.name().to_owned(), im::advice(*code).unwrap_or_default().to_owned()))
        })
        .collect();
    assert_eq!(documented, known);
    let present: BTreeSet<&str> = im::TABLE.iter().map(|(_, class)| class.name()).collect();
    assert_eq!(classes(&rows), present);
}

/// The metrics that the source registers: the type of each, by its name as it is scraped.
fn registered_metrics() -> BTreeMap<String, String> {
    let source = read("src/metrics.rs");
    let (_, fields) = source.split_once("struct Inner {").unwrap();
    let kinds: BTreeMap<&str, &str> = fields
        .lines()
        .map_while(|line| (line != "}").then_some(line.trim().trim_end_matches(',')))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let mut found = BTreeMap::new();
    for call in source.split("r.register(").skip(1) {
        let name = call.split('"').nth(1).unwrap();
        let (_, field) = call.split_once("inner.").unwrap();
        let kind = kinds[field.split('.').next().unwrap()];
        let is_counter = kind.starts_with("Counter");
        let suffix = if is_counter { "_total" } else { "" };
        let kind = if is_counter {
            "counter"
        } else if kind == "Gauge" {
            "gauge"
        } else {
            "histogram"
        };
        found.insert(format!("{name}{suffix}"), kind.to_owned());
    }
    found
}

#[test]
fn the_document_lists_exactly_the_registered_metrics() {
    let text = read("docs/metrics.md");
    let rows = rows(&text, "# Metrics");
    let documented: BTreeMap<String, String> = rows
        .iter()
        .filter(|row| row.len() == 4 && row[0].starts_with('`'))
        .map(|row| {
            assert!(!row[3].is_empty(), "{row:?}");
            (row[0].trim_matches('`').to_owned(), row[1].to_owned())
        })
        .collect();
    assert_eq!(documented, registered_metrics());
}

/// The image's build creates placeholders for the sources before it copies them. There must be one
/// for every target that `Cargo.toml` names.
#[test]
fn the_image_build_has_a_placeholder_for_every_target() {
    let dockerfile = read("Dockerfile");
    let (_, step) = dockerfile.split_once("COPY Cargo.toml Cargo.lock ./\nRUN ").unwrap();
    let (placeholders, _) = step.split_once("&& cargo build").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manifest = read("Cargo.toml");
    std::fs::write(folder.path().join("Cargo.toml"), &manifest).unwrap();
    let script = placeholders.replace("\\\n", " ");
    let shell =
        std::process::Command::new("sh").args(["-ec", &script]).current_dir(&folder).output().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    for target in paths.chain(["src/main.rs", "src/lib.rs"]) {
        assert!(folder.path().join(target).is_file(), "{target}");
    }
}

/// The image is built from the folders that its build copies, so every file that the sources include
/// must be in one of them.
#[test]
fn the_image_build_copies_every_included_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let dockerfile = read("Dockerfile");
    let pairs = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")?.split_once(' '));
    let copied: Vec<PathBuf> = pairs
        .filter(|(from, to)| from == to)
        .map(|(folder, _)| root.join(folder).canonicalize().unwrap())
        .collect();
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_tests = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_tests {
                folders.push(path);
                continue;
            }
            if is_tests || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let (text, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            let included = ["include_str!(\"", "include_bytes!(\""].map(|words| text.split(words).skip(1));
            for rest in included.into_iter().flatten() {
                let name = rest.split('"').next().unwrap();
                let file = folder.join(name).canonicalize().unwrap();
                let is_copied = copied.iter().any(|folder| file.starts_with(folder));
                assert!(is_copied, "{} includes {name}", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}
