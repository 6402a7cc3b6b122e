//! Addresses that lead to floods, drips and silence, many at once: memory stays flat, and everybody else is served.

use std::time::{Duration, Instant};

use wechat_im_bridge::sandbox::wechat::Phone;

use super::rig::{Rig, SETTLED};
use crate::agent_media::{image_at, trouble};
use crate::world::{eventually, openid};

/// Within this time a push is answered (CONTRACT, section 3).
const ANSWERED: Duration = Duration::from_secs(1);
/// What the storm may add to the process, in kB: the largest file alone is four times as large.
const GROWTH_KB: u64 = 48 * 1024;

/// A line of `/proc/PID/status`, in kB.
pub fn status_kb(rig: &Rig, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
}

/// Invariants 3, 6, 8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_bad_addresses_leaves_memory_flat_and_holds_up_nobody_else() {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1");
    rig.set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true");
    let (agent, (address, _)) = (rig.agent(), trouble().await);
    rig.start().await;
    let slow: Vec<_> = (0..24).map(|n| rig.follower(&format!("s{n}"))).collect();
    let quick: Vec<_> = (0..24).map(|n| rig.follower(&format!("q{n}"))).collect();
    let (asking, served) = (rig.follower("asks"), rig.follower("served"));
    for phone in slow.iter().chain(&quick).chain([&asking, &served]) {
        assert!(!phone.say("hello").await.fault_line);
    }
    rig.quiet().await;
    let before = status_kb(&rig, "VmRSS");
    let send = async |phones: &[Phone], paths: &[&str]| {
        for (phone, path) in phones.iter().zip(paths.iter().cycle()) {
            agent.send(phone.openid(), image_at(&format!("http://{address}/{path}"))).await.unwrap();
        }
    };

    // Floods end at once, also beside what holds most of the places for its time.
    send(&slow[..12], &["drip", "stall"]).await;
    send(&quick, &["200-megabytes", "200-unannounced", "loop"]).await;
    let is_linked = |phone: &Phone| phone.texts().iter().any(|text| text.starts_with("[image]\n"));
    let linked = eventually(SETTLED, async || quick.iter().all(is_linked)).await;
    assert!(linked, "{}", rig.log());
    // With every place taken by what never comes, everybody else is served.
    send(&slow[12..], &["drip", "stall"]).await;
    let (mut slowest_push, mut slowest_text) = (Duration::ZERO, Duration::ZERO);
    for n in 0..20 {
        let started = Instant::now();
        assert!(!asking.say(&format!("question {n}")).await.fault_line);
        slowest_push = slowest_push.max(started.elapsed());
        served.say("go on").await;
        let (text, started) = (format!("answer {n}"), Instant::now());
        agent.say(&openid("served"), &text).await.unwrap();
        let shown = served.wait_for(SETTLED, |screen| screen.iter().any(|shown| shown.text == text)).await;
        assert!(shown.is_ok(), "{n}\n{}", rig.log());
        slowest_text = slowest_text.max(started.elapsed());
    }
    assert!(!slow.iter().any(is_linked), "they are still at it");
    let peak = status_kb(&rig, "VmHWM");
    println!(
        "VmRSS before the storm {before} kB, its peak {peak} kB; a push within {slowest_push:?}, \
         another customer's answer within {slowest_text:?}"
    );
    assert!(peak <= before + GROWTH_KB, "{before} kB grew to {peak} kB");
    assert!(slowest_push <= ANSWERED, "{slowest_push:?}");
    // Stopping cuts short what comes slowly.
    let started = Instant::now();
    assert!(rig.terminate().await.success(), "{}", rig.log());
    println!("stopped within {:?}", started.elapsed());
}
