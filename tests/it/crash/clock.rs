//! The machine's clock is wrong, or somebody sets it, while messages wait for another attempt.

use std::time::{Duration, Instant};

use serde_json::json;
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::SendRecord;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use super::rig::recovery_limit;
use crate::world::{
    INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, is_first_line, openid,
};

const FIVE_HOURS_MS: i64 = 5 * 3600 * 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const TEN_MINUTES_MS: i64 = 10 * 60 * 1000;
/// The longest wait before the next attempt after the few failures of these tests.
const BACKOFF: Duration = Duration::from_secs(4);

async fn await_calls(world: &World, api: &str, times: u64) {
    let reached = eventually(SOON, async || world.im.ledger().call_count(api) >= times).await;
    assert!(reached, "{api} was called {} of {times} times", world.im.ledger().call_count(api));
}

/// Waits until `/readyz` shows nothing wrong beside the clock, which is as right as `ok` says.
async fn await_clock(world: &World, ok: bool) {
    let reached = eventually(SOON, async || {
        let ready = world.ready().await;
        let others = ["store", "im", "wechat", "media", "lanes", "settings"];
        ready["clock"]["ok"] == ok && others.iter().all(|part| ready[part]["ok"] == true)
    });
    assert!(reached.await, "{}", world.ready().await);
}

/// Three customers. Two of their messages wait because IM is too busy; of the third the response was lost, and IM's
/// history cannot be read.
struct Waiting {
    phones: [Phone; 3],
}

impl Waiting {
    async fn start(world: &World) -> Self {
        let phones = ["ann", "ben", "cai"].map(|name| world.follower(name));
        for phone in &phones {
            phone.say("before").await;
        }
        await_calls(world, "openim/sendmsg", 3).await;
        let asked_before = world.im.ledger().call_count("openim/admin_getroammsg");
        world.im.faults().script("openim/sendmsg", 1, Fault::DropAfter);
        world.im.faults().script("admin_getroammsg", 1_000, Fault::BadGateway);
        phones[1].say("lost").await;
        await_calls(world, "openim/admin_getroammsg", asked_before + 1).await;
        let sent_before = world.im.ledger().call_count("openim/sendmsg");
        world.im.faults().script("openim/sendmsg", 1_000, Fault::Code(60008));
        phones[0].say("busy").await;
        phones[2].say("busy too").await;
        await_calls(world, "openim/sendmsg", sent_before + 2).await;
        Self { phones }
    }

    /// Checks that every message arrives soon, once and in order, and that answers still reach their customers.
    async fn check(&self, world: &World) {
        let agent = world.agent();
        // What waits has the rest of its backoff before it.
        let started = Instant::now();
        for name in ["ann", "ben", "cai"] {
            await_texts(&agent, &openid(name), 2).await;
        }
        assert!(started.elapsed() <= BACKOFF + recovery_limit(), "{:?}", started.elapsed());
        let started = Instant::now();
        // The window that "before" opened is still open.
        agent.say(&openid("ben"), "in the window").await.unwrap();
        await_shown(&self.phones[1], "in the window").await;
        for phone in &self.phones {
            phone.say("after").await;
        }
        for (name, second) in [("ann", "busy"), ("ben", "lost"), ("cai", "busy too")] {
            let texts = await_texts(&agent, &openid(name), 3).await;
            assert!(started.elapsed() <= recovery_limit(), "{name}: {:?}", started.elapsed());
            let expected = ["before", second, "after"].map(|text| format!("{INQUIRY}{text}"));
            assert_eq!(texts, expected, "{name}");
            let calls: Vec<String> = (world.im.ledger().deliveries())
                .filter(|send| send.from == openid(name))
                .map(SendRecord::text)
                .filter(|text| !is_first_line(text))
                .collect();
            assert_eq!(calls, expected, "{name}");
        }
        agent.say(&openid("ann"), "an answer").await.unwrap();
        await_shown(&self.phones[0], "an answer").await;
    }
}

/// Starts a world in which the platforms keep the right time, whatever happens to the bridge's clock. Returns the
/// platforms' clock too.
async fn world_with_own_clock() -> (World, Clock) {
    let mut world = Setup::default().start().await;
    let platforms = std::mem::replace(&mut world.clock, Clock::movable());
    world.restart().await;
    (world, platforms)
}

/// Invariants 3, 5 and 6. The monotonic clock stands still while a machine sleeps. When it wakes, its clock is right,
/// and the platforms' clocks confirm that.
#[tokio::test]
async fn a_machine_that_slept_for_hours_loses_and_doubles_no_message() {
    let (world, platforms) = world_with_own_clock().await;
    let waiting = Waiting::start(&world).await;
    platforms.advance(FIVE_HOURS_MS);
    world.clock.set_forward(FIVE_HOURS_MS);
    world.im.faults().clear();
    waiting.check(&world).await;
    await_clock(&world, true).await;
    assert_nothing_refused(&world).await;
    world.finish().await;
}

