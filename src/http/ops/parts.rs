//! The parts of the bridge that `/readyz` shows, and the status of each.
//!
//! A part may have several sources, each of which knows one kind of trouble. A source reports its
//! trouble until the evidence for it is gone; no other source can hide it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::calendar::rfc3339;
use crate::model::Millis;

/// The status of one component.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentStatus {
    /// Whether it is healthy.
    pub ok: bool,
    /// Since when it is not, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// What is wrong; no secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the operator should do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Further members of the JSON object.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ComponentStatus {
    /// The status of a healthy component.
    pub fn healthy() -> Self {
        Self { ok: true, since: None, why: None, advice: None, extra: Map::new() }
    }

    /// The status of a component that has not worked since `since`.
    pub fn degraded(since: Millis, why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            ok: false,
            since: Some(since.seconds()),
            why: Some(why.into()),
            advice: Some(advice.into()),
            extra: Map::new(),
        }
    }

    /// Adds a member to the JSON object.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The status of a component of which another source reports `other`. It is healthy if both
    /// are. The trouble that began first comes first.
    fn merged(self, other: Self) -> Self {
        let (mut first, second) =
            if (other.ok, other.since) < (self.ok, self.since) { (other, self) } else { (self, other) };
        first.extra.extend(second.extra);
        if !second.ok {
            let join = |first: Option<String>, second: Option<String>| match (first, second) {
                (Some(first), Some(second)) => Some(format!("{first}; {second}")),
                (first, second) => first.or(second),
            };
            first.why = join(first.why, second.why);
            first.advice = join(first.advice, second.advice);
        }
        first
    }

    /// Adds the start of the trouble as RFC 3339 has it.
    fn with_utc(self) -> Self {
        let Some(since) = self.since else { return self };
        self.with("since_utc", rfc3339(since))
    }
}

/// Returns the status of a component; must not block.
pub type StatusFn = Arc<dyn Fn() -> ComponentStatus + Send + Sync>;

/// The parts, in the order in which `/readyz` shows them.
#[derive(Clone, Default)]
pub struct Parts(Vec<(&'static str, Vec<StatusFn>)>);

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Parts {
    /// Adds a source of the status of the part `name`, which may have others.
    pub fn add(&mut self, name: &'static str, source: StatusFn) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sources)) => sources.push(source),
            None => self.0.push((name, vec![source])),
        }
    }

    /// The status of every part now. `extra` are further statuses, of known or other parts.
    pub(super) fn statuses(
        &self,
        extra: impl IntoIterator<Item = (&'static str, ComponentStatus)>,
    ) -> Vec<(&'static str, ComponentStatus)> {
        let of_sources = |(name, sources): &(&'static str, Vec<StatusFn>)| {
            let status = sources.iter().map(|source| source()).reduce(ComponentStatus::merged);
            (*name, status.unwrap_or_else(ComponentStatus::healthy))
        };
        let mut statuses: Vec<_> = self.0.iter().map(of_sources).collect();
        for (name, status) in extra {
            match statuses.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = known.clone().merged(status),
                None => statuses.push((name, status)),
            }
        }
        statuses.into_iter().map(|(name, status)| (name, status.with_utc())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(status: ComponentStatus) -> StatusFn {
        Arc::new(move || status.clone())
    }

    #[test]
    fn no_source_of_a_part_hides_the_trouble_of_another() {
        let mut parts = Parts::default();
        parts.add("im", source(ComponentStatus::degraded(Millis(9_000), "late", "b")));
        parts.add("im", source(ComponentStatus::healthy().with("reply", "auto")));
        parts.add("im", source(ComponentStatus::degraded(Millis(2_000), "early", "a")));
        parts.add("media", source(ComponentStatus::healthy()));
        let statuses = parts.statuses([("lanes", ComponentStatus::healthy())]);
        let json = |name| {
            let (_, status) = statuses.iter().find(|(known, _)| *known == name).unwrap();
            serde_json::to_value(status).unwrap()
        };
        let expected = serde_json::json!({
            "ok": false, "since": 2, "since_utc": "1970-01-01T00:00:02Z", "why": "early; late", "advice": "a; b",
            "reply": "auto"
        });
        assert_eq!(json("im"), expected);
        assert_eq!(json("media"), serde_json::json!({"ok": true}));
        assert_eq!(json("lanes"), serde_json::json!({"ok": true}));
    }
}
