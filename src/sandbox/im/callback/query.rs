//! The query of a webhook.

/// The query of a webhook. Tests may change it.
#[derive(Clone, Debug, Default)]
pub struct Query(pub(super) Vec<(String, String)>);

impl Query {
    /// Sets the parameter `name` and removes earlier ones of that name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.add(name, value);
    }

    /// Adds a parameter, even if one of that name exists.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Removes every parameter called `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }
}
