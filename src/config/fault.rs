//! The faults of a configuration, reported all at once.
//!
//! A fault names the key, the place, the problem and the fix. It never contains a value, because
//! the value may be a misplaced secret.

use std::fmt;

/// The place that a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// No place: the value is missing, it is the default, or it was set in code.
    Unspecified,
    /// This line of the file, counted from 1.
    Line(usize),
    /// This environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unspecified => Ok(()),
            Self::Line(line) => write!(f, " (line {line})"),
            Self::Variable(name) => write!(f, " ({name})"),
        }
    }
}

/// One fault, displayed as `section.key: problem (place); fix`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}{place}; {fix}")]
pub struct Fault {
    /// `section.key`, or the file if the fault concerns no key.
    pub key: String,
    /// The place of the faulty value.
    pub place: Place,
    /// The problem, as the predicate of a sentence about the key.
    pub problem: String,
    /// The way to fix it, as an imperative.
    pub fix: String,
}

/// All faults, displayed one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            let line_break = if number == 0 { "" } else { "\n" };
            write!(f, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
