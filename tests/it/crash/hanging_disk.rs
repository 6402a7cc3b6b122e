//! A disk that hangs: every sync of the bridge waits as long as a file exists. A small library, which the
//! test compiles and preloads, delays the calls.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wechat_im_bridge::internals::clock::Clock;

use super::fail_points::CUSTOMER;
use super::oracle::{Conversation, check_conversation};
use super::rig::{Rig, TIMEOUT};
use crate::child;
use crate::world::{eventually, get_json, openid};

/// Added to each limit of the contract, because the machine may be busy.
const SLACK: Duration = Duration::from_secs(3);
/// How long the disk hangs. The bridge sees no difference to a minute.
const HANG: Duration = Duration::from_secs(9);

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int after_the_hang(const char *name, int file) {
    const char *hang = getenv("HANG_FILE");
    while (hang && access(hang, F_OK) == 0) usleep(20000);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}
int fsync(int file) { return after_the_hang("fsync", file); }
int fdatasync(int file) { return after_the_hang("fdatasync", file); }
"#;

/// A rig whose bridges sync only while there is no hang file.
async fn rig() -> Option<Rig> {
    let Some(compiler) = child::find(&["cc", "gcc", "clang"]) else {
        child::report_skip("a hanging disk", "C compiler", "gcc libc6-dev");
        return None;
    };
    let mut rig = Rig::on_sqlite().await;
    let (source, library) = (rig.path("hang.c"), rig.path("hang.so"));
    std::fs::write(&source, LIBRARY).unwrap();
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    assert!(built.unwrap().success());
    rig.set("LD_PRELOAD", library.to_str().unwrap());
    let hang = hang_file(&rig);
    rig.set("HANG_FILE", hang.to_str().unwrap());
    Some(rig)
}

fn hang_file(rig: &Rig) -> PathBuf {
    rig.path("hang")
}

fn begin_hang(rig: &Rig) -> Instant {
    std::fs::write(hang_file(rig), "").unwrap();
    Instant::now()
}