/// Invariants 3, 5 and 6. Somebody sets the clock while the bridge runs: nothing is refused, and health says so until it is right again.
async fn check_set_clock(by_ms: i64) {
    let (world, _) = world_with_own_clock().await;
    world.expect_error("this machine's clock is");
    let waiting = Waiting::start(&world).await;
    world.clock.set_forward(by_ms);
    world.im.faults().clear();
    waiting.check(&world).await;
    await_clock(&world, false).await;
    let clock = world.ready().await["clock"].to_string();
    let side = if by_ms < 0 { "behind" } else { "ahead of" };
    assert!(clock.contains(side) && clock.contains("NTP") && clock.contains("since_utc"), "{clock}");
    let skew = world.metrics().await;
    let skew = skew
        .lines()
        .find_map(|line| line.strip_prefix("wechat_im_bridge_clock_skew_seconds{platform=\"im\"} "));
    let skew: i64 = skew.unwrap().parse().unwrap();
    assert!((skew - by_ms / 1000).abs() <= 5, "{skew}");
    assert_nothing_refused(&world).await;
    world.clock.set_forward(-by_ms);
    await_clock(&world, true).await;
    world.finish().await;
}

/// The bridge starts on a machine whose clock is wrong, with messages that wait from before.
async fn check_wrong_start(by_ms: i64) {
    let (mut world, _) = world_with_own_clock().await;
    world.expect_error("this machine's clock is");
    let waiting = Waiting::start(&world).await;
    world.stop_bridge().await;
    world.clock = Clock::wrong_at_start(by_ms);
    world.im.faults().clear();
    world.start_bridge().await;
    waiting.check(&world).await;
    await_clock(&world, false).await;
    assert_nothing_refused(&world).await;
    world.clock.set_forward(-by_ms);
    await_clock(&world, true).await;
    world.finish().await;
}

/// No request was refused, and no message ended other than delivered or waits for the customer.
async fn assert_nothing_refused(world: &World) {
    let metrics = world.metrics().await;
    let bad = |line: &&str| {
        line.contains("refused_requests_total{")
            || ["held", "refused", "unknown"]
                .iter()
                .any(|state| line.contains("ended_total{") && line.contains(&format!("state=\"{state}\"")))
            || line.contains("reason=\"too_old\"")
    };
    let found: Vec<&str> = metrics.lines().filter(bad).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_by_days_changes_nothing_but_the_health() {
    for by_ms in [4 * DAY_MS, 40 * DAY_MS, -4 * DAY_MS] {
        check_set_clock(by_ms).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_by_minutes_changes_nothing_but_the_health() {
    for by_ms in [TEN_MINUTES_MS, -TEN_MINUTES_MS] {
        check_set_clock(by_ms).await;
    }
}

#[tokio::test]
async fn a_start_with_a_clock_that_is_wrong_by_days_loses_and_refuses_nothing() {
    for by_ms in [4 * DAY_MS, 40 * DAY_MS, -4 * DAY_MS] {
        check_wrong_start(by_ms).await;
    }
}

#[tokio::test]
async fn a_start_with_a_clock_that_is_wrong_by_minutes_loses_and_refuses_nothing() {
    for by_ms in [TEN_MINUTES_MS, -TEN_MINUTES_MS] {
        check_wrong_start(by_ms).await;
    }
}

/// Nothing is deleted while the clocks contradict each other, and it is once they agree.
#[tokio::test]
async fn while_the_time_is_in_doubt_nothing_is_deleted() {
    let (mut world, _) = world_with_own_clock().await;
    world.expect_error("this machine's clock is");
    world.stop_bridge().await;
    let old_ms = world.clock.now().plus(-40 * DAY_MS).0;
    let insert = "INSERT INTO dedup (key, at) VALUES ('old', ?1)";
    world.database().execute(insert, &[json!(old_ms)]);
    let count = |world: &World| -> i64 {
        let sql = "SELECT count(*) FROM dedup WHERE key = 'old'";
        world.database().value(sql, &[])
    };
    world.clock = Clock::movable();
    world.clock.set_forward(FIVE_HOURS_MS);
    world.start_bridge().await;
    await_clock(&world, false).await;
    assert_eq!(count(&world), 1);
    world.clock.set_forward(-FIVE_HOURS_MS);
    await_clock(&world, true).await;
    assert!(eventually(SOON, async || count(&world) == 0).await);
    world.finish().await;
}
