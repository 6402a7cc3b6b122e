//! Addresses that lead to floods, drips and silence, many at once: memory stays flat, and everybody else is served.

use std::time::{Duration, Instant};

use super::rig::{Rig, SETTLED};
use crate::agent_media::{file, image_at, trouble};
use crate::world::{eventually, openid};

/// Within this time a push is answered (CONTRACT, section 3).
const ANSWERED: Duration = Duration::from_secs(1);
/// What the storm may add to the process, in kB: the largest file alone is four times as large.
const GROWTH_KB: u64 = 48 * 1024;

/// A line of `/proc/PID/status`, in kB.
fn status_kb(rig: &Rig, name: &str) -> u64 {
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
    // Two slow ones for every place that there is to prepare, and everything else among them.
    let paths = ["drip", "200-megabytes", "stall", "200-unannounced", "drip", "loop", "stall", "drip"];
    let victims: Vec<_> = (0..48).map(|n| rig.follower(&format!("v{n}"))).collect();
    let (asking, served) = (rig.follower("asks"), rig.follower("served"));
    for phone in victims.iter().chain([&asking, &served]) {
        assert!(!phone.say("hello").await.fault_line);
    }
    rig.quiet().await;
    let before = status_kb(&rig, "VmRSS");

    for (phone, path) in victims.iter().zip(paths.iter().cycle()) {
        agent.send(phone.openid(), image_at(&format!("http://{address}/{path}"))).await.unwrap();
    }
    let (mut slowest_push, mut slowest_text) = (Duration::ZERO, Duration::ZERO);
    for n in 0..20 {
        let started = Instant::now();
        assert!(!asking.say(&format!("question {n}")).await.fault_line);
        slowest_push = slowest_push.max(started.elapsed());
        let started = Instant::now();
        served.say("go on").await;
        let text = format!("answer {n}");
        agent.say(&openid("served"), &text).await.unwrap();
        let shown = served.wait_for(SETTLED, |screen| screen.iter().any(|shown| shown.text == text)).await;
        assert!(shown.is_ok(), "{n}\n{}", rig.log());
        slowest_text = slowest_text.max(started.elapsed());
    }
    // Floods and loops end at once; drips and silences hold their places for their time.
    let linked = eventually(SETTLED, async || {
        let done = |phone: &&wechat_im_bridge::sandbox::wechat::Phone| {
            phone.texts().iter().any(|text| text.starts_with("[image]\n"))
        };
        victims.iter().filter(done).count() >= 48 * 3 / 8
    });
    assert!(linked.await, "{}", rig.log());
    let peak = status_kb(&rig, "VmHWM");
    println!(
        "VmRSS before the storm {before} kB, its peak {peak} kB; a push within {slowest_push:?}, \
         another customer's answer within {slowest_text:?}"
    );
    assert!(peak <= before + GROWTH_KB, "{before} kB grew to {peak} kB");
    assert!(slowest_push <= ANSWERED, "{slowest_push:?}");
    // A picture still goes, once a place is free.
    agent.send_image(&openid("served"), "a.jpg", file("photo.jpg")).await.unwrap();
    let shown = served.wait_for(SETTLED, |screen| screen.iter().any(|shown| shown.kind == "image")).await;
    assert!(shown.is_ok(), "{}", rig.log());
    // Stopping cuts short what comes slowly.
    let started = Instant::now();
    assert!(rig.terminate().await.success(), "{}", rig.log());
    println!("stopped within {:?}", started.elapsed());
}
