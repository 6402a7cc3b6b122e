//! The machine's clock jumps by hours, forward or back, while messages wait for another attempt.

use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::SendRecord;

use crate::world::{INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, openid};

const FIVE_HOURS_MS: i64 = 5 * 3600 * 1000;

async fn await_calls(world: &World, api: &str, times: u64) {
    let reached = eventually(SOON, async || world.im.ledger().call_count(api) >= times).await;
    assert!(reached, "{api} was called {} of {times} times", world.im.ledger().call_count(api));
}

/// Lets the clock jump while three messages wait: IM was too busy for one, the response of one was lost, and
/// one waits for an open breaker.
async fn check_clock_jump(by_ms: i64) {
    let mut world = Setup::default().set("BRIDGE_IM__CALLBACK_MAX_SKEW_S", "86400").start().await;
    // Only the bridge's clock jumps. The platforms keep the old one.
    world.clock = Clock::movable();
    world.restart().await;
    let (ann, ben, cai) = (world.follower("ann"), world.follower("ben"), world.follower("cai"));
    let agent = world.agent();
    for phone in [&ann, &ben, &cai] {
        phone.say("before").await;
    }
    await_calls(&world, "openim/sendmsg", 3).await;
    world.im.faults().script("openim/sendmsg", 1, Fault::Code(60008));
    ann.say("busy").await;
    await_calls(&world, "openim/sendmsg", 4).await;
    world.im.faults().script("openim/sendmsg", 1, Fault::DropAfter);
    ben.say("lost").await;
    let calls_before = world.im.ledger().call_count("openim/admin_getroammsg");
    world.im.faults().script("admin_getroammsg", 6, Fault::BadGateway);
    cai.say("broken").await;
    await_calls(&world, "openim/admin_getroammsg", calls_before + 3).await;

    world.clock.advance(by_ms);
    world.im.faults().clear();
    for phone in [&ann, &ben, &cai] {
        phone.say("after").await;
    }
    for (name, second) in [("ann", "busy"), ("ben", "lost"), ("cai", "broken")] {
        let texts = await_texts(&agent, &openid(name), 3).await;
        let expected = ["before", second, "after"].map(|text| format!("{INQUIRY}{text}"));
        assert_eq!(texts, expected, "{name}");
        let calls: Vec<String> = (world.im.ledger().deliveries())
            .filter(|send| send.from == openid(name))
            .map(SendRecord::text)
            .collect();
        assert_eq!(calls, expected, "{name}");
    }
    agent.say(&openid("ann"), "an answer").await.unwrap();
    await_shown(&ann, "an answer").await;
    assert!(
        eventually(SOON, async || world.ready().await["status"] == "ok").await,
        "{}",
        world.ready().await
    );
    world.finish().await;
}

/// Invariants 3, 5 and 6.
#[tokio::test]
async fn a_clock_that_jumps_forward_loses_and_doubles_no_message() {
    check_clock_jump(FIVE_HOURS_MS).await;
}

/// Invariants 3, 5 and 6: no message waits until the clock shows the old time again.
#[tokio::test]
async fn a_clock_that_jumps_back_stops_no_message() {
    check_clock_jump(-FIVE_HOURS_MS).await;
}
