//! Starts that must fail, and a full disk.

use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;

use super::oracle::{Conversation, check_conversation};
use super::rig::{Rig, TIMEOUT};
use crate::world::{eventually, get_json};

/// Runs a bridge that must refuse to start, and returns its standard error.
fn refused_start(rig: &Rig) -> String {
    let Output { status, stderr, .. } = rig.command().arg("serve").output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("listening on"), "{stderr}");
    stderr
}

/// Invariants 2 and 3: two processes with one file would both send each message.
#[tokio::test]
async fn a_second_process_with_the_same_file_refuses_to_start_and_names_the_first() {
    let mut rig = Rig::on_sqlite().await;
    rig.start().await;
    rig.set("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");
    rig.set("BRIDGE_SERVER__OPS_LISTEN", "127.0.0.1:0");
    let stderr = refused_start(&rig);
    let named = format!("process {}", rig.pid());
    let is_named = stderr.split(&named).nth(1).is_some_and(|rest| rest.starts_with([';', ' ']));
    assert!(stderr.contains("is in use by") && is_named, "{stderr}");
    assert!(!rig.has_exited(), "the first process still runs");
    // A killed process leaves no lock behind.
    rig.kill();
    rig.spawn(None);
    assert!(eventually(TIMEOUT, async || rig.log().matches("listening on").count() == 2).await);
}

#[tokio::test]
async fn a_bridge_with_a_damaged_or_newer_database_refuses_to_start_and_says_why() {
    let rig = Rig::on_sqlite().await;
    std::fs::write(rig.store(), vec![7; 8192]).unwrap();
    let stderr = refused_start(&rig);
    assert!(stderr.contains("damaged") && stderr.contains("restore a backup"), "{stderr}");

    std::fs::remove_file(rig.store()).unwrap();
    let mut rig = rig;
    rig.start().await;
    assert!(rig.terminate().await.success());
    Connection::open(rig.store()).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let stderr = refused_start(&rig);
    assert!(stderr.contains("newer version (schema 99"), "{stderr}");
}

/// Puts the store on a file system of one megabyte. This needs a mount namespace for the bridge. Where
/// the machine does not allow one, the test limits the size of the bridge's files, which has the same effect.
const SMALL_DISK: &str = r#"mount -t tmpfs -o size=1m tmpfs "$DIR/disk" && exec "$@""#;
const IGNORE_XFSZ: &str = r#"trap "" XFSZ; exec "$@""#;

enum Disk {
    Small { filler: String },
    Limited { pid: String },
}

impl Disk {
    fn can_be_small() -> bool {
        let output = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn fill(&self, rig: &Rig) {
        match self {
            Self::Small { filler } => {
                // The write fails when the file system is full.
                let _ = std::fs::write(filler, vec![0; 2 << 20]);
            }
            Self::Limited { pid } => {
                let size = std::fs::metadata(rig.path("disk/bridge.db-wal")).unwrap().len();
                limit(pid, &size.to_string());
            }
        }
    }

    fn free(&self) {
        match self {
            Self::Small { filler } => std::fs::remove_file(filler).unwrap(),
            Self::Limited { pid } => limit(pid, "unlimited"),
        }
    }
}

fn limit(pid: &str, size: &str) {
    let limit = format!("--fsize={size}:unlimited");
    assert!(Command::new("prlimit").args(["--pid", pid, &limit]).status().unwrap().success());
}

/// Invariant 1: the bridge never acknowledges a message that it cannot commit, and accepts messages again
/// when there is space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_with_a_full_disk_refuses_pushes_and_accepts_them_again_after_space_is_freed() {
    let mut rig = Rig::on_sqlite().await;
    std::fs::create_dir(rig.path("disk")).unwrap();
    rig.set("BRIDGE_STORE__URL", format!("sqlite://{}", rig.path("disk/bridge.db").display()));
    let small = Disk::can_be_small();
    rig.wrap(if small { SMALL_DISK } else { IGNORE_XFSZ }, small);
    rig.start().await;
    let pid = rig.pid().to_string();
    let disk = if small {
        Disk::Small { filler: format!("/proc/{pid}/root{}", rig.path("disk/filler").display()) }
    } else {
        Disk::Limited { pid }
    };
    println!("the disk is {}", if small { "small" } else { "limited" });

    let phone = rig.follower("ann");
    let mut conversation = Conversation::default();
    conversation.questions.push(("before".to_owned(), !phone.say("before").await.fault_line));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    disk.fill(&rig);
    let mut refused = 0;
    let full = eventually(TIMEOUT, async || {
        let text = format!("full {refused} {}", "x".repeat(900));
        refused += 1;
        let pushed = phone.say(&text).await;
        conversation.questions.push((text, !pushed.fault_line));
        pushed.attempts.len() == 3 && pushed.attempts.iter().all(|attempt| attempt.status == Some(503))
    });
    assert!(full.await, "{}", rig.log());
    let (status, ready) = get_json(&rig.readyz()).await;
    assert_eq!((status, &ready["store"]["ok"]), (503, &false.into()), "{ready}");
    assert!(ready["store"]["advice"].as_str().unwrap().contains("free disk space"), "{ready}");

    disk.free();
    rig.wait_until_ready().await;
    let pushed = phone.say("after").await;
    assert_eq!(pushed.attempts.len(), 1, "{pushed:?}");
    conversation.questions.push(("after".to_owned(), true));
    let accepted = conversation.questions.iter().filter(|(_, accepted)| *accepted).count();
    let arrived = rig.im.wait_for(|ledger| ledger.deliveries().count() >= accepted, TIMEOUT).await;
    assert!(arrived.is_ok(), "{}", rig.log());
    assert!(rig.terminate().await.success());
    check_conversation(&rig, "ann", &conversation, &super::oracle::Stored::default());
}
