//! The keys whose feature is not built yet. They are checked like all others, and whoever sets one is told that it has
//! no effect so far. Whoever builds the feature removes its keys from the list.

use super::settings::Settings;

/// The full names of keys, of kinds of tables, and of sections with free names.
const WITHOUT_EFFECT: &[&str] =
    &["server.ops_token", "alert.url", "canary.every_s", "telemetry.otlp_endpoint"];

/// Warns of the keys that are set to something other than their default and have no effect.
pub(super) fn warn(settings: &mut Settings) {
    let is_changed = |key: &&&str| {
        settings.is_changed(key) || !settings.tables(key).is_empty() || !settings.keys_of(key).is_empty()
    };
    let changed: Vec<&str> = WITHOUT_EFFECT.iter().filter(is_changed).copied().collect();
    if !changed.is_empty() {
        settings.warn("configuration", &format!("these keys have no effect so far: {}", changed.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{SECTIONS, find_key};

    #[test]
    fn every_listed_key_exists() {
        for listed in WITHOUT_EFFECT {
            let is_table = || {
                listed.split_once('.').is_some_and(|(section, table)| {
                    SECTIONS
                        .iter()
                        .any(|known| known.name == section && known.tables.iter().any(|t| t.name == table))
                })
            };
            let is_section = || SECTIONS.iter().any(|known| known.name == *listed && known.has_free_names);
            assert!(find_key(listed).is_some() || is_table() || is_section(), "{listed}");
        }
    }
}
