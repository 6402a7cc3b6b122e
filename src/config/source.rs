//! Reads file and environment into values of the right type, each with its place.
//!
//! Looks at names and types only; the checker interprets the values. Error texts contain no value,
//! and no name that may be a value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Place;
use super::keys::{self, SECTIONS, Section, Value, ValueKind};
use super::settings::{ConfiguredValue, Settings};

/// Returns an unknown name if it is safe to show. A name unlike any known one may be a value
/// whose key is missing.
fn name_if_safe(name: &str) -> Option<&str> {
    let is_harmless =
        name.len() <= 30 && name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'));
    let is_misspelt = || name.bytes().all(|byte| byte.is_ascii_graphic()) && best_similarity(name) > 0.7;
    (is_harmless || is_misspelt()).then_some(name)
}

/// The similarity to the most similar known name, from 0 to 1.
fn best_similarity(name: &str) -> f64 {
    if name.len() > 100 {
        return 0.0;
    }
    let score = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), known);
    SECTIONS
        .iter()
        .flat_map(|section| std::iter::once(section.name).chain(section.keys.iter().map(|key| key.name)))
        .map(score)
        .fold(0.0, f64::max)
}

/// The most similar known name.
fn nearest_name(name: &str, known: impl Iterator<Item = String>) -> String {
    // No known name is nearly as long, and the comparison takes time and memory in proportion to
    // the length.
    let name: String = name.chars().take(100).collect::<String>().to_lowercase();
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase()), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or_else(String::new, |(_, known)| known)
}

/// Reads the file's text into `settings`. Returns false if it is not TOML; then none of its values
/// count.
pub(super) fn read_toml(text: &str, label: &str, settings: &mut Settings) -> bool {
    let (table, errors) = DeTable::parse_recoverable(text);
    let line_of =
        |at: usize| Place::Line(1 + text.as_bytes().iter().take(at).filter(|&&b| b == b'\n').count());
    let mut reported = Vec::new();
    for error in &errors {
        if settings.has_too_many_faults() {
            break;
        }
        let place = error.span().map_or(Place::Unspecified, |span| line_of(span.start));
        // Further errors on the same line mostly repeat the first one.
        if !reported.contains(&place) {
            settings.add_fault(
                label,
                place.clone(),
                &format!("is not TOML: {}", error.message()),
                "correct the line",
            );
            reported.push(place);
        }
    }
    if !errors.is_empty() {
        return false;
    }
    for (name, value) in table.get_ref() {
        if settings.has_too_many_faults() {
            break;
        }
        let place = line_of(name.span().start);
        match (keys::find_section(name.get_ref()), value.get_ref()) {
            (Some(section), DeValue::Table(entries)) => read_section(section, entries, &line_of, settings),
            (Some(section), _) => {
                let fix = format!("write [{}] on its own line and its keys below", section.name);
                settings.add_fault(section.name, place, "is a section, not a key", &fix);
            }
            (None, _) => unknown_section(name.get_ref(), label, place, settings),
        }
    }
    true
}

fn unknown_section(name: &str, label: &str, place: Place, settings: &mut Settings) {
    let home = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name));
    let fix = if let Some(section) = home {
        format!("put it below [{}]", section.name)
    } else {
        let near = nearest_name(name, SECTIONS.iter().map(|section| section.name.to_owned()));
        format!("the nearest known section is [{near}]")
    };
    match name_if_safe(name) {
        Some(name) => settings.add_fault(name, place, "is not a known section", &fix),
        None => settings.add_fault(
            label,
            place,
            "contains an unknown section, whose name is not shown because it may be a value",
            &fix,
        ),
    }
}

fn read_section(
    section: &Section,
    entries: &DeTable,
    line_of: &dyn Fn(usize) -> Place,
    settings: &mut Settings,
) {
    for (name, value) in entries {
        if settings.has_too_many_faults() {
            break;
        }
        let place = line_of(name.span().start);
        let full_key = format!("{}.{}", section.name, name.get_ref());
        let Some((_, kind)) = settable_keys(section).find(|(known, _)| *known == full_key) else {
            unknown_key(section, name.get_ref(), place, settings);
            continue;
        };
        match typed_value(kind, value) {
            Some(value) => settings.set(full_key, kind, ConfiguredValue { value, place }),
            None => settings.add_type_fault(&full_key, kind, place),
        }
    }
}

