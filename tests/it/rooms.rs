//! Checks which room of the source tree uses which: reads every `crate::` path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room, with the other rooms that it may use.
const ROOMS: [(&str, &[&str]); 22] = [
    ("model", &[]),
    ("clock", &["model"]),
    ("http_client", &[]),
    ("json", &[]),
    ("live", &[]),
    ("owner_only", &[]),
    ("config", &["model"]),
    ("telemetry", &["config"]),
    ("metrics", &["model"]),
    ("lifecycle", &[]),
    ("store", &["model", "clock", "metrics"]),
    ("fleet", &["model", "clock", "live", "metrics", "store"]),
    ("media", &["http_client", "model", "clock", "config", "metrics", "store"]),
    ("upstream", &["http_client", "model", "clock", "metrics", "fleet"]),
    ("bridge", &["model", "clock", "live", "config", "metrics", "store", "fleet", "media"]),
    ("outbox", &["model", "clock", "config", "metrics", "store", "fleet", "media", "upstream", "bridge"]),
    (
        "wechat",
        &[
            "http_client",
            "model",
            "clock",
            "json",
            "live",
            "config",
            "metrics",
            "store",
            "fleet",
            "media",
            "upstream",
            "bridge",
            "outbox",
        ],
    ),
    (
        "im",
        &[
            "http_client",
            "model",
            "clock",
            "json",
            "live",
            "config",
            "metrics",
            "store",
            "fleet",
            "media",
            "upstream",
            "bridge",
            "outbox",
        ],
    ),
    (
        "http",
        &[
            "http_client",
            "model",
            "clock",
            "config",
            "metrics",
            "store",
            "fleet",
            "media",
            "upstream",
            "bridge",
            "outbox",
            "wechat",
            "im",
            "lifecycle",
        ],
    ),
    ("sandbox", &["http_client", "model", "clock", "config"]),
    (
        "app",
        &[
            "model",
            "clock",
            "live",
            "config",
            "telemetry",
            "owner_only",
            "metrics",
            "store",
            "fleet",
            "media",
            "upstream",
            "bridge",
            "outbox",
            "wechat",
            "im",
            "http",
            "lifecycle",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "clock",
            "config",
            "telemetry",
            "owner_only",
            "metrics",
            "store",
            "fleet",
            "media",
            "upstream",
            "bridge",
            "outbox",
            "wechat",
            "im",
            "http",
            "sandbox",
            "lifecycle",
            "app",
        ],
    ),
];

/// The two halves of a platform, which must not use each other.
const HALVES: [(&str, &str); 4] = [
    ("wechat/receive", "wechat::send"),
    ("wechat/send", "wechat::receive"),
    ("im/receive", "im::send"),
    ("im/send", "im::receive"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file's room, and its path below `src` without the extension.
fn room_and_path(path: &Path, root: &Path) -> (String, String) {
    let below = path.strip_prefix(root).unwrap().with_extension("");
    let below = below.to_str().unwrap().replace('\\', "/");
    (below.split('/').next().unwrap().to_owned(), below)
}

/// The paths after `crate::` outside comments. A group such as `crate::{a::b, c}` yields `a::b` and `c`.
fn used_paths(source: &str) -> BTreeSet<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, name) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + name.len()..];
        let group = rest.strip_prefix('{').map(|group| &group[..group.find("};").unwrap_or(group.len())]);
        let items: Vec<&str> = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
        for item in items {
            let path: String =
                item.trim().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            if !path.is_empty() {
                found.insert(path);
            }
        }
    }
    found
}

fn violations(room: &str, below: &str, source: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{below} belongs to no room that this test knows")];
    };
    for used in used_paths(source) {
        let target = used.split("::").next().unwrap();
        let is_room = ROOMS.iter().any(|(name, _)| *name == target);
        if is_room && target != room && !allowed.contains(&target) {
            violations.push(format!("{below} uses crate::{used}, which {room} may not use"));
        }
        for (half, other) in HALVES {
            if below.starts_with(half) && used.starts_with(other) {
                violations.push(format!("{below} uses crate::{used}, the other half of its platform"));
            }
        }
    }
    violations
}

#[test]
fn every_room_uses_only_the_rooms_that_it_may_use() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&top, &mut files);
    let mut found = Vec::new();
    for file in files {
        let (room, below) = room_and_path(&file, &top);
        if !matches!(room.as_str(), "lib" | "main") {
            found.extend(violations(&room, &below, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_check_finds_forbidden_uses() {
    assert_eq!(violations("store", "store/x", "use crate::bridge::WorkSignal;").len(), 1);
    assert_eq!(violations("im", "im/send/x", "use crate::{model::OpenId, wechat::send};").len(), 1);
    assert_eq!(violations("im", "im/send/x", "let x = crate::im::receive::ok();").len(), 1);
    assert_eq!(violations("model", "model/x", "// use crate::store::Store;").len(), 0);
    assert_eq!(violations("bridge", "bridge/x", "use crate::store::Store;").len(), 0);
    assert_eq!(violations("attic", "attic/x", "").len(), 1);
}

/// A source file may have at most 400 lines, and a file of tests at most 500.
#[test]
fn no_file_is_longer_than_its_limit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for (folder, limit) in [("src", 400), ("tests", 500), ("benches", 400)] {
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        for file in files {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            let is_tests = file.file_stem().is_some_and(|name| name == "tests");
            if lines > if is_tests { 500 } else { limit } {
                long.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
