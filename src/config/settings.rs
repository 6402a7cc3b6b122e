//! The configured values and their faults, with typed access for the checker.
//!
//! Each key has at most one fault. Faults that only follow from an already faulty value are not
//! reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::changes::Fingerprints;
use super::choice::Choice;
use super::fault::{Fault, Faults, Place};
use super::keys::{self, Value, ValueKind};
use super::names;
use super::secret::Secret;

/// A configured value.
pub(super) struct ConfiguredValue {
    /// The value, of the right type.
    pub value: Value,
    /// The place it came from.
    pub place: Place,
}

/// The maximum number of reported faults. A file with more is not a configuration, and reading on
/// would only take time.
const MAX_FAULTS: usize = 100;

/// The configured values by `section.key`. Not `Debug`, because it contains secrets.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<String, ConfiguredValue>,
    /// How many tables there are of each kind, by `section.table`.
    tables: BTreeMap<String, usize>,
    faulty: BTreeSet<String>,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    secret_files: Vec<(String, PathBuf)>,
    /// The keys of secrets that were read from files.
    of_files: Fingerprints,
}

impl Settings {
    /// Records a value of the right type. A later value replaces an earlier one and its faults.
    pub fn set(&mut self, full_key: String, kind: ValueKind, configured: ConfiguredValue) {
        self.faults.retain(|fault| fault.key != full_key);
        self.faulty.remove(base_key(&full_key));
        match (kind, &configured.value) {
            (ValueKind::Integer { min, max, .. }, Value::Integer(number))
                if !(min..=max).contains(number) =>
            {
                let fix = format!("set a whole number from {min} to {max}");
                self.add_fault(&full_key, configured.place, "is out of range", &fix);
            }
            (ValueKind::Choice(words), Value::Text(word)) if !words.contains(&word.as_str()) => {
                self.add_fault(
                    &full_key,
                    configured.place,
                    "is not a known word",
                    &meant_word(words, word).map_or_else(
                        || format!("set one of {}", words.join(", ")),
                        |meant| format!("set {meant}"),
                    ),
                );
            }
            _ => {
                self.values.insert(full_key, configured);
            }
        }
    }

    /// Records that the value at `place` has the wrong type.
    pub fn add_type_fault(&mut self, full_key: &str, kind: ValueKind, place: Place) {
        self.faults.retain(|fault| fault.key != full_key);
        let (expected, fix) = match kind {
            ValueKind::Text(_) | ValueKind::Secret(_) | ValueKind::Override => {
                ("a string", "write it in quotes".to_owned())
            }
            ValueKind::Choice(words) => ("a string", format!("set one of {}, in quotes", words.join(", "))),
            ValueKind::Integer { min, max, .. } => {
                ("a whole number", format!("set a whole number from {min} to {max}, without quotes"))
            }
            ValueKind::Flag(_) => ("a boolean", "set true or false, without quotes".to_owned()),
            ValueKind::List(_) => ("a list of strings", "write it as [\"one\", \"another\"]".to_owned()),
        };
        self.add_fault(full_key, place, &format!("must be {expected}"), &fix);
    }

    /// Records a fault of a key, which makes the key's value unusable.
    pub fn add_fault(&mut self, key: &str, place: Place, problem: &str, fix: &str) {
        self.faulty.insert(base_key(key).to_owned());
        self.faults.push(Fault {
            key: key.to_owned(),
            place,
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        });
    }

    /// Whether there are so many faults that reading on is useless.
    pub fn has_too_many_faults(&self) -> bool {
        self.faults.len() >= MAX_FAULTS
    }

    /// Records a fault of a known key at the place of its value, unless the key already has one.
    pub fn add_value_fault(&mut self, full_key: &str, problem: impl Display, fix: &str) {
        if !self.is_faulty(full_key) {
            self.add_fault(full_key, self.place_of(full_key), &problem.to_string(), fix);
        }
    }

    /// Records that there are `count` tables `section.table`, and forgets those that were read before.
    pub fn replace_tables(&mut self, table_key: &str, count: usize) {
        let is_of_table = |key: &str| key.strip_prefix(table_key).is_some_and(|rest| rest.starts_with('['));
        self.values.retain(|key, _| !is_of_table(key));
        self.faults.retain(|fault| fault.key != table_key && !is_of_table(&fault.key));
        self.faulty.retain(|key| key != table_key && !is_of_table(key));
        self.tables.insert(table_key.to_owned(), count);
    }

