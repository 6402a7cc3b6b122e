//! The command itself: what it prints, and that no bridge and no folder outlives it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Lab, SOON};
use crate::child::{self, Log};
use crate::world::eventually;

/// The `sandbox` command, until it has said everything.
struct Process {
    child: Child,
    said: Vec<String>,
    page: String,
    _log: Log,
    temporary: tempfile::TempDir,
    _log_folder: tempfile::TempDir,
}

impl Process {
    fn start(environment: &[(&str, &str)]) -> Self {
        let (temporary, log_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = Log::in_folder(log_folder.path());
        let mut command = child::bridge();
        command.arg("sandbox").env("TMPDIR", temporary.path()).env("BRIDGE_LOG__LEVEL", "error");
        command.envs(environment.iter().copied()).stderr(log.file());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            said.push(line.unwrap());
            if said.last().unwrap().starts_with("Or play both sides in a browser: ") {
                break;
            }
        }
        let page =
            said[0].strip_prefix("Play both sides in a browser: ").unwrap_or_else(|| panic!("{said:?}"));
        Self { child, page: page.to_owned(), said, _log: log, temporary, _log_folder: log_folder }
    }

    async fn state(&self) -> Value {
        reqwest::get(format!("{}api/state", self.page)).await.unwrap().json().await.unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runs(pid: u64) -> bool {
    // A process that has ended and that nobody has asked about is still listed.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_plays_the_conversation_says_how_to_go_on_and_leaves_nothing_behind() {
    let mut sandbox =
        Process::start(&[("BRIDGE_TEXTS__LOCALE", "ko"), ("BRIDGE_WECHAT__TOKEN", "AnotherToken")]);
    let said = sandbox.said.join("\n");
    for part in
        [" steps passed in ", "/sandbox/say", "/sandbox/screen", "상담원에게 연결하는 중입니다", "curl"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let state = sandbox.state().await;
    assert_eq!(state["locale"], "ko");
    let script = state["customers"].as_array().unwrap().iter().find(|one| one["name"] == "Script").unwrap();
    assert!(script["screen"].as_array().unwrap().len() > 20, "{script:#}");
    let pid = state["bridge"]["pid"].as_u64().unwrap();
    assert!(runs(pid));
    let folder = sandbox.left_behind();
    assert_eq!(folder.len(), 1, "{folder:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&folder[0]).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "nobody else may look");

    sandbox.signal("-TERM");
    let mut status = None;
    let ended = eventually(SOON, async || {
        status = sandbox.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(ended.await && status.unwrap().success(), "{status:?}");
    assert!(!runs(pid), "the bridge is still there");
    assert_eq!(sandbox.left_behind(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_killed_takes_its_bridge_along() {
    let mut sandbox = Process::start(&[]);
    let pid = sandbox.state().await["bridge"]["pid"].as_u64().unwrap();
    sandbox.signal("-KILL");
    sandbox.child.wait().unwrap();
    assert!(eventually(Duration::from_secs(10), async || !runs(pid)).await, "the bridge is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_dies_is_started_again_and_goes_on() {
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
    assert_eq!(state["bridge"]["address"], bridge["address"], "WeChat finds it where it was");
    lab.customer(openid, json!({"do": "text", "text": "Still there?"})).await;
    lab.until("the question", |state| super::messages(state, openid).len() == 1).await;
    lab.stop().await;
}

#[test]
fn a_page_that_cannot_be_served_and_a_wrong_setting_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |arguments: &[&str], setting: (&str, &str)| {
        let ended =
            child::bridge().arg("sandbox").args(arguments).env(setting.0, setting.1).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (status, said) = run(&["--listen", &address], ("BRIDGE_LOG__LEVEL", "error"));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    let (status, said) = run(&[], ("BRIDGE_TEXTS__LOCALE", "xx"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("texts.locale"), "{said}");
}
