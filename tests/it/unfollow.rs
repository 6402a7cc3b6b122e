//! Customers follow and unfollow: their IM accounts, and the data that remains.

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::im::{AccountChangeKind, Edition};

use crate::world::{
    INQUIRY, SOON, Setup, WELCOME, World, assert_success, await_shown, await_texts, eventually, openid,
};

pub async fn is_imported(world: &World, user: &str) -> bool {
    eventually(SOON, async || world.im.account(user).is_some()).await
}

pub async fn is_deleted(world: &World, user: &str) -> bool {
    eventually(SOON, async || world.im.account(user).is_none()).await
}

#[tokio::test]
async fn a_follower_is_welcomed_and_imported_and_deleted_after_unfollowing() {
    let world = World::start().await;
    let phone = world.wechat.customer(&openid("come"));
    assert_eq!(phone.follow_by_scene("shop42").await.text(), Some(WELCOME));
    assert!(is_imported(&world, &openid("come")).await);
    assert!(!world.im.account(&openid("come")).unwrap().nick.is_empty());
    assert_success(&phone.unfollow().await);
    assert!(is_deleted(&world, &openid("come")).await);

    assert_success(&world.wechat.customer(&openid("never")).unfollow().await);
    phone.follow().await;
    assert!(is_imported(&world, &openid("come")).await, "the trial edition accepts the UserID again");
    world.finish().await;
}

#[tokio::test]
async fn with_keep_an_unfollow_keeps_the_account_and_still_erases_the_customer() {
    let world = Setup::default().set("BRIDGE_IM__ON_UNSUBSCRIBE", "keep").start().await;
    let (phone, agent) = (world.wechat.customer(&openid("keep")), world.agent());
    phone.follow().await;
    phone.say("hello").await;
    await_texts(&agent, &openid("keep"), 1).await;
    assert_success(&phone.unfollow().await);
    agent.say(&openid("keep"), "are you still there?").await.unwrap();
    let ignored = "ignored_callbacks_total{reason=\"not_a_customer\"} 1";
    assert!(world.metrics().await.contains(ignored), "{}", world.metrics().await);
    assert_success(&world.wechat.customer(&openid("nobody")).unfollow().await);
    assert!(world.im.account(&openid("keep")).is_some());
    world.clock.advance(1_000);
    assert_eq!(phone.follow().await.text(), Some(WELCOME));
    let settled = eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 0).await;
    assert!(settled, "{}", world.ready().await);
    let changes = world.im.ledger();
    assert!(changes.account_changes().all(|change| change.kind != AccountChangeKind::Deleted));
    let count = "SELECT count(*) FROM customer WHERE openid = ?1";
    let left: i64 = world.database().value(count, &[json!(openid("nobody"))]);
    assert_eq!(left, 0, "nothing is kept about a person without an account");
    world.finish().await;
}

#[tokio::test]
async fn a_userid_that_im_does_not_accept_again_gets_a_number() {
    let world = Setup::default().im(|im| im.edition = Edition::PAID).start().await;
    let (phone, agent) = (world.wechat.customer(&openid("again")), world.agent());
    for user in [openid("again"), format!("{}_1", openid("again")), format!("{}_2", openid("again"))] {
        phone.follow().await;
        assert!(is_imported(&world, &user).await, "{user}");
        phone.say(&format!("I am {user}")).await;
        let inquiry = format!("{INQUIRY}I am {user}");
        let arrived = eventually(SOON, async || {
            agent.inbox().iter().any(|seen| seen.from == user && seen.text() == inquiry)
        });
        assert!(arrived.await, "{:?}", agent.inbox());
        agent.say(&user, &format!("hello {user}")).await.unwrap();
        await_shown(&phone, &format!("hello {user}")).await;
        // A second follow in the same second would count as a repeat.
        world.clock.advance(1_000);
        phone.unfollow().await;
        assert!(is_deleted(&world, &user).await, "{user}");
    }
    world.finish().await;
}

