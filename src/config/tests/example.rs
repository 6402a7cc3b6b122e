//! `config.example.toml` is the documentation: it loads, is complete, and shows the actual
//! defaults.

use toml::{Table, Value as Toml};

use super::*;
use crate::config::keys::{Key, SECTIONS, Value, ValueKind};

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const PLACEHOLDERS: [&str; 5] =
    ["wechat.token", "wechat.app_id", "wechat.app_secret", "im.sdk_app_id", "im.secret_key"];

#[test]
fn the_example_loads_and_warns_only_about_placeholders() {
    let (_, warnings) = Config::from_toml_str(EXAMPLE, []).unwrap();
    let keys: Vec<&str> = warnings
        .iter()
        .filter_map(|warning| warning.split_once(": is still the example's"))
        .map(|w| w.0)
        .collect();
    assert_eq!(keys, ["wechat.token", "wechat.app_id", "wechat.app_secret", "im.secret_key"], "{warnings:?}");
    assert_eq!(warnings.len(), keys.len(), "{warnings:?}");
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    // The file contains the keys whose default depends on others as comments.
    let all: String = EXAMPLE.lines().map(|line| uncommented(line).to_owned() + "\n").collect();
    let table: Table = toml::from_str(&all).unwrap();
    for section in SECTIONS {
        for key in section.keys {
            let full_key = format!("{}.{}", section.name, key.name);
            let shown = table.get(section.name).and_then(|section| section.get(key.name));
            let shown = shown.unwrap_or_else(|| panic!("{full_key} is missing in the example"));
            let texts = Texts::defaults(Locale::En, "XX");
            let default = match full_key.as_str() {
                "texts.welcome" => Value::Text(texts.welcome),
                "texts.transferring" => Value::Text(texts.transferring),
                "texts.inquiry_prefix" => Value::Text(texts.inquiry_prefix),
                "texts.queued" => Value::Text(texts.queued),
                "texts.away" => Value::Text(texts.away),
                _ => key.kind.default(),
            };
            let same = value(shown) == default;
            assert_eq!(same, !PLACEHOLDERS.contains(&full_key.as_str()), "{full_key}");
            if matches!(key.kind, ValueKind::Secret(_)) {
                assert!(
                    EXAMPLE.contains(&format!("`{}_file`", key.name)),
                    "{full_key}_file is not documented"
                );
            }
        }
    }
}

#[test]
fn the_examples_of_tables_and_of_free_names_are_accepted() {
    let agents = [("BRIDGE_IM__AGENTS".to_owned(), "anna,ben".to_owned())];
    let shown: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("#: ") {
            Some(example) => example.to_owned() + "\n",
            None => line.to_owned() + "\n",
        })
        .collect();
    let (config, _) = Config::from_toml_str(&shown, agents).unwrap();
    let Group { name, agents, scenes, menu, words } = &config.desk.groups[0];
    assert!(!name.is_empty() && ![agents.len(), scenes.len(), menu.len(), words.len()].contains(&0));
    assert!(!config.replies.is_empty());
}

#[test]
fn the_example_explains_every_key() {
    let lines: Vec<&str> = EXAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
    let of_tables = SECTIONS.iter().flat_map(|section| section.tables).flat_map(|table| table.keys);
    let keys: Vec<&Key> = SECTIONS.iter().flat_map(|section| section.keys).chain(of_tables).collect();
    for key in keys {
        let start = format!("{} = ", key.name);
        let at = lines.iter().position(|line| uncommented(line).starts_with(&start)).unwrap();
        // Neighbouring keys may share an explanation.
        let above = lines[..at].iter().rev().find(|line| !uncommented(line).contains(" = "));
        assert!(above.is_some_and(|line| line.starts_with("# ")), "{} is not explained", key.name);
    }
}

fn uncommented(line: &str) -> &str {
    let bare = line.strip_prefix("# ").unwrap_or(line);
    let texts = SECTIONS.iter().find(|section| section.name == "texts").unwrap();
    if bare.split_once(" = ").is_some_and(|(key, _)| texts.keys.iter().any(|known| known.name == key)) {
        bare
    } else {
        line
    }
}

fn value(toml: &Toml) -> Value {
    match toml {
        Toml::String(text) => Value::Text(text.clone()),
        Toml::Integer(number) => Value::Integer(*number),
        Toml::Boolean(flag) => Value::Flag(*flag),
        Toml::Array(entries) => {
            Value::List(entries.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_documents_the_limits() {
    for section in SECTIONS {
        for key in section.keys {
            let ValueKind::Integer { min, max, .. } = key.kind else { continue };
            // A default of zero means "off" or "not set", and a limit of 2^32 needs no
            // documentation.
            let range = format!("{min} to {max}");
            let is_exempt = ["max_skew_s", "sdk_app_id"].contains(&key.name) || key.name.starts_with("quota");
            assert!(is_exempt || EXAMPLE.contains(&range), "{}.{}: {range}", section.name, key.name);
        }
    }
}
