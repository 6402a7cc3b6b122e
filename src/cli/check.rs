//! `check`: reports what stops the bridge from working, one line for each finding, and what to set
//! in both consoles.
//!
//! Changes nothing, here or on the platforms, and sends no messages. Names secrets only by their
//! key.

mod consoles;
mod offline;
mod online;
mod public_url;
pub(super) mod wait;

use std::fmt;

use anyhow::anyhow;

use super::output::{one_line, print};
use super::{Error, runtime};
use crate::clock::Clock;
use crate::config::Config;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// Nothing is wrong.
    Ok,
    /// The bridge works, but perhaps not as intended.
    Warn,
    /// The bridge does not work.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// The key or other subject that was checked.
    subject: String,
    /// The evidence; contains no secrets.
    evidence: String,
    /// What to do; empty if there is nothing to do.
    fix: String,
}

impl Finding {
    fn ok(what: &str, evidence: impl Into<String>) -> Self {
        Self {
            severity: Severity::Ok,
            subject: what.to_owned(),
            evidence: evidence.into(),
            fix: String::new(),
        }
    }

    fn warn(what: &str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warn,
            subject: what.to_owned(),
            evidence: evidence.into(),
            fix: fix.into(),
        }
    }

    fn fail(what: &str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fail,
            subject: what.to_owned(),
            evidence: evidence.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.severity {
            Severity::Ok => "ok  ",
            Severity::Warn => "warn",
            Severity::Fail => "fail",
        };
        let separator = if self.fix.is_empty() { "" } else { "; " };
        let text = format!("{weight}  {}  {}{separator}{}", self.subject, self.evidence, self.fix);
        f.write_str(&one_line(&text))
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().flat_map(|finding| [finding.to_string(), "\n".to_owned()]).collect()
}

pub(super) fn run(config: &Config, warnings: &[String], clock: &Clock, offline: bool) -> Result<(), Error> {
    let mut failures = 0;
    let mut report = |findings: Vec<Finding>| {
        failures += findings.iter().filter(|finding| finding.severity == Severity::Fail).count();
        print(&lines(&findings))
    };
    report(offline::findings(config, warnings))?;
    if !offline {
        let runtime = runtime()?;
        report(runtime.block_on(public_url::call(config, clock)))?;
        report(runtime.block_on(online::wechat(config, clock)))?;
        report(runtime.block_on(online::im(config, clock)))?;
        report(online::clock(clock))?;
    }
    print(&format!("\n{}", consoles::settings(config)))?;
    match failures {
        0 => Ok(()),
        1 => Err(anyhow!("1 finding stops the bridge from working").into()),
        many => Err(anyhow!("{many} findings stop the bridge from working").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_even_with_line_breaks_from_a_platform() {
        let finding = Finding::fail("im.api_base", "two\nlines", "mend it");
        assert_eq!(finding.to_string(), "fail  im.api_base  two lines; mend it");
        assert_eq!(Finding::ok("a", "b").to_string(), "ok    a  b");
    }
}
