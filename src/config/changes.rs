//! What differs between two configurations: which keys, and which of them are applied while the bridge runs.
//!
//! A key is compared by a digest, so that no value of it is kept or shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::keys::{self, Value};
use super::names::shown_key;
use super::{Config, Fault, Faults, Place};

/// The sections, and the beginnings of keys, that are applied while the bridge runs.
const LIVE: &[&str] = &["im.agents", "desk.", "replies.", "texts.", "wechat.quota_"];
/// Those of the certificate. They are applied if HTTPS is on and stays on.
const CERTIFICATE: &[&str] = &["server.tls_cert", "server.tls_key"];

/// A digest of the value of each key that has another value than its default.
#[derive(Clone, Default)]
pub(super) struct Fingerprints(BTreeMap<String, [u8; 32]>);

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Fingerprints {
    /// Adds a key with its value.
    pub(super) fn insert(&mut self, full_key: &str, value: &Value) {
        let mut digest = Sha256::new();
        match value {
            Value::Text(text) => digest.update(text),
            Value::Integer(number) => digest.update(number.to_le_bytes()),
            Value::Flag(flag) => digest.update([u8::from(*flag)]),
            Value::List(entries) => entries.iter().for_each(|entry| {
                digest.update(entry.len().to_le_bytes());
                digest.update(entry);
            }),
        }
        self.0.insert(full_key.to_owned(), digest.finalize().into());
    }

    /// The keys whose values differ, in alphabetical order.
    fn differing(&self, other: &Self) -> BTreeSet<String> {
        let is_other = |key: &&String| self.0.get(*key) != other.0.get(*key);
        self.0.keys().chain(other.0.keys()).filter(is_other).cloned().collect()
    }
}

/// The keys that differ between the configuration that is in use and a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedKeys {
    /// Those that are applied at once.
    pub applied: Vec<String>,
    /// Those that need a restart.
    pub need_restart: Vec<String>,
}

impl Config {
    /// This configuration, with which the bridge started, with those settings of `new` that are applied while it runs.
    /// Fails if they do not go together with the settings that need a restart.
    pub fn with_live_settings_of(&self, new: &Self) -> Result<Self, Faults> {
        let mut merged = self.clone();
        merged.im.agents.clone_from(&new.im.agents);
        merged.desk.clone_from(&new.desk);
        merged.replies.clone_from(&new.replies);
        merged.texts.clone_from(&new.texts);
        merged.wechat.message_quota = new.wechat.message_quota;
        merged.wechat.event_quota = new.wechat.event_quota;
        if self.server.tls.is_some() && new.server.tls.is_some() {
            merged.server.tls.clone_from(&new.server.tls);
        }
        let admin = &self.im.admin;
        let key = match (merged.im.agents.contains(admin), merged.desk.supervisor.as_ref() == Some(admin)) {
            (true, _) => "im.agents",
            (false, true) => "desk.supervisor",
            (false, false) => return Ok(merged),
        };
        Err(Faults(vec![Fault {
            key: key.to_owned(),
            place: Place::Unspecified,
            problem: "names the account with which the bridge calls IM until it is restarted".to_owned(),
            fix: "restart the bridge to change im.admin with it".to_owned(),
        }]))
    }

    /// What changes if `new` is applied. This configuration is the one with which the bridge started, `in_use` the one
    /// that was applied last.
    pub fn changed_keys(&self, in_use: &Self, new: &Self) -> ChangedKeys {
        let has_tls = |config: &Self| config.server.tls.is_some();
        let keeps_tls = has_tls(self) && has_tls(new);
        let is_live = |key: &String| {
            LIVE.iter().any(|start| key.starts_with(start))
                || keeps_tls && CERTIFICATE.contains(&key.as_str())
        };
        let shown = |key: String| match keys::find_key(&key) {
            Some(_) => key,
            // The operator has chosen the name.
            None => shown_key(&key).to_owned(),
        };
        let split = |keys: BTreeSet<String>| {
            let (live, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_live);
            [live, others].map(|keys| {
                let mut keys: Vec<String> = keys.into_iter().map(shown).collect();
                keys.dedup();
                keys
            })
        };
        let [applied, _] = split(in_use.fingerprints.differing(&new.fingerprints));
        let [_, need_restart] = split(self.fingerprints.differing(&new.fingerprints));
        ChangedKeys { applied, need_restart }
    }
}
