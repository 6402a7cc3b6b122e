//! Starts that must fail, and disks that are full.

use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;

use super::rig::{Rig, SETTLED};
use super::verdict::{Promised, judge};
use crate::world::{eventually, get_json};

fn refused(rig: &Rig) -> String {
    let Output { status, stderr, .. } = rig.command().arg("serve").output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("listening on"), "{stderr}");
    stderr
}

/// Invariants 2 and 3: two processes on one store would each send what the other sends.
#[tokio::test]
async fn a_second_process_on_the_same_store_is_refused_and_told_who_has_it() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.set("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");
    rig.set("BRIDGE_SERVER__OPS_LISTEN", "127.0.0.1:0");
    let said = refused(&rig);
    assert!(said.contains(&format!("is in use by process {}", rig.pid())), "{said}");
    assert!(!rig.has_ended(), "the first goes on");
    // A lock of the dead holds nobody off.
    rig.kill();
    rig.spawn(None);
    assert!(eventually(SETTLED, async || rig.log().matches("listening on").count() == 2).await);
}

#[tokio::test]
async fn a_damaged_database_and_a_newer_one_are_refused_with_what_to_do() {
    let rig = Rig::new().await;
    std::fs::write(rig.store(), vec![7; 8192]).unwrap();
    let said = refused(&rig);
    assert!(said.contains("damaged") && said.contains("restore a backup"), "{said}");

    std::fs::remove_file(rig.store()).unwrap();
    let mut rig = rig;
    rig.start().await;
    assert!(rig.terminate().await.success());
    Connection::open(rig.store()).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let said = refused(&rig);
    assert!(said.contains("newer version (schema 99"), "{said}");
}

/// A folder that lies on a file system of one megabyte, where this machine lets us have one: the bridge then runs in
/// a mount namespace of its own. Elsewhere its files may not grow, which is the same to it.
const SMALL_DISK: &str = r#"mount -t tmpfs -o size=1m tmpfs "$DIR/disk" && exec "$@""#;
const IGNORE_XFSZ: &str = r#"trap "" XFSZ; exec "$@""#;

enum Disk {
    Small { filler: String },
    Limited { pid: String },
}

impl Disk {
    fn can_be_small() -> bool {
        let tried = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    }

    fn fill(&self, rig: &Rig) {
        match self {
            Self::Small { filler } => {
                // As much as fits.
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

/// Invariant 1: what cannot be committed is never answered with success, and is taken again when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    let mut rig = Rig::new().await;
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
    let mut promised = Promised::default();
    promised.asked.push(("before".to_owned(), !phone.say("before").await.fault_line));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    disk.fill(&rig);
    let mut refused = 0;
    let full = eventually(SETTLED, async || {
        let text = format!("full {refused} {}", "x".repeat(900));
        refused += 1;
        let pushed = phone.say(&text).await;
        promised.asked.push((text, !pushed.fault_line));
        pushed.attempts.len() == 3 && pushed.attempts.iter().all(|made| made.status == Some(503))
    });
    assert!(full.await, "{}", rig.log());
    let (status, ready) = get_json(&rig.readyz()).await;
    assert_eq!((status, &ready["store"]["ok"]), (503, &false.into()), "{ready}");
    assert!(ready["store"]["advice"].as_str().unwrap().contains("free disk space"), "{ready}");

    disk.free();
    rig.ready().await;
    let pushed = phone.say("after").await;
    assert_eq!(pushed.attempts.len(), 1, "{pushed:?}");
    promised.asked.push(("after".to_owned(), true));
    let all = promised.asked.iter().filter(|(_, accepted)| *accepted).count();
    let arrived = rig.im.wait_for(|ledger| ledger.deliveries().count() >= all, SETTLED).await;
    assert!(arrived.is_ok(), "{}", rig.log());
    assert!(rig.terminate().await.success());
    judge(&rig, "ann", &promised, &super::verdict::Stored::default());
}
