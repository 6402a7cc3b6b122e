//! Reads what has no fixed list of keys: tables of which there are several (`[[desk.group]]`), and sections whose names
//! the operator chooses (`[replies]`).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Place;
use super::keys::{self, SECTIONS, Section, Table, ValueKind};
use super::names::{name_if_safe, nearest_name, shown_key};
use super::settings::{ConfiguredValue, Settings};
use super::typed::typed_value;

/// The most tables of one kind, and the most keys of a section with free names.
const MAX_TABLES: usize = 50;
const MAX_NAMES: usize = 200;
/// The longest free name, in characters.
const MAX_NAME_CHARS: usize = 32;

/// Reads all tables `[[section.table]]`.
pub(super) fn read(
    section: &Section,
    table: &Table,
    value: &Spanned<DeValue>,
    place: Place,
    line_of: &dyn Fn(usize) -> Place,
    settings: &mut Settings,
) {
    let table_key = format!("{}.{}", section.name, table.name);
    let entries: Option<Vec<&DeTable>> = match value.get_ref() {
        DeValue::Array(entries) => entries
            .iter()
            .map(|entry| match entry.get_ref() {
                DeValue::Table(keys) => Some(keys),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    settings.replace_tables(&table_key, entries.as_ref().map_or(0, Vec::len));
    let Some(entries) = entries else {
        let fix = format!("write [[{table_key}]], with two brackets, above the keys of each one");
        return settings.add_fault(&table_key, place, "must be a list of tables", &fix);
    };
    if entries.len() > MAX_TABLES {
        settings.replace_tables(&table_key, 0);
        let problem = format!("has more than {MAX_TABLES} tables");
        return settings.add_fault(&table_key, place, &problem, "remove some");
    }
    for (number, entry) in (1..).zip(entries) {
        read_entry(table, entry, &format!("{table_key}[{number}]"), line_of, settings);
    }
}

fn read_entry(
    table: &Table,
    entry: &DeTable,
    entry_key: &str,
    line_of: &dyn Fn(usize) -> Place,
    settings: &mut Settings,
) {
    for (name, value) in entry {
        if settings.has_too_many_faults() {
            break;
        }
        let place = line_of(name.span().start);
        let full_key = format!("{entry_key}.{}", name.get_ref());
        let Some(key) = table.keys.iter().find(|key| key.name == name.get_ref()) else {
            let near = nearest_name(name.get_ref(), table.keys.iter().map(|key| key.name.to_owned()));
            let fix = format!("the nearest known key is {near}");
            if name_if_safe(name.get_ref()).is_some() {
                settings.add_fault(&full_key, place, "is not a known key", &fix);
            } else {
                let problem = "contains an unknown key, whose name is not shown because it may be a value";
                settings.add_fault(entry_key, place, problem, &fix);
            }
            continue;
        };
        match typed_value(key.kind, value) {
            Some(value) => settings.set(full_key, key.kind, ConfiguredValue { value, place }),
            None => settings.add_type_fault(&full_key, key.kind, place),
        }
    }
}

/// Reads `NAME = "text"` of a section whose names are free. Capitals make no difference.
pub(super) fn read_named(
    section: &Section,
    name: &str,
    value: &Spanned<DeValue>,
    place: Place,
    settings: &mut Settings,
) {
    if !is_name(name) {
        let fix = format!("choose a name of at most {MAX_NAME_CHARS} letters, digits, _ and -");
        return settings.add_fault(section.name, place, "contains a name that nobody can type", &fix);
    }
    let full_key = format!("{}.{}", section.name, name.to_lowercase());
    let others = settings.keys_of(section.name);
    if others.contains(&full_key) {
        let problem = "is there twice: capitals make no difference";
        return settings.add_fault(shown_key(&full_key), place, problem, "rename one of them");
    }
    if others.len() >= MAX_NAMES {
        let problem = format!("has more than {MAX_NAMES} entries");
        return settings.add_fault(section.name, place, &problem, "remove some");
    }
    let kind = ValueKind::Text("");
    match typed_value(kind, value) {
        Some(value) => settings.set(full_key, kind, ConfiguredValue { value, place }),
        None => settings.add_type_fault(shown_key(&full_key), kind, place),
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

/// The variables that set tables. Each replaces all tables of its kind.
pub(super) fn variables() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| {
        let variable = |table: &Table| keys::env_variable(&format!("{}.{}", section.name, table.name));
        section.tables.iter().map(variable)
    })
}

/// Reads a variable that sets tables, as a TOML array of inline tables: `[{name="sales", agents=["anna"]}]`. Returns
/// whether `name` is one.
pub(super) fn read_variable(name: &str, text: &str, settings: &mut Settings) -> bool {
    let tables = SECTIONS.iter().flat_map(|section| section.tables.iter().map(move |table| (section, table)));
    let is_meant = |(section, table): &(&Section, &Table)| {
        keys::env_variable(&format!("{}.{}", section.name, table.name)) == name
    };
    let Some((section, table)) = { tables }.find(is_meant) else { return false };
    let place = || Place::Variable(name.to_owned());
    let document = format!("list = {}", if text.trim().is_empty() { "[]" } else { text.trim() });
    let parsed = DeTable::parse(&document).ok().filter(|parsed| parsed.get_ref().len() == 1);
    if let Some(value) = parsed.as_ref().and_then(|parsed| parsed.get_ref().get("list")) {
        read(section, table, value, place(), &|_| place(), settings);
    } else {
        let table_key = format!("{}.{}", section.name, table.name);
        settings.replace_tables(&table_key, 0);
        let fix = "write it as [{name=\"sales\", agents=[\"anna\"]}]";
        settings.add_fault(&table_key, place(), "is not a TOML array", fix);
    }
    true
}

/// The key and type of a variable in a section whose names are free, such as `BRIDGE_REPLIES__HOURS`.
pub(super) fn named_variable(variable: &str) -> Option<(String, ValueKind)> {
    let (section, name) = variable.strip_prefix("BRIDGE_")?.split_once("__")?;
    let section = keys::find_section(&section.to_lowercase()).filter(|section| section.has_free_names)?;
    is_name(name).then(|| (format!("{}.{}", section.name, name.to_lowercase()), ValueKind::Text("")))
}
