//! The documents agree with the code: their tables, and the paths and types that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wechat_im_bridge::internals::im::send::code as im;
use wechat_im_bridge::internals::wechat::send::code as wechat;

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
        } else if kind.starts_with("Gauge") {
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

/// The pages that name paths and types of this repository.
const PAGES: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

/// Words in the pages that look like types, but are fields of the platforms' requests.
const WIRE_FIELDS: [&str; 6] = ["SdkAppid", "Sign", "MsgRandom", "MsgSeq", "MsgLifeTime", "CreateTime"];

/// The words in backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// Whether a quoted word names a file or folder of this repository.
fn is_path(word: &str) -> bool {
    let folders = ["src", "tests", "benches", "fuzz", "docs", "migrations", ".ci"];
    let endings = [".rs", ".md", ".toml", ".sql"];
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let first = word.split('/').next().unwrap_or_default();
    let is_below = folders.contains(&first) && (word.contains('/') || first == "migrations");
    // The user's own file, which `config.example.toml` describes.
    is_plain && word != "config.toml" && (is_below || endings.iter().any(|ending| word.ends_with(ending)))
}

/// `Type`, or `Type` and `Variant` of `Type::Variant`.
fn as_type(word: &str) -> Option<(&str, Option<&str>)> {
    let (name, member) = word.split_once("::").map_or((word, None), |(name, member)| (name, Some(member)));
    let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().any(|c| c.is_ascii_lowercase())
        && name.chars().all(char::is_alphanumeric);
    is_type.then_some((name, member))
}

/// The paths, types and links of a page that do not exist.
fn dead_references(page: &str, text: &str, code: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut dead = Vec::new();
    for word in quoted(text) {
        // `fuzz/run xml 600` names a program with its arguments.
        let program = word.split(' ').next().unwrap_or_default();
        if is_path(program) && !root.join(program).exists() {
            dead.push(format!("{page}: {program}"));
        }
        if let Some((name, member)) = as_type(word).filter(|(name, _)| !WIRE_FIELDS.contains(name)) {
            let is_declared = ["struct", "enum", "trait", "type"].iter().any(|keyword| {
                code.match_indices(&format!("{keyword} {name}"))
                    .any(|(at, found)| !code[at + found.len()..].starts_with(char::is_alphanumeric))
            });
            if !is_declared || member.is_some_and(|member| !words.contains(member)) {
                dead.push(format!("{page}: {word}"));
            }
        }
    }
    let folder = root.join(page);
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = link.split('#').next().unwrap_or_default();
        if !file.contains("://") && !folder.parent().unwrap().join(file).exists() {
            dead.push(format!("{page}: {link}"));
        }
    }
    dead
}

/// All sources of the crate, by their paths.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut texts = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                texts.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    texts
}

/// The lines that declare a public item without a description above it.
///
/// The lint `missing_docs` sees only what is reachable from outside the crate, and the rooms are
/// private.
fn undocumented(source: &str) -> Vec<&str> {
    let is_item = |line: &str| {
        let mut words =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').skip_while(|word| *word == "async");
        let first = words.next().unwrap_or_default();
        ["fn", "struct", "enum", "trait", "type", "const", "static"].contains(&first)
    };
    let mut is_documented = false;
    let mut found = Vec::new();
    let (source, _) = source.split_once("#[cfg(test)]\nmod tests {").unwrap_or((source, ""));
    let mut attribute: Option<String> = None;
    for line in source.lines() {
        let code = line.trim();
        let is_continued = attribute.is_some();
        if is_continued || code.starts_with("#[") {
            // An attribute between a description and its item may take several lines.
            let text = attribute.take().unwrap_or_default() + code;
            let is_open = text.matches('[').count() > text.matches(']').count();
            attribute = is_open.then_some(text);
        } else if code.starts_with("///") || code == "$(#[$doc])*" {
            // In a macro, the second form passes on the description that its caller gives.
            is_documented = true;
        } else {
            if !is_documented && code.strip_prefix("pub ").is_some_and(is_item) {
                found.push(code);
            }
            is_documented = false;
        }
    }
    found
}

#[test]
fn every_public_item_is_documented() {
    let sources = sources();
    let of_tests =
        |path: &str| ["/tests", "/testing.rs", "/vectors.rs"].iter().any(|part| path.contains(part));
    let dead: Vec<String> = sources
        .iter()
        .filter(|(path, _)| !of_tests(path))
        .flat_map(|(path, text)| undocumented(text).into_iter().map(move |line| format!("{path}: {line}")))
        .collect();
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    assert!(sources.len() > 150, "{}", sources.len());
}

#[test]
fn an_undocumented_item_is_found() {
    let documented = [
        "/// A.\npub fn a() {}",
        "/// A.\n#[derive(Debug)]\npub struct A;",
        "/// A.\n#[expect(\n    dead_code,\n    reason = \"r\",\n)]\npub const A: u8 = 0;",
        "fn a() {}\npub(crate) fn b() {}\npub use c;",
    ];
    for source in documented {
        assert!(undocumented(source).is_empty(), "{source}");
    }
    let items = ["fn a() {}", "async fn a() {}", "const fn a() {}", "struct A;", "enum A {}", "type A = u8;"];
    for item in items {
        for above in ["", "// Z.\n", "#[must_use]\n", "/// Z.\nfn z() {}\n", "/// Z.\n\n", "mod z {\n    "] {
            let source = format!("{above}pub {item}\n");
            assert_eq!(undocumented(&source).len(), 1, "{source}");
        }
    }
}

#[test]
fn every_path_type_and_link_of_the_pages_exists() {
    let code = sources().into_values().collect::<String>();
    let dead: Vec<String> = PAGES.iter().flat_map(|page| dead_references(page, &read(page), &code)).collect();
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    let architecture = read("ARCHITECTURE.md");
    let words = quoted(&architecture);
    assert!(words.iter().filter(|word| is_path(word)).count() > 80);
    assert!(words.iter().filter(|word| as_type(word).is_some()).count() > 15);
}

#[test]
fn a_dead_reference_is_found() {
    let code = "pub enum State { Held }\npub struct Stated;";
    let found = |text| dead_references("docs/page.md", text, code).len();
    assert_eq!(
        found("`src/lib.rs` `State` `State::Held` `fuzz/run xml 600` [a](testing.md) `cargo test`"),
        0
    );
    assert_eq!(found("`src/nowhere.rs`"), 1);
    assert_eq!(found("`migrations/nothing`"), 1);
    assert_eq!(found("`tests/it/nowhere`"), 1);
    assert_eq!(found("`NOWHERE.md`"), 1);
    assert_eq!(found("`fuzz/walk xml 600`"), 1);
    assert_eq!(found("`Sta`"), 1);
    assert_eq!(found("`Nothing`"), 1);
    assert_eq!(found("`State::Lost`"), 1);
    assert_eq!(found("[a](nowhere.md)"), 1);
}

#[test]
fn the_readme_stays_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "{lines}");
}
