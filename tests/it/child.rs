//! The programs that tests start beside themselves: the bridge as a binary, and the tools of the machine.
//!
//! A child inherits no setting of the bridge, and its log never stands among the results of the tests: it goes to a
//! file, which is printed only when the test fails. A tool that the machine lacks is named aloud; where `CI=true`,
//! its absence is a failure.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bridge's binary with no `BRIDGE_*` variable of this process.
pub fn bridge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wechat-im-bridge"));
    without_settings(&mut command);
    command
}

/// Removes every `BRIDGE_*` variable from a command's environment.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BRIDGE_")) {
        command.env_remove(name);
    }
}

/// A child's standard error in a file; printed when the test that owns it panics.
pub struct Log(PathBuf);

impl Log {
    /// A log in this folder, which must outlive it.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("stderr.log"))
    }

    /// The file to append to.
    pub fn file(&self) -> File {
        File::options().append(true).create(true).open(&self.0).unwrap()
    }
}

impl Drop for Log {
    #[expect(clippy::print_stderr, reason = "the harness shows it with the test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.0).unwrap_or_default());
        }
    }
}

/// The first of these programs that is on the search path.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// Says aloud that `what` is not tested because the machine lacks `tool`, and how to get it. Fails where `CI=true`.
pub fn skipped(what: &str, tool: &str, package: &str) {
    let line = format!("SKIPPED {what}: this machine has no {tool}. To run it: apt-get install {package}");
    assert!(std::env::var_os("CI").as_deref() != Some(OsStr::new("true")), "{line}");
    // The harness captures what `eprintln!` writes and drops it when the test passes.
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