/// The time within which nothing of a customer is left, by the contract, and what a loaded machine
/// may need on top.
const ERASED: Duration = Duration::from_secs(5 + 10);

/// Those of `words` that are in any file of the store or of the media now. Only looks, and by
/// another process: to close the database in this one would release SQLite's locks.
fn words_left_in_store<'a>(world: &World, words: &[&'a str]) -> Vec<&'a str> {
    let is_stored = |word: &str| {
        let grep = std::process::Command::new("grep").args(["-rqaF", word]).arg(world.folder.path()).status();
        grep.unwrap().success()
    };
    words.iter().copied().filter(|word| is_stored(word)).collect()
}

#[tokio::test]
async fn no_message_text_outlives_the_customer() {
    for reply in ["auto", "passive"] {
        let world = Setup::default()
            .set("BRIDGE_WECHAT__REPLY", reply)
            .im(|im| im.edition = Edition::PAID)
            .on_sqlite()
            .start()
            .await;
        let (phone, agent) = (world.wechat.customer(&openid("gone")), world.agent());
        let words = [
            "my-allergy-is-nuts",
            "answer-one-about-it",
            "answer-two-about-it",
            "held-to-the-end",
            "Huangpu",
        ];
        phone.follow().await;
        phone.say(words[0]).await;
        phone.send_location(1.0, 2.0, 3, words[4]).await;
        await_texts(&agent, &openid("gone"), 2).await;
        agent.say(&openid("gone"), words[1]).await.unwrap();
        world.clock.advance(49 * 3600 * 1000);
        agent.say(&openid("gone"), words[2]).await.unwrap();
        let held = eventually(SOON, async || world.ready().await["backlog"]["held"] != 0).await;
        assert!(held, "{}", world.ready().await);
        phone.say("anything new?").await;
        for word in &words[1..3] {
            let shown = eventually(SOON, async || phone.texts().iter().any(|text| text.contains(word))).await;
            assert!(shown, "{word}: {:?}", phone.texts());
        }
        world.clock.advance(49 * 3600 * 1000);
        agent.say(&openid("gone"), words[3]).await.unwrap();
        await_texts(&agent, &openid("gone"), 4).await;
        assert_eq!(words_left_in_store(&world, &words[..3]).len(), 3, "the words are stored before");

        assert_success(&phone.unfollow().await);
        assert!(is_deleted(&world, &openid("gone")).await);
        let erased = eventually(ERASED, async || words_left_in_store(&world, &words).is_empty()).await;
        assert!(erased, "reply = {reply}: {:?}", words_left_in_store(&world, &words));
        for table in ["message", "step", "customer", "conversation", "profile"] {
            let rows = || {
                let sql = format!("SELECT count(*) FROM {table}");
                world.database().value::<i64>(&sql, &[])
            };
            assert!(eventually(SOON, async || rows() == 0).await, "{table}: {} rows are left", rows());
        }
        world.clock.advance(1_000);
        phone.follow().await;
        let second = format!("{}_1", openid("gone"));
        assert!(is_imported(&world, &second).await);
        phone.unfollow().await;
        assert!(is_deleted(&world, &second).await);
        let imported = "SELECT imported FROM customer";
        let recorded = eventually(SOON, async || world.database().try_value::<i64>(imported, &[]) == Ok(0));
        assert!(recorded.await, "the deletion is recorded");
        let columns = "SELECT known, number, imported, agent, active_at, message_until, event_until
                       FROM customer AS c JOIN conversation AS v ON v.id = c.conversation";
        let values = world.database().rows(columns, &[]).unwrap().swap_remove(0);
        let only_the_number: Vec<Value> = [0, 1, 0].into_iter().map(Value::from).collect();
        assert_eq!(values[..3], only_the_number);
        assert_eq!(values[3..], [Value::Null, 0.into(), 0.into(), 0.into()]);
        world.finish().await;
    }
}
