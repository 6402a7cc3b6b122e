//! Many URLs whose servers send too much, too slowly or nothing: memory stays bounded, and other customers
//! are served.

use std::time::{Duration, Instant};

use wechat_im_bridge::internals::sandbox::wechat::Phone;

use super::rig::{Rig, TIMEOUT};
use crate::agent_media::{image_at, start_bad_server};
use crate::world::{eventually, openid};

/// The time within which the bridge answers a push (CONTRACT, section 3).
const PUSH_LIMIT: Duration = Duration::from_secs(1);
/// How much memory the downloads may add to the process, in kB. The largest file alone is four times as
/// large.
const GROWTH_KB: u64 = 48 * 1024;

/// The value of a line of `/proc/PID/status`, in kB.
pub fn status_kb(rig: &Rig, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
}

/// Invariants 3, 6, 8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bad_urls_neither_use_up_memory_nor_delay_other_customers() {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1");
    rig.set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true");
    let (agent, (address, _)) = (rig.agent(), start_bad_server().await);
    rig.start().await;
    let slow: Vec<_> = (0..24).map(|n| rig.follower(&format!("s{n}"))).collect();
    let quick: Vec<_> = (0..24).map(|n| rig.follower(&format!("q{n}"))).collect();
    let (asker, served) = (rig.follower("asker"), rig.follower("served"));
    for phone in slow.iter().chain(&quick).chain([&asker, &served]) {
        assert!(!phone.say("hello").await.fault_line);
    }
    rig.wait_until_idle().await;
    let before = status_kb(&rig, "VmRSS");
    let send = async |phones: &[Phone], paths: &[&str]| {
        for (phone, path) in phones.iter().zip(paths.iter().cycle()) {
            agent.send(phone.openid(), image_at(&format!("http://{address}/{path}"))).await.unwrap();
        }
    };

    // The bridge gives up endless files at once, also while slow servers occupy most of the download permits.
    send(&slow[..12], &["drip", "stall"]).await;
    send(&quick, &["200-megabytes", "200-without-length", "loop"]).await;
    let is_linked = |phone: &Phone| phone.texts().iter().any(|text| text.starts_with("[image]"));
    let linked = eventually(TIMEOUT, async || quick.iter().all(is_linked)).await;
    assert!(linked, "{}", rig.log());
    // While slow servers occupy every download permit, other customers are served.
    send(&slow[12..], &["drip", "stall"]).await;
    let (mut slowest_push, mut slowest_text) = (Duration::ZERO, Duration::ZERO);
    for n in 0..20 {
        let started = Instant::now();
        assert!(!asker.say(&format!("question {n}")).await.fault_line);
        slowest_push = slowest_push.max(started.elapsed());
        served.say("go on").await;
        let (text, started) = (format!("answer {n}"), Instant::now());
        agent.say(&openid("served"), &text).await.unwrap();
        let shown = served.wait_for(TIMEOUT, |screen| screen.iter().any(|shown| shown.text == text)).await;
        assert!(shown.is_ok(), "{n}\n{}", rig.log());
        slowest_text = slowest_text.max(started.elapsed());
    }
    assert!(!slow.iter().any(is_linked), "the slow downloads must still run");
    let peak = status_kb(&rig, "VmHWM");
    println!(
        "VmRSS {before} kB before, {peak} kB at its peak; slowest push {slowest_push:?}, slowest answer to another \
         customer {slowest_text:?}"
    );
    assert!(peak <= before + GROWTH_KB, "{before} kB grew to {peak} kB");
    assert!(slowest_push <= PUSH_LIMIT, "{slowest_push:?}");
    // The stop aborts the slow downloads.
    let started = Instant::now();
    assert!(rig.terminate().await.success(), "{}", rig.log());
    println!("stopped within {:?}", started.elapsed());
}
