//! Where the bridge of the sandbox has its stores. Must never open one.

use std::collections::BTreeMap;
use std::path::Path;

/// The name of the store on which the bridge starts.
pub const MAIN_STORE: &str = "bridge";
/// The name of the personal account's store: the bridge remembers for a day that the account may not push.
pub const PERSONAL_STORE: &str = "personal";

/// The stores of one sandbox, by their names.
#[derive(Clone)]
pub enum Stores {
    /// In SQLite's files in the sandbox's folder.
    Files,
    /// At these URLs.
    Urls(BTreeMap<&'static str, String>),
}

impl std::fmt::Debug for Stores {
    /// Shows no URL: it may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files => "Files",
            Self::Urls(_) => "Urls",
        })
    }
}

impl Stores {
    /// The same stores by other URLs. `None` if `change` has none for one of them.
    pub(super) fn by_other_urls(&self, change: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let Self::Urls(urls) = self else { return None };
        let changed = urls.iter().map(|(name, url)| Some((*name, change(url)?)));
        changed.collect::<Option<_>>().map(Self::Urls)
    }

    /// The URL of a store of a sandbox in `folder`. `None` if there is no such store.
    pub(super) fn url(&self, folder: &Path, name: &str) -> Option<String> {
        match self {
            Self::Files => Some(format!("sqlite://{}", folder.join(name).with_extension("db").display())),
            Self::Urls(urls) => urls.get(name).cloned(),
        }
    }
}