    /// The full keys of the tables `section.table`, in order.
    pub fn tables(&self, table_key: &str) -> Vec<String> {
        let count = self.tables.get(table_key).copied().unwrap_or_default();
        (1..=count).map(|number| format!("{table_key}[{number}]")).collect()
    }

    /// The full keys that are set in a section whose names are free, in alphabetical order.
    pub fn keys_of(&self, section: &str) -> Vec<String> {
        let is_of_section = |key: &&String| key.split_once('.').is_some_and(|(name, _)| name == section);
        self.values.keys().filter(is_of_section).cloned().collect()
    }

    /// Whether the key or its file is set, to something other than the default.
    pub fn is_changed(&self, full_key: &str) -> bool {
        let is_set = |key: &str| self.values.get(key).map(|configured| &configured.value);
        let default = keys::find_key(full_key).map(|key| key.kind.default());
        let has_file =
            is_set(&format!("{full_key}_file")).is_some_and(|value| *value != Value::Text(String::new()));
        is_set(full_key).is_some_and(|value| default.as_ref() != Some(value)) || has_file
    }

    /// Records a fault of a key whose name is free, at the place of its value.
    pub fn add_named_fault(&mut self, full_key: &str, problem: &str, fix: &str) {
        self.add_fault(names::shown_key(full_key), self.place_of(full_key), problem, fix);
    }

    fn place_of(&self, full_key: &str) -> Place {
        self.values.get(full_key).map_or(Place::Unspecified, |given| given.place.clone())
    }

    /// Records a warning about a key.
    pub fn warn(&mut self, key: &str, problem: &str) {
        self.warnings.push(format!("{key}: {problem}"));
    }

    /// Whether the key already has a fault.
    pub fn is_faulty(&self, full_key: &str) -> bool {
        self.faulty.contains(base_key(full_key))
    }

    /// The files from which secrets were read, each with its key.
    pub fn secret_files(&self) -> Vec<(String, PathBuf)> {
        self.secret_files.clone()
    }

    /// What tells which keys differ from those of other settings. Secrets must have been read.
    pub fn fingerprints(&self) -> Fingerprints {
        let mut fingerprints = self.of_files.clone();
        for (key, configured) in &self.values {
            let names_a_file = base_key(key) != key && keys::find_key(base_key(key)).is_some();
            let kind = keys::find_key(key).map(|key| key.kind);
            // An empty text differs from the default that an override replaces.
            let is_default = kind.is_some_and(|kind| {
                !matches!(kind, ValueKind::Override) && kind.default() == configured.value
            });
            if !names_a_file && !is_default {
                fingerprints.insert(key, &configured.value);
            }
        }
        fingerprints
    }

    /// The faults and the warnings.
    pub fn into_outcome(self) -> (Faults, Vec<String>) {
        (Faults(self.faults), self.warnings)
    }

    fn value(&self, full_key: &str) -> Option<Value> {
        let default = || keys::find_key(full_key).map(|key| key.kind.default());
        self.values.get(full_key).map(|given| given.value.clone()).or_else(default)
    }

