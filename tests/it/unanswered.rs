//! Questions that nobody answers: the agent is reminded before the window closes, once for each window.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use crate::observe::{await_notice, await_states, greeted, notices};
use crate::world::{SOON, Setup, World, await_texts, eventually, openid};

const HOUR: i64 = 3_600_000;
const REMINDER: &str = "The customer has no answer yet.";

fn reminders(world: &World, name: &str) -> Vec<String> {
    let all = notices(&world.agent(), &openid(name));
    all.into_iter().filter(|notice| notice.contains(REMINDER)).collect()
}

/// Waits until the bridge has looked at everything that is due by now.
async fn attended(world: &World) {
    let looked = eventually(SOON, async || {
        let sql = "SELECT count(*) FROM question WHERE due_at <= ?1";
        world.database().value::<i64>(sql, &[json!(world.clock.now().0)]) == 0
    });
    assert!(looked.await, "a question is due and not looked at");
}

async fn ask(world: &World, phone: &Phone, count: usize) {
    phone.say("anybody there?").await;
    await_texts(&world.agent(), phone.openid(), count).await;
}

#[tokio::test]
async fn the_agent_is_reminded_once_before_each_window_of_an_unanswered_customer_closes() {
    let mut world = World::start().await;
    let phone = greeted(&world, "late").await;
    world.clock.advance(46 * HOUR);
    attended(&world).await;
    assert_eq!(reminders(&world, "late"), Vec::<String>::new());
    world.clock.advance(HOUR + 60_000);
    let told = await_notice(&world.agent(), &openid("late"), REMINDER).await;
    assert!(told[0].starts_with("[bridge] ") && told[0].contains("for 0 h 59 min"), "{told:?}");
    // Neither a restart nor a clock that is set back and forth repeats it.
    world.restart().await;
    for passed in [10 * 60_000, -2 * HOUR, 2 * HOUR] {
        world.clock.advance(passed);
        attended(&world).await;
    }
    assert_eq!(reminders(&world, "late").len(), 1);
    // The customer writes on: a new window, which has its own reminder.
    ask(&world, &phone, 3).await;
    world.clock.advance(24 * HOUR);
    ask(&world, &phone, 4).await;
    world.clock.advance(23 * HOUR + 30 * 60_000);
    attended(&world).await;
    assert_eq!(reminders(&world, "late").len(), 1, "the second message has moved the end of the window");
    world.clock.advance(24 * HOUR);
    assert!(eventually(SOON, async || reminders(&world, "late").len() == 2).await);
    // What is over is over.
    world.clock.advance(24 * HOUR);
    attended(&world).await;
    assert_eq!(reminders(&world, "late").len(), 2);
    world.finish().await;
}

#[tokio::test]
async fn nobody_is_reminded_of_what_was_answered_or_closed_or_cannot_be_pushed() {
    let world = World::start().await;
    let (answered, closed) = (openid("answered"), openid("closed"));
    greeted(&world, "answered").await;
    greeted(&world, "closed").await;
    greeted(&world, "asked").await;
    world.agent().say(&answered, "yes").await.unwrap();
    await_states(&world, &answered, &["delivered"]).await;
    world.agent().say(&closed, "/close").await.unwrap();
    await_notice(&world.agent(), &closed, "Closed").await;
    world.clock.advance(47 * HOUR + 60_000);
    await_notice(&world.agent(), &openid("asked"), REMINDER).await;
    attended(&world).await;
    assert_eq!([reminders(&world, "answered").len(), reminders(&world, "closed").len()], [0, 0]);
    // A customer who leaves leaves nothing behind.
    world.wechat.customer(&openid("asked")).unfollow().await;
    let sql = "SELECT count(*) FROM question WHERE openid = ?1";
    assert_eq!(world.database().value::<i64>(sql, &[json!(openid("asked"))]), 0);
    world.finish().await;

    for (variable, value) in [("BRIDGE_WECHAT__REPLY", "passive"), ("BRIDGE_DESK__REMIND_BEFORE_S", "0")] {
        let world = Setup::default().set(variable, value).start().await;
        greeted(&world, "asked").await;
        world.clock.advance(47 * HOUR + 60_000);
        attended(&world).await;
        assert_eq!(reminders(&world, "asked").len(), 0, "{variable}");
        world.finish().await;
    }
}
