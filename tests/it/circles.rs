//! No two source files import each other, directly or through others.
//!
//! Reads the paths in the sources, follows re-exports, and looks for a loop. A module and its own submodules count as
//! one place: they may know each other. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path, such as `bridge::to_im`; the crate's root is empty.
type Module = Vec<String>;

/// One source file: the names that it imports or re-exports, and every path that stands in it.
#[derive(Default)]
struct Source {
    imports: BTreeMap<String, Vec<String>>,
    paths: BTreeSet<Vec<String>>,
}

type Sources = BTreeMap<Module, Source>;

/// The code without comments, strings and the test module at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut code = String::new();
    for (at, piece) in lines.collect::<Vec<_>>().join("\n").split('"').enumerate() {
        code.push_str(if at % 2 == 0 { piece } else { "\"\"" });
    }
    code
}

/// Takes the tree of one `use` apart: every path, with the name that it gets.
fn flatten(tree: &str, prefix: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, rest)) => (head, Some(rest.trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let (head, alias) = head.split_once(" as ").map_or((head, None), |(path, alias)| (path, Some(alias)));
    let mut path = prefix.to_vec();
    path.extend(head.split("::").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned));
    let Some(group) = group else {
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = alias.map(|alias| alias.trim().to_owned()).or_else(|| path.last().cloned()) {
            found.push((name, path));
        }
        return;
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                flatten(&group[start..at], &path, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    flatten(&group[start..], &path, found);
}

fn read(text: &str) -> Source {
    let code = code(text);
    let mut source = Source::default();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let at = statement.rfind("\nuse ").map(|at| at + 1).or_else(|| {
            let at = statement.find("use ")?;
            let before = statement[..at].trim_end();
            (before.is_empty() || before.ends_with("pub") || before.ends_with(')')).then_some(at)
        });
        let Some(at) = at else {
            rest.push_str(statement);
            continue;
        };
        let mut found = Vec::new();
        flatten(statement[at + 4..].trim_end_matches(';'), &[], &mut found);
        for (name, path) in found {
            source.paths.insert(path.clone());
            source.imports.insert(name, path);
        }
        rest.push_str(&statement[..at]);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for path in rest.split(|c| !is_word(c)).filter(|path| path.contains("::")) {
        source.paths.insert(path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect());
    }
    source
}

fn sources(root: &Path) -> Sources {
    let mut folders = vec![root.to_owned()];
    let mut sources = Sources::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if matches!(name, "tests" | "testing" | "main" | "vectors") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).unwrap().with_extension("");
                let words = below.iter().map(|word| word.to_str().unwrap().to_owned());
                let module: Module = if name == "lib" { Vec::new() } else { words.collect() };
                sources.insert(module, read(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

/// The module in which the item that `path` names, seen from `from`, is defined; `None` outside the crate.
fn resolve(sources: &Sources, from: &Module, path: &[String], depth: usize) -> Option<Module> {
    let (first, mut rest) = path.split_first()?;
    let mut at = match first.as_str() {
        "crate" => Vec::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        name => {
            let child: Module = from.iter().cloned().chain([name.to_owned()]).collect();
            if sources.contains_key(&child) {
                child
            } else {
                let import = sources.get(from)?.imports.get(name).filter(|import| import.len() > 1)?;
                resolve(sources, from, import, depth.checked_sub(1)?)?
            }
        }
    };
    while let Some((name, more)) = rest.split_first() {
        if name == "super" {
            at.pop();
            rest = more;
            continue;
        }
        let child: Module = at.iter().cloned().chain([name.clone()]).collect();
        if sources.contains_key(&child) {
            at = child;
            rest = more;
            continue;
        }
        let import = sources.get(&at).and_then(|source| source.imports.get(name));
        let exported = import.and_then(|import| resolve(sources, &at, import, depth.checked_sub(1)?));
        return Some(exported.unwrap_or(at));
    }
    Some(at)
}

/// Which modules each module imports from, its own ancestors and submodules left out.
fn arrows(sources: &Sources) -> BTreeMap<&Module, BTreeSet<Module>> {
    let kin = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    let of = |(module, source): (_, &Source)| {
        let targets = source.paths.iter().filter_map(|path| resolve(sources, module, path, 8));
        (module, targets.filter(|target| !kin(module, target)).collect())
    };
    sources.iter().map(of).collect()
}

fn circles(sources: &Sources) -> Vec<String> {
    let arrows = arrows(sources);
    let reach = |start: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(at) = next.pop() {
            for target in arrows.get(&at).into_iter().flatten() {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        arrows.keys().map(|module| (*module, reach(module))).collect();
    let mut found = Vec::new();
    for (module, targets) in &arrows {
        for target in targets {
            if reached.get(target).is_some_and(|back| back.contains(*module)) {
                found.push(format!("{} uses {}, which leads back to it", module.join("/"), target.join("/")));
            }
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "benches/load"] {
        let found = circles(&sources(&root.join(folder)));
        assert!(found.is_empty(), "in {folder}:\n{}", found.join("\n"));
    }
}

#[test]
fn the_check_sees_a_circle_through_a_re_export_and_a_third_file() {
    let tree = |files: &[(&str, &str)]| {
        let module = |name: &str| name.split('/').map(str::to_owned).collect::<Module>();
        files.iter().map(|(name, text)| (module(name), read(text))).collect::<Sources>()
    };
    let parent = ("room", "mod a;\nmod b;\nmod c;\npub use b::{Thing, other::More as Most};\n");
    let circle = tree(&[
        parent,
        ("room/a", "use super::{Thing, c};\n"),
        ("room/b", "fn f() -> crate::room::c::X { }\n"),
        ("room/c", "use crate::room::a::f;\n"),
    ]);
    assert_eq!(circles(&circle).len(), 4, "{:?}", circles(&circle));
    let line = tree(&[
        parent,
        ("room/a", "// use super::c;\nuse super::Thing;\nlet x = \"super::c::y\";\n"),
        ("room/b", "use super::c;\n"),
        ("room/c", "use super::Parent;\n#[cfg(test)]\nmod tests {\n    use super::super::a;\n}\n"),
    ]);
    assert!(circles(&line).is_empty(), "{:?}", circles(&line));
}
