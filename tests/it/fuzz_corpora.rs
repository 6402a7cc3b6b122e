//! Replays the committed inputs of the fuzz targets: seeds written by hand, and inputs that fuzzing
//! found.

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn replay(target: &str) {
    let (_, check) = fuzz::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let inputs = inputs(target);
    assert!(inputs.len() >= 20, "{target} has {} inputs", inputs.len());
    let fails = |input: &PathBuf| {
        let bytes = std::fs::read(input).unwrap();
        std::panic::catch_unwind(|| check(&bytes)).is_err()
    };
    let failed: Vec<PathBuf> = inputs.into_iter().filter(fails).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_target_has_a_corpus_a_binary_and_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz/corpus"), known);
    assert_eq!(names("fuzz/fuzz_targets"), known);
    let documented = std::fs::read_to_string(root.join("docs/testing.md")).unwrap();
    for target in known {
        assert!(documented.contains(&format!("| `{target}` | `fuzz/run {target}` |")), "{target}");
    }
}

#[test]
fn the_xml_corpus_passes() {
    replay("xml");
}

#[test]
fn the_envelope_corpus_passes() {
    replay("envelope");
}

#[test]
fn the_callback_corpus_passes() {
    replay("callback");
}

#[test]
fn the_reply_corpus_passes() {
    replay("reply");
}

#[test]
fn the_splitter_corpus_passes() {
    replay("splitter");
}

#[test]
fn the_configuration_corpus_passes() {
    replay("configuration");
}
