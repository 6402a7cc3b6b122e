//! The rating that a customer gives after `/close`.

use serde_json::Value;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::wechat::{Phone, Refusal};

use crate::observe::{CUSTOM_SEND, await_notice, await_states, counter_value, greeted, notices};
use crate::staying_faults::operate;
use crate::world::{SOON, Setup, World, await_texts, eventually, openid, texts};

const DAY_MS: i64 = 24 * 3_600_000;

fn with_rating() -> Setup {
    Setup::default().set("BRIDGE_DESK__RATING", "true")
}

/// How often the customer was asked.
fn asked(phone: &Phone) -> usize {
    phone.screen().iter().filter(|shown| shown.kind == "msgmenu").count()
}

/// The ids of the items of the last menu that was asked for, best first.
fn menu_ids(world: &World) -> [String; 3] {
    let id: i64 = world.database().value("SELECT max(id) FROM rating", &[]);
    [3, 2, 1].map(|value| format!("7700{id}{value}"))
}

async fn close(world: &World, customer: &str) {
    let before = notices(&world.agent(), customer).iter().filter(|text| text.contains("Closed.")).count();
    world.agent().say(customer, "/close").await.unwrap();
    let closed = eventually(SOON, async || {
        notices(&world.agent(), customer).iter().filter(|text| text.contains("Closed.")).count() > before
    });
    assert!(closed.await);
}

#[tokio::test]
async fn a_tap_is_told_to_the_agent_counted_once_and_begins_no_conversation() {
    let world = with_rating().start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    agent.say(&customer, "You are welcome.").await.unwrap();
    await_states(&world, &customer, &["delivered"]).await;
    close(&world, &customer).await;
    assert!(eventually(SOON, async || asked(&phone) == 1).await, "{:?}", phone.screen());
    let menu = phone.screen().pop().unwrap().text;
    assert_eq!(menu, "How satisfied are you with our service?\nSatisfied\nSo-so\nNot satisfied");

    let [_, so_so, not] = menu_ids(&world);
    assert_eq!(phone.tap_msgmenu(&so_so, "So-so").await.text(), Some("Thank you for your rating."));
    await_notice(&agent, &customer, "The customer's rating: So-so.").await;
    world.clock.advance(3 * DAY_MS);
    assert_eq!(phone.tap_msgmenu(&not, "Not satisfied").await.text(), Some("Thank you for your rating."));
    let counted = "wechat_im_bridge_ratings_total{value=\"so_so\"}";
    assert_eq!(counter_value(&world, counted).await, 1);
    assert_eq!(counter_value(&world, "wechat_im_bridge_ratings_total{value=\"not_satisfied\"}").await, 0);
    phone.say("hello again").await;
    await_texts(&agent, &customer, 4).await;
    let received = texts(&agent, &customer);
    assert!(received.iter().all(|text| !text.contains("satisfied")), "a tap is no question: {received:?}");
    let stored: Vec<i64> = ["value", "rated_at > asked_at AND agent = 'user1'"]
        .map(|column| {
            let sql = format!("SELECT CASE WHEN count(*) = 1 THEN 1 ELSE 0 END FROM rating WHERE value = 2 AND {column} IS NOT NULL");
            world.database().value::<i64>(&sql, &[])
        })
        .into();
    assert_eq!(stored, [1, 1]);
    let report = operate(&world, &["report", "--since", "9d", "--json"]).await;
    let rows: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_reported = |row: &Value| {
        let counts = ["satisfied", "so_so", "not_satisfied"].map(|name| row[name].as_i64().unwrap());
        row["agent"] == "user1" && counts == [0, 1, 0]
    };
    assert!(rows.iter().any(is_reported), "{report}");
    phone.unfollow().await;
    let nameless = || world.database().value::<i64>("SELECT count(*) FROM rating WHERE openid IS NULL", &[]);
    assert!(eventually(SOON, async || nameless() == 1).await, "the openid is erased");
    world.finish().await;
}

#[tokio::test]
async fn a_customer_is_asked_once_a_day_only_in_the_window_and_never_later() {
    let world = with_rating().start().await;
    let (phone, agent, customer) = (greeted(&world, "b").await, world.agent(), openid("b"));
    close(&world, &customer).await;
    assert!(eventually(SOON, async || asked(&phone) == 1).await);
    phone.say("one more thing").await;
    await_texts(&agent, &customer, 3).await;
    close(&world, &customer).await;
    world.clock.advance(DAY_MS);
    phone.say("the next day").await;
    await_texts(&agent, &customer, 5).await;
    close(&world, &customer).await;
    assert!(eventually(SOON, async || asked(&phone) == 2).await, "{:?}", phone.screen());

    let late = greeted(&world, "c").await;
    world.clock.advance(3 * DAY_MS);
    close(&world, &openid("c")).await;
    // WeChat says that the window is closed: nobody is asked when the customer writes again.
    let refused = greeted(&world, "d").await;
    world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(45_015));
    close(&world, &openid("d")).await;
    let is_refused = |refusal: &Refusal| refusal.code == 45_015;
    assert!(
        world
            .wechat
            .wait_until(SOON, |ledger| ledger.refusals.iter().any(|refusal| is_refused(refusal)))
            .await
    );
    for (phone, name) in [(&late, "c"), (&refused, "d")] {
        phone.say("back").await;
        await_texts(&agent, &openid(name), 3).await;
        assert_eq!(asked(phone), 0, "{name}");
        let received = notices(&agent, &openid(name));
        assert_eq!(received.len(), 1, "only that it is closed: {received:?}");
    }
    assert_eq!(asked(&phone), 2);
    world.finish().await;
}

#[tokio::test]
async fn without_the_setting_nobody_is_asked_and_a_strange_tap_is_a_question() {
    let world = World::start().await;
    let (phone, agent, customer) = (greeted(&world, "e").await, world.agent(), openid("e"));
    close(&world, &customer).await;
    phone.tap_msgmenu("770012", "So-so").await;
    await_texts(&agent, &customer, 3).await;
    assert!(texts(&agent, &customer)[2].ends_with("So-so"));
    assert_eq!(asked(&phone), 0);
    world.finish().await;
}