    /// A text; empty if the value is missing or faulty.
    pub fn text(&self, full_key: &str) -> String {
        match self.value(full_key) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// A text that is set, even to `""`.
    pub fn override_text(&self, full_key: &str) -> Option<String> {
        self.values.contains_key(full_key).then(|| self.text(full_key))
    }

    /// A list; empty if the value is missing or faulty.
    pub fn list(&self, full_key: &str) -> Vec<String> {
        match self.value(full_key) {
            Some(Value::List(entries)) => entries,
            _ => Vec::new(),
        }
    }

    /// A flag; false if the value is missing or faulty.
    pub fn flag(&self, full_key: &str) -> bool {
        matches!(self.value(full_key), Some(Value::Flag(true)))
    }

    /// A number; 0 if the value is missing or faulty. The limits of every key exclude negative
    /// numbers.
    pub fn number(&self, full_key: &str) -> u64 {
        match self.value(full_key) {
            Some(Value::Integer(number)) => number.unsigned_abs(),
            _ => 0,
        }
    }

    /// A number of bytes.
    pub fn size(&self, full_key: &str) -> usize {
        usize::try_from(self.number(full_key)).unwrap_or(usize::MAX)
    }

    /// A number as `u32`.
    pub fn number_u32(&self, full_key: &str) -> u32 {
        u32::try_from(self.number(full_key)).unwrap_or(u32::MAX)
    }

    /// A number of seconds.
    pub fn seconds(&self, full_key: &str) -> Duration {
        Duration::from_secs(self.number(full_key))
    }

    /// One of a few words; `None` if the word is faulty.
    pub fn choice<T: Choice>(&self, full_key: &str) -> Option<T> {
        T::from_word(&self.text(full_key))
    }

    /// A secret, from the key or from its file; `None` if it is empty, set nowhere or faulty.
    pub fn secret(&mut self, full_key: &str) -> Option<Secret> {
        if self.is_faulty(full_key) {
            return None;
        }
        let file_key = format!("{full_key}{FILE}");
        let file = self.text(&file_key);
        let is_set_directly = self.values.contains_key(full_key) && !self.text(full_key).is_empty();
        if file.is_empty() {
            let text = self.text(full_key);
            if text.trim() != text {
                self.add_value_fault(full_key, "begins or ends with white space", "remove the white space");
                return None;
            }
            return (!text.is_empty()).then(|| Secret::new(text));
        }
        if is_set_directly {
            let problem = format!("is set, and {full_key} too{}", self.place_of(full_key));
            self.add_value_fault(&file_key, problem, "keep one of the two");
            return None;
        }
        match read_secret(Path::new(&file)) {
            Ok(secret) => {
                self.secret_files.push((file_key, PathBuf::from(&file)));
                self.of_files.insert(full_key, &Value::Text(secret.expose().to_owned()));
                Some(secret)
            }
            Err(problem) => {
                let path = if is_certainly_a_path(&file) { format!(" {file}") } else { String::new() };
                let fix = format!(
                    "name a readable file that contains only the secret, or set {}",
                    keys::env_variable(full_key)
                );
                self.add_value_fault(&file_key, format!("the file{path} {problem}"), &fix);
                None
            }
        }
    }
}

/// The word that was probably meant: `ZH`, `zh_CN` and `cn` mean `zh`.
fn meant_word(words: &[&'static str], word: &str) -> Option<&'static str> {
    const ALIASES: [(&str, &str); 3] = [("cn", "zh"), ("kr", "ko"), ("us", "en")];
    let word = word.to_ascii_lowercase();
    let language = word.split(['_', '-']).next()?;
    let alias = ALIASES.iter().find(|(alias, _)| *alias == language).map(|(_, meant)| *meant);
    words.iter().find(|known| **known == word || **known == language || Some(**known) == alias).copied()
}

/// The end of the key that names the file of a secret.
const FILE: &str = "_file";

/// The key to which a `KEY_file` belongs.
fn base_key(full_key: &str) -> &str {
    full_key.strip_suffix(FILE).unwrap_or(full_key)
}

/// Whether `file` is certainly a path. An operator may put the secret itself in place of the file
/// name, and then it must not appear in a log. Secrets can contain slashes and dots too.
fn is_certainly_a_path(file: &str) -> bool {
    let is_in_a_folder =
        Path::new(file).parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
    is_in_a_folder || ["/", "./", "../"].iter().any(|start| file.starts_with(start))
}

/// The mark with which some editors begin a file.
pub(super) const BOM: char = '\u{FEFF}';

/// The maximum size of a secret's file. Secrets are short, so a larger file is the wrong one.
const MAX_SECRET_BYTES: u64 = 65_536;

fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = read_bounded(path, MAX_SECRET_BYTES).map_err(|reason| format!("cannot be read: {reason}"))?;
    let text = text.strip_prefix(BOM).unwrap_or(&text).trim_end();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if begins_like_a_variable(text) {
        return Err("begins with a name and =, as a file of variables does".to_owned());
    }
    if text.contains(['\n', '\0', BOM]) || text.trim_start() != text {
        return Err("contains more than one plain line".to_owned());
    }
    Ok(Secret::new(text))
}

/// Whether the text begins as `NAME=`. The end of a secret in base64 may be one or two `=`.
fn begins_like_a_variable(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        name.len() > 2
            && !value.trim_matches('=').is_empty()
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    })
}

/// The first line that is not UTF-8 in a file of which only `limit` bytes are read.
pub(super) fn first_line_of_other_encoding(path: &Path, limit: u64) -> Place {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let Err(error) = std::str::from_utf8(&bytes) else { return Place::Unspecified };
    let before = bytes.iter().take(error.valid_up_to());
    Place::Line(1 + before.filter(|byte| **byte == b'\n').count())
}

/// Reads a UTF-8 file of at most `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > limit) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
    }
    Ok(text)
}
