//! Reads file and environment into values of the right type, each with its place.
//!
//! Looks at names and types only; the checker interprets the values. Error texts contain no value,
//! and no name that may be a value.

use toml::de::{DeTable, DeValue};

use super::fault::Place;
use super::keys::{self, SECTIONS, Section, Value, ValueKind};
use super::names::{name_if_safe, nearest_name};
use super::settings::{ConfiguredValue, Settings};
use super::tables;
use super::typed::typed_value;

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
    let table_home = SECTIONS.iter().find(|section| section.tables.iter().any(|table| table.name == name));
    let fix = if let Some(section) = home {
        format!("put it below [{}]", section.name)
    } else if let Some(section) = table_home {
        format!("write it as [[{}.{name}]]", section.name)
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
        if let Some(table) = section.tables.iter().find(|table| table.name == name.get_ref()) {
            tables::read(section, table, value, place, line_of, settings);
            continue;
        }
        if section.has_free_names {
            tables::read_named(section, name.get_ref(), value, place, settings);
            continue;
        }
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

/// What the platforms and their examples call a key.
const ALIASES: [(&str, &str); 9] = [
    ("appid", "wechat.app_id"),
    ("appsecret", "wechat.app_secret"),
    ("secret", "wechat.app_secret"),
    ("sdkappid", "im.sdk_app_id"),
    ("identifier", "im.admin"),
    ("administrator", "im.admin"),
    ("key", "im.secret_key"),
    ("secretkey", "im.secret_key"),
    ("encodingaeskey", "wechat.encoding_aes_key"),
];

fn unknown_key(section: &Section, name: &str, place: Place, settings: &mut Settings) {
    let home = SECTIONS.iter().find(|other| other.keys.iter().any(|key| key.name == name));
    let alias = ALIASES.iter().find(|(alias, _)| name.eq_ignore_ascii_case(alias));
    let nearest =
        || nearest_name(&format!("{}.{name}", section.name), settable_keys(section).map(|(known, _)| known));
    let near = home.map_or_else(
        || alias.map_or_else(nearest, |(_, key)| (*key).to_owned()),
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
        if tables::read_variable(name, text, settings) {
            continue;
        }
        let known = env_variables().find(|(known, ..)| known == name).map(|(_, full, kind)| (full, kind));
        let Some((full, kind)) = known.or_else(|| tables::named_variable(name)) else {
            let near =
                nearest_name(name, env_variables().map(|(known, ..)| known).chain(tables::variables()));
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
