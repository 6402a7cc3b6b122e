//! Which of several bridges took or made a call. A bridge does not know its own number: the front knows whom it asked, and
//! each bridge calls the platforms at addresses of its own.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

/// The header in which the front says who took a call. The simulated platforms remove it.
const HEADER: HeaderName = HeaderName::from_static("x-sandbox-instance");

/// One of several bridges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instance(
    /// Its number, from 1.
    u16,
);

impl Instance {
    /// The instance at this index.
    pub fn at(index: usize) -> Self {
        Self(u16::try_from(index).unwrap_or(u16::MAX).saturating_add(1))
    }

    /// Its index.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }

    /// Notes in an answer that this instance gave it.
    pub(super) fn note(self, answer: &mut HeaderMap) {
        answer.insert(HEADER, HeaderValue::from(self.0));
    }

    /// Takes the note out of an answer.
    pub(super) fn take(answer: &mut HeaderMap) -> Option<Self> {
        answer.remove(HEADER)?.to_str().ok()?.parse().ok().filter(|number| *number > 0).map(Self)
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
