//! `config.example.toml` is the documentation: it loads, is complete, and shows the actual
//! defaults.

use toml::{Table, Value as Toml};

use super::*;
use crate::config::keys::Value;

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const PLACEHOLDERS: [&str; 5] =
    ["wechat.token", "wechat.app_id", "wechat.app_secret", "im.sdk_app_id", "im.secret_key"];

#[test]
fn it_loads_and_only_its_placeholders_are_warned_of() {
    let (_, warnings) = Config::from_toml_str(EXAMPLE, []).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("wechat.token: is still the example's"), "{warnings:?}");
    assert!(warnings[1].starts_with("im.secret_key: is still the example's"), "{warnings:?}");
}

#[test]
fn it_shows_every_key_with_the_default_that_is_in_effect() {
    // The file contains the keys whose default depends on others as comments.
    let all: String = EXAMPLE.lines().map(|line| uncommented(line).to_owned() + "\n").collect();
    let table: Table = toml::from_str(&all).unwrap();
    for section in SECTIONS {
        for key in section.keys {
            let full = format!("{}.{}", section.name, key.name);
            let shown = table.get(section.name).and_then(|section| section.get(key.name));
            let shown = shown.unwrap_or_else(|| panic!("{full} is missing in the example"));
            let texts = Texts::of(Locale::En, "XX");
            let default = match full.as_str() {
                "texts.welcome" => Value::Text(texts.welcome),
                "texts.transferring" => Value::Text(texts.transferring),
                "texts.inquiry_prefix" => Value::Text(texts.inquiry_prefix),
                _ => key.kind.default(),
            };
            let same = value(shown) == default;
            assert_eq!(same, !PLACEHOLDERS.contains(&full.as_str()), "{full}");
            if matches!(key.kind, Kind::Secret(_)) {
                assert!(EXAMPLE.contains(&format!("`{}_file`", key.name)), "{full}_file is not documented");
            }
        }
    }
}

fn uncommented(line: &str) -> &str {
    let bare = line.strip_prefix("# ").unwrap_or(line);
    if bare.split_once(" = ").is_some_and(|(key, _)| SECTIONS[5].keys.iter().any(|known| known.name == key)) {
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
fn its_limits_are_the_limits() {
    for section in SECTIONS {
        for key in section.keys {
            let Kind::Integer { min, max, .. } = key.kind else { continue };
            // A default of zero means "off" or "not set", and a limit of 2^32 needs no
            // documentation.
            let told = format!("{min} to {max}");
            let spared = ["max_skew_s", "sdk_app_id"].contains(&key.name) || key.name.starts_with("quota");
            assert!(spared || EXAMPLE.contains(&told), "{}.{}: {told}", section.name, key.name);
        }
    }
}
