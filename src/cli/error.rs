//! The errors of commands, and how they are reported.

use std::io;

use crate::config::Faults;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Error {
    /// The configuration is wrong: exit status 2.
    Configuration(Faults),
    /// The command failed while it ran: exit status 1.
    Failed(anyhow::Error),
    /// The program that reads our output closed the pipe: exit status 0, because that is no failure.
    ClosedPipe,
}

/// A failure with advice for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ErrorWithHint {
    /// The problem.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl From<Faults> for Error {
    fn from(faults: Faults) -> Self {
        Self::Configuration(faults)
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ErrorWithHint> for Error {
    fn from(error: ErrorWithHint) -> Self {
        Self::Failed(error.into())
    }
}

impl Error {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Failed(_) => 1,
            Self::ClosedPipe => 0,
        }
    }

    /// Writes the error, its causes and the advice to `to`. Fails if `to` cannot be written.
    pub fn write_to(&self, to: &mut impl io::Write) -> io::Result<()> {
        match self {
            Self::Configuration(faults) => {
                for fault in &faults.0 {
                    writeln!(to, "error: {}: {}{}", fault.key, fault.problem, fault.place)?;
                    writeln!(to, "hint: {}", fault.fix)?;
                }
                Ok(())
            }
            Self::Failed(error) => {
                let mut text = error.to_string();
                writeln!(to, "error: {text}")?;
                for cause in error.chain().skip(1) {
                    let cause = cause.to_string();
                    // Many errors already contain the text of their cause.
                    if !text.contains(&cause) {
                        writeln!(to, "caused by: {cause}")?;
                        text = cause;
                    }
                }
                match error.downcast_ref::<ErrorWithHint>() {
                    Some(advised) => writeln!(to, "hint: {}", advised.hint),
                    None => Ok(()),
                }
            }
            Self::ClosedPipe => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn written(error: &Error) -> String {
        let mut text = Vec::new();
        error.write_to(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_fault_of_a_configuration_is_written_with_its_fix() {
        let faults = Config::from_toml_str("[im]\nsdk_app_id = 1\n", []).unwrap_err();
        let number = faults.0.len();
        let error = Error::from(faults);
        let text = written(&error);
        assert_eq!(error.status(), 2);
        assert!(number >= 2 && text.lines().count() == 2 * number, "{text}");
        assert!(text.contains("error: im.secret_key: is missing\nhint: set the secret key"), "{text}");
    }

    #[test]
    fn causes_are_written_once_and_the_hint_last() {
        let inner = io::Error::other("the disk is full");
        let error = anyhow::Error::new(inner).context("writing failed: the disk is full").context("no luck");
        let error = Error::from(error);
        assert_eq!(error.status(), 1);
        assert_eq!(written(&error), "error: no luck\ncaused by: writing failed: the disk is full\n");
        let advised = ErrorWithHint { problem: "it is stuck".to_owned(), hint: "push it".to_owned() };
        let error = Error::from(anyhow::Error::new(advised).context("no luck"));
        assert_eq!(written(&error), "error: no luck\ncaused by: it is stuck\nhint: push it\n");
    }
}
