//! What is wrong with a configuration, all of it at once.
//!
//! A fault names the key, the place, the problem and the fix. It never repeats a value: a secret may stand in
//! the wrong place.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere in particular: the value is missing, or it is the default.
    Unsaid,
    /// This line of the file, counted from 1.
    Line(usize),
    /// This environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Line(line) => write!(f, " (line {line})"),
            Self::Variable(name) => write!(f, " ({name})"),
        }
    }
}

/// One thing that is wrong: `section.key: problem (place); fix`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}{place}; {fix}")]
pub struct Fault {
    /// `section.key`, or the file where the fault is not a key's.
    pub key: String,
    pub place: Place,
    pub problem: String,
    pub fix: String,
}

/// Everything that is wrong, one line each when displayed.
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