fn unknown_key(section: &Section, name: &str, place: Place, settings: &mut Settings) {
    let home = SECTIONS.iter().find(|other| other.keys.iter().any(|key| key.name == name));
    let near = home.map_or_else(
        || nearest_name(&format!("{}.{name}", section.name), settable_keys(section).map(|(known, _)| known)),
        |other| format!("{}.{name}", other.name),
    );
    let fix = format!("the nearest known key is {near}");
    match name_if_safe(name) {
        Some(name) => {
            settings.add_fault(&format!("{}.{name}", section.name), place, "is not a known key", &fix);
        }
        None => settings.add_fault(
            section.name,
            place,
            "contains an unknown key, whose name is not shown because it may be a value",
            &fix,
        ),
    }
}

/// The keys that can be set in a section, as `section.key`: its own keys, and `KEY_file` for each
/// secret.
fn settable_keys(section: &Section) -> impl Iterator<Item = (String, ValueKind)> {
    section.keys.iter().flat_map(|key| {
        let full_key = format!("{}.{}", section.name, key.name);
        let file = matches!(key.kind, ValueKind::Secret(_))
            .then(|| (format!("{full_key}_file"), ValueKind::Text("")));
        [(full_key, key.kind)].into_iter().chain(file)
    })
}

fn typed_value(kind: ValueKind, value: &Spanned<DeValue>) -> Option<Value> {
    match (kind, value.get_ref()) {
        (
            ValueKind::Text(_) | ValueKind::Secret(_) | ValueKind::Override | ValueKind::Choice(_),
            DeValue::String(text),
        ) => Some(Value::Text(text.clone().into_owned())),
        (ValueKind::Integer { .. }, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer)
        }
        (ValueKind::Flag(_), DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (ValueKind::List(_), DeValue::Array(entries)) => {
            let texts = entries.iter().map(|entry| match entry.get_ref() {
                DeValue::String(text) => Some(text.clone().into_owned()),
                _ => None,
            });
            texts.collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}

fn env_variables() -> impl Iterator<Item = (String, String, ValueKind)> {
    SECTIONS.iter().flat_map(settable_keys).map(|(full, kind)| (keys::env_variable(&full), full, kind))
}

/// Whether `name` is a variable for a known section, even if its key is unknown.
pub(super) fn names_a_section(name: &str) -> bool {
    name.strip_prefix("BRIDGE_")
        .and_then(|rest| rest.split_once("__"))
        .is_some_and(|(section, _)| keys::find_section(&section.to_lowercase()).is_some())
}

/// Overrides the values of the file with the `BRIDGE_` variables of `env`.
pub(super) fn read_environment(env: &[(String, String)], settings: &mut Settings) {
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with("BRIDGE_")) {
        let Some((_, full, kind)) = env_variables().find(|(known, ..)| known == name) else {
            let near = nearest_name(name, env_variables().map(|(known, ..)| known));
            settings.warn(
                name,
                &format!("is not a known variable and has no effect; the nearest known one is {near}"),
            );
            continue;
        };
        let place = Place::Variable(name.clone());
        if text.contains(['\u{FFFD}', '\0']) {
            settings.add_fault(&full, place, "is not valid UTF-8", "write it in UTF-8");
            continue;
        }
        let value = match kind {
            ValueKind::Text(_) | ValueKind::Secret(_) | ValueKind::Override | ValueKind::Choice(_) => {
                Some(Value::Text(text.clone()))
            }
            ValueKind::Integer { .. } => text.trim().parse().ok().map(Value::Integer),
            ValueKind::Flag(_) => text.trim().parse().ok().map(Value::Flag),
            ValueKind::List(_) => Some(Value::List(env_list(kind, text.trim()))),
        };
        match value {
            Some(value) => settings.set(full, kind, ConfiguredValue { value, place }),
            None => settings.add_type_fault(&full, kind, place),
        }
    }
}

/// The entries of a list in a variable: a TOML array (a JSON array of texts is one too), or entries separated by commas.
/// Brackets that are no array stay in their entry, whose check refuses them where no entry can have any.
fn env_list(kind: ValueKind, text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let document = format!("list = {text}");
    let array = text.starts_with('[').then(|| DeTable::parse(&document).ok()).flatten();
    let value = array.as_ref().and_then(|table| table.get_ref().get("list"));
    match value.and_then(|value| typed_value(kind, value)) {
        Some(Value::List(entries)) => entries,
        _ => text.split(',').map(|entry| entry.trim().to_owned()).collect(),
    }
}
