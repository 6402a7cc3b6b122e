//! Child processes of the tests: the bridge's binary, and programs of the machine.
//!
//! A child inherits no `BRIDGE_*` variable. Its log goes to a file, which is printed only when the test
//! fails. A test that needs a missing program reports that it was skipped; where `CI=true`, the missing
//! program fails the test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs the bridge's binary without this process's `BRIDGE_*` variables.
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

/// A file for a child's standard error. It is printed when the test that owns it panics.
pub struct Log(PathBuf);

impl Log {
    /// Names the log file in `folder`, which must outlive this value.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("stderr.log"))
    }

    /// Opens the file for appending.
    pub fn file(&self) -> File {
        File::options().append(true).create(true).open(&self.0).unwrap()
    }
}

impl Drop for Log {
    #[expect(clippy::print_stderr, reason = "the test harness prints it with the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.0).unwrap_or_default());
        }
    }
}

/// Finds the first of these programs on the search path.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// Reports that `what` is not tested because the machine lacks `tool`, and how to install it. Panics where
/// `CI=true`.
pub fn report_skip(what: &str, tool: &str, package: &str) {
    let line = format!("SKIPPED {what}: this machine has no {tool}. To run it: apt-get install {package}");
    assert!(std::env::var_os("CI").as_deref() != Some(OsStr::new("true")), "{line}");
    // The test harness discards the output of `eprintln!` when the test passes.
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
