//! The `sandbox` command: its output, and that it leaves no bridge and no folder behind.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::http_client;

use super::{Lab, SOON};
use crate::child::{self, Log};
use crate::world::eventually;

/// A `sandbox` command that has printed all of its output.
pub(super) struct Process {
    pub child: Child,
    output: Vec<String>,
    pub page: String,
    _log: Log,
    temporary: tempfile::TempDir,
    log_folder: tempfile::TempDir,
}

impl Process {
    fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_with(&[], environment)
    }

    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let (temporary, log_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = Log::in_folder(log_folder.path());
        let mut command = child::bridge();
        command
            .arg("sandbox")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .env("BRIDGE_LOG__LEVEL", "error");
        command.envs(environment.iter().copied()).stderr(log.file());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            output.push(line.unwrap());
            // The address stands last and alone.
            if output.last().unwrap().starts_with("http://") {
                break;
            }
        }
        let page = output.last().unwrap();
        assert_eq!(
            output[0].strip_prefix("Play both sides in a browser: "),
            Some(page.as_str()),
            "{output:?}"
        );
        Self { child, page: page.clone(), output, _log: log, temporary, log_folder }
    }

    pub async fn state(&self) -> Value {
        http_client::get(format!("{}api/state", self.page)).await.unwrap().json().await.unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_folder.path().join("stderr.log")).unwrap()
    }

    pub fn temporary_files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn is_running(pid: u64) -> bool {
    // A process that has exited stays in `/proc` as a zombie until its parent reads its status.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_begins_empty_plays_its_script_when_asked_and_leaves_nothing_behind() {
    let mut sandbox =
        Process::start(&[("BRIDGE_TEXTS__LOCALE", "ko"), ("BRIDGE_WECHAT__TOKEN", "AnotherToken")]);
    let output = sandbox.output.join("\n");
    for part in ["/sandbox/say", "/sandbox/screen", "curl", "ssh -L "] {
        assert!(output.contains(part), "{part} is not in {output}");
    }
    assert!(!sandbox.log().contains("loopback"), "{}", sandbox.log());
    let state = sandbox.state().await;
    assert_eq!((&state["locale"], &state["script"]["state"]), (&json!("ko"), &json!("idle")));
    assert!(state["customers"].as_array().unwrap().iter().all(|one| one["screen"] == json!([])), "{state:#}");
    // It can be played again: each time on what the last one has left.
    for _ in 0..2 {
        let http = http_client::loopback().build().unwrap();
        let begun = http.post(format!("{}api/script", sandbox.page)).json(&json!({}));
        assert_eq!(begun.send().await.unwrap().status(), 202);
        let mut state = Value::Null;
        let ended = eventually(SOON, async || {
            state = sandbox.state().await;
            state["script"]["state"] != "running"
        });
        assert!(ended.await && state["script"]["state"] == "passed", "{state:#}");
        let customers = state["customers"].as_array().unwrap();
        let script = customers.iter().find(|one| one["openid"] == state["script"]["customer"]).unwrap();
        assert!(script["screen"].as_array().unwrap().len() > 20, "{script:#}");
    }
    let pid = state["bridge"]["pid"].as_u64().unwrap();
    assert!(is_running(pid));
    let folder = sandbox.temporary_files();
    assert_eq!(folder.len(), 1, "{folder:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&folder[0]).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "other users must not have access");

    sandbox.signal("-TERM");
    let mut status = None;
    let ended = eventually(SOON, async || {
        status = sandbox.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(ended.await && status.unwrap().success(), "{status:?}");
    assert!(!is_running(pid), "the bridge still runs");
    assert_eq!(sandbox.temporary_files(), Vec::<PathBuf>::new());
}

/// The bridge runs in the same process here, and the script is played in the modes plain and safe.
#[test]
fn the_script_alone_passes_in_each_language() {
    for locale in ["en", "ko", "zh"] {
        let mut command = child::bridge();
        command.args(["sandbox", "--script"]).env("BRIDGE_TEXTS__LOCALE", locale);
        let played = command.env("BRIDGE_LOG__LEVEL", "off").stdin(Stdio::null()).output().unwrap();
        let output = String::from_utf8(played.stdout).unwrap();
        assert!(played.status.success(), "{locale}: {}\n{output}", String::from_utf8_lossy(&played.stderr));
        assert_eq!(output.matches(" steps passed in ").count(), 2, "{locale}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_opened_in_a_browser_and_strangers_are_warned_of() {
    let programs = tempfile::tempdir().unwrap();
    let (opener, url_file) = (programs.path().join("xdg-open"), programs.path().join("url_file"));
    std::fs::write(&opener, format!("#!/bin/sh\nprintf '%s' \"$1\" > {}\n", url_file.display())).unwrap();
    std::fs::set_permissions(&opener, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let sandbox = Process::start_with(&["--open", "--listen", "0.0.0.0:0"], &[("PATH", &path)]);
    let is_opened = async || std::fs::read_to_string(&url_file).is_ok_and(|url| url == sandbox.page);
    assert!(eventually(SOON, is_opened).await, "{}", sandbox.log());
    assert!(sandbox.page.starts_with("http://127.0.0.1:"), "{}", sandbox.page);
    assert!(
        sandbox.log().contains("0.0.0.0:") && sandbox.log().contains("is not loopback"),
        "{}",
        sandbox.log()
    );
    assert!(!sandbox.output.concat().contains("ssh -L"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_ends_when_its_sandbox_is_killed() {
    let mut sandbox = Process::start(&[]);
    let pid = sandbox.state().await["bridge"]["pid"].as_u64().unwrap();
    sandbox.signal("-KILL");
    sandbox.child.wait().unwrap();
    assert!(eventually(Duration::from_secs(10), async || !is_running(pid)).await, "the bridge still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_dies_is_restarted_and_works_again() {
    let lab = Lab::start().await;
    let openid = lab.follower().await;
    let bridge = lab.state().await["bridge"].clone();
    let killed = Command::new("kill").args(["-KILL", &bridge["pid"].to_string()]).status().unwrap();
    assert!(killed.success());
    let state = lab
        .until("another bridge", |state| {
            state["bridge"]["restarts"] == 1 && state["bridge"]["state"] == "running"
        })
        .await;
    assert_eq!(state["bridge"]["address"], bridge["address"], "the bridge has the same address");
    lab.act_as_customer(openid, json!({"do": "text", "text": "Still there?"})).await;
    lab.until("the question", |state| super::messages(state, openid).len() == 1).await;
    lab.stop().await;
}

#[test]
fn the_sandbox_reports_a_port_in_use_and_a_wrong_setting() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let run = |arguments: &[&str], setting: (&str, &str)| {
        let output =
            child::bridge().arg("sandbox").args(arguments).env(setting.0, setting.1).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, stderr) = run(&["--listen", &address], ("BRIDGE_LOG__LEVEL", "error"));
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("in use"), "{stderr}");
    let (status, stderr) = run(&[], ("BRIDGE_TEXTS__LOCALE", "xx"));
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("texts.locale"), "{stderr}");
}
