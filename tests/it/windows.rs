//! Which action of a customer opens which window (the push table of the contract, section 3). The
//! tests count the agent's answers that are sent after it, and for how long.

use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::observe::{await_states, greeted};
use crate::unfollow::is_imported;
use crate::world::{World, openid};

/// A customer whose last message is too old for any answer to be sent.
async fn greeted_long_ago(world: &World, name: &str) -> Phone {
    let phone = greeted(world, name).await;
    world.clock.advance(48 * 3_600_000);
    phone
}

/// Answers seven times and checks that the first `sends` are delivered and the others held.
async fn assert_budget(world: &World, name: &str, sends: usize) {
    let (agent, customer) = (world.agent(), openid(name));
    for number in 0..7 {
        agent.say(&customer, &format!("answer {number}")).await.unwrap();
    }
    await_states(world, &customer, &[vec!["delivered"; sends], vec!["held"; 7 - sends]].concat()).await;
}

#[tokio::test]
async fn a_message_opens_the_message_window_and_a_tap_in_a_menu_message_the_event_window() {
    let world = World::start().await;
    let phone = greeted_long_ago(&world, "typed").await;
    phone.say("still there?").await;
    world.clock.advance(47 * 3_600_000);
    assert_budget(&world, "typed", 5).await;
    let phone = greeted_long_ago(&world, "tapped").await;
    phone.tap_msgmenu("101", "satisfied").await;
    assert_budget(&world, "tapped", 3).await;
    world.finish().await;
}

#[tokio::test]
async fn a_follow_a_scan_and_a_menu_click_open_the_event_window_for_a_minute() {
    let world = World::start().await;
    let phone = world.wechat.customer(&openid("followed"));
    phone.follow().await;
    assert!(is_imported(&world, &openid("followed")).await);
    assert_budget(&world, "followed", 3).await;
    let phone = greeted_long_ago(&world, "scanned").await;
    phone.scan("shop42").await;
    assert_budget(&world, "scanned", 3).await;
    for event in ["CLICK", "scancode_push", "scancode_waitmsg"] {
        greeted_long_ago(&world, event).await.tap_menu(event, "key").await;
        assert_budget(&world, event, 3).await;
    }
    greeted_long_ago(&world, "late").await.tap_menu("CLICK", "key").await;
    world.clock.advance(60_000);
    assert_budget(&world, "late", 0).await;
    world.finish().await;
}

#[tokio::test]
async fn no_other_event_opens_a_window() {
    let world = World::start().await;
    for event in ["VIEW", "location_select", "pic_weixin", "an_event_of_2031"] {
        greeted_long_ago(&world, event).await.tap_menu(event, "key").await;
        assert_budget(&world, event, 0).await;
    }
    world.finish().await;
}
