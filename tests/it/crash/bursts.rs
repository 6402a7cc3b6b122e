//! Kills the bridge while it sends several lines in one call.

use super::fail_points::{CUSTOMER, answering};
use super::rig::Rig;
use crate::observe::notices;
use crate::world::{TRANSFERRING, eventually, openid};

const LINES: [&str; 4] = ["first", "second", "third", "fourth"];

/// Kills the bridge at `point`, restarts it, and returns the state that all lines have, and how often the customer has
/// seen them.
async fn crash_in_burst(point: &str, state: &str, is_shown: bool) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_DESK__MERGE_BELOW", "100");
    rig.set("BRIDGE_DESK__MERGE_WAIT_MS", "500");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.wait_until_ready().await;
    let mut answer = answering(agent.clone());
    for line in LINES {
        assert!(answer(line.to_owned()).await, "{point}: {line}");
    }
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    rig.wait_until_idle().await;
    assert!(answer("and more".to_owned()).await);
    let stored = rig.stop_and_read_store().await;
    for line in LINES {
        assert_eq!(stored.state(line), state, "{point}: {stored:?}\n{}", rig.log());
    }
    assert_eq!(stored.state("and more"), "delivered", "{point}: {stored:?}");
    let burst = LINES.join("\n");
    let seen: Vec<String> = phone.texts().into_iter().filter(|text| text != TRANSFERRING).collect();
    let expected = if is_shown { vec![burst.as_str(), "and more"] } else { vec!["and more"] };
    assert_eq!(seen, expected, "{point}");
    let told = || notices(&agent, &openid(CUSTOMER));
    let expected = usize::from(state == "unknown");
    assert!(eventually(super::rig::TIMEOUT, async || told().len() == expected).await, "{:?}", told());
    for notice in told() {
        assert_eq!(notice.matches('#').count(), LINES.len(), "{notice}");
        assert!(notice.contains("“first second third fourth” may or may not"), "{notice}");
    }
}

/// Invariants 3, 5 and 6: the recorded attempt names all lines of the call. After a crash all of them are unknown, with
/// one notice, and none is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_burst_leaves_doubles_no_line() {
    let points = [
        ("burst.recorded:1", "unknown", false),
        ("burst.called:1", "unknown", true),
        ("burst.settled:1", "delivered", true),
    ];
    super::fail_points::run_each(points, |(point, state, is_shown)| crash_in_burst(point, state, is_shown))
        .await;
}