async fn readyz(rig: &Rig) -> (u16, Value) {
    get_json(&rig.readyz()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_disk_is_shown_steadily_and_every_answered_push_is_durable() {
    let Some(mut rig) = rig().await else { return };
    rig.start().await;
    let phone = rig.follower(CUSTOMER);
    let mut conversation = Conversation { questions: Vec::new(), answers: Vec::new() };
    let accepted = !phone.say("before").await.fault_line;
    assert!(accepted);
    conversation.questions.push(("before".to_owned(), true));
    rig.wait_until_idle().await;

    let began = begin_hang(&rig);
    let began_s = Clock::system().now().seconds();
    let pushes = tokio::spawn({
        let phone = phone.clone();
        async move { (phone.say("during").await, Instant::now()) }
    });
    let is_shown = eventually(TIMEOUT, async || readyz(&rig).await.0 == 503).await;
    let shown_after = began.elapsed();
    assert!(is_shown && shown_after < Duration::from_secs(3) + SLACK, "{shown_after:?}\n{}", rig.log());
    let first = readyz(&rig).await.1;
    assert_eq!((&first["status"], &first["store"]["ok"]), (&"unavailable".into(), &false.into()), "{first}");
    let since = first["store"]["since"].as_i64().unwrap();
    assert!((began_s - 1..=began_s + 4).contains(&since), "{first}, it began at {began_s}");
    assert!(first["store"]["why"].is_string() && first["store"]["advice"].is_string(), "{first}");
    while began.elapsed() < HANG {
        let (status, body) = readyz(&rig).await;
        assert_eq!((status, &body["store"]), (503, &first["store"]), "it changed while the disk hung");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Answers are refused too, and each request in its time.
    let refused = is_answered(&rig).await;
    assert!(!refused, "a callback was answered with OK while the disk hung");
    std::fs::remove_file(hang_file(&rig)).unwrap();
    let ended = Instant::now();
    assert!(eventually(TIMEOUT, async || readyz(&rig).await.0 == 200).await, "{}", rig.log());
    assert!(ended.elapsed() < Duration::from_secs(2) + SLACK, "{:?}\n{}", ended.elapsed(), rig.log());
    for _ in 0..20 {
        assert_eq!(readyz(&rig).await.0, 200, "it came back");
    }

    let (during, _) = pushes.await.unwrap();
    let statuses: Vec<_> = during.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses[0], Some(503), "the first attempt was answered in its time: {statuses:?}");
    conversation.questions.push(("during".to_owned(), !during.fault_line));

    // Killed while the disk hangs: what was answered before is there, and nothing is answered meanwhile.
    begin_hang(&rig);
    let lost = tokio::spawn({
        let phone = phone.clone();
        async move { !phone.say("killed").await.fault_line }
    });
    assert!(eventually(TIMEOUT, async || readyz(&rig).await.0 == 503).await, "{}", rig.log());
    rig.kill();
    std::fs::remove_file(hang_file(&rig)).unwrap();
    rig.start().await;
    conversation.questions.push(("killed".to_owned(), lost.await.unwrap()));
    conversation.questions.push(("after".to_owned(), !phone.say("after").await.fault_line));
    let stored = rig.stop_and_read_store().await;
    check_conversation(&rig, CUSTOMER, &conversation, &stored);
}

/// Whether the callback of one answer was answered with OK at the first try.
async fn is_answered(rig: &Rig) -> bool {
    let sent = rig.agent().say(&openid(CUSTOMER), "an answer").await.unwrap();
    sent.callback.is_some_and(|callback| callback.error.is_none())
}

/// Sends SIGTERM this many times, and returns how long the process took to end and its status.
async fn time_to_end(rig: &mut Rig, signals: u32) -> (Duration, Option<i32>) {
    let started = Instant::now();
    for n in 0..signals {
        if n > 0 {
            // Two signals that come before the first is handled are one signal to a process.
            let stopping = async || rig.log().contains("stopping: ");
            assert!(eventually(TIMEOUT, stopping).await, "{}", rig.log());
        }
        let pid = rig.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
    let status = rig.wait_for_exit().await;
    (started.elapsed(), status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_while_the_disk_hangs_and_at_once_after_a_second_signal() {
    for (grace_s, signals, limit_s) in [(1, 1, 1 + 2), (600, 2, 2)] {
        let Some(mut rig) = rig().await else { return };
        rig.set("BRIDGE_SERVER__SHUTDOWN_GRACE_S", grace_s.to_string());
        rig.start().await;
        begin_hang(&rig);
        let phone = rig.follower(CUSTOMER);
        let push = tokio::spawn(async move { phone.say("during").await });
        assert!(eventually(TIMEOUT, async || readyz(&rig).await.0 == 503).await, "{}", rig.log());
        let (took, status) = time_to_end(&mut rig, signals).await;
        assert!(took < Duration::from_secs(limit_s) + SLACK, "{signals} signals: {took:?}\n{}", rig.log());
        assert_eq!(status, Some(0), "{}", rig.log());
        push.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_start_that_hangs() {
    let Some(mut rig) = rig().await else { return };
    rig.set("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "1");
    begin_hang(&rig);
    rig.spawn(None);
    // It hangs in the first sync of the new database, which has no other sign.
    let store = rig.store();
    let is_opening = eventually(TIMEOUT, async || store.exists()).await;
    assert!(is_opening, "{}", rig.log());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!rig.has_exited(), "{}", rig.log());
    let (took, _) = time_to_end(&mut rig, 1).await;
    assert!(took < Duration::from_secs(1 + 2) + SLACK, "{took:?}\n{}", rig.log());
}

/// Nobody reads the bridge's log, and its pipe is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_when_the_log_blocks() {
    let rig = Rig::on_sqlite().await;
    let mut command = rig.command();
    command.env("BRIDGE_LOG__LEVEL", "debug").env("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "1");
    let mut bridge = command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let unread = bridge.stderr.take().unwrap();
    let http = wechat_im_bridge::internals::http_client::loopback()
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let url = format!("http://127.0.0.1:{}/imcallback", rig.public);
    // Refused requests write log lines until the pipe is full, and then nothing is answered any more.
    let mut answered = false;
    let is_blocked = eventually(TIMEOUT, async || {
        let got = http.post(&url).send().await.is_ok();
        answered |= got;
        answered && !got
    });
    let is_blocked = is_blocked.await;
    let started = Instant::now();
    let pid = bridge.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut status = None;
    eventually(TIMEOUT, async || {
        status = bridge.try_wait().unwrap();
        status.is_some()
    })
    .await;
    let took = started.elapsed();
    let _ = bridge.kill();
    let _ = bridge.wait();
    drop(unread);
    assert!(is_blocked, "the log never blocked");
    assert!(status.is_some() && took < Duration::from_secs(1 + 2) + SLACK, "{status:?} after {took:?}");
}
