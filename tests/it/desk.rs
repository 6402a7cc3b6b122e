//! Whose customer it is: a customer who comes back goes to the agent who served last, and an agent who gets another's
//! customer reads what was said.

use serde_json::Value;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use crate::customer_media::{JPEG, PUBLIC_URL};
use crate::observe::{await_notice, notices};
use crate::unfollow::is_deleted;
use crate::world::{INQUIRY, SOON, Setup, World, await_shown, await_texts, eventually, openid, texts};

const MINUTE_MS: i64 = 60_000;
/// Longer than a session lasts without a message.
const PAUSE_MS: i64 = 31 * MINUTE_MS;

fn agents(world: &World) -> [AgentClient; 2] {
    ["user1", "user2"].map(|agent| world.im.agent(agent).unwrap())
}

/// Waits until the agent has got `words` of the customer, as the last message of this customer.
async fn await_last(agent: &AgentClient, customer: &str, words: &str) {
    let inquiry = format!("{INQUIRY}{words}");
    let arrived = eventually(SOON, async || texts(agent, customer).last() == Some(&inquiry)).await;
    assert!(arrived, "{words:?} did not arrive last at {}: {:?}", agent.user_id(), texts(agent, customer));
}

fn kinds(agent: &AgentClient, customer: &str) -> Vec<Value> {
    agent.conversation(customer).iter().map(|message| message.elements[0]["MsgType"].clone()).collect()
}

#[tokio::test]
async fn a_customer_goes_back_to_who_served_last_and_later_another_gets_the_whole_story() {
    let mut world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_DESK__STICKY_S", "3600")
        .set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL)
        .start()
        .await;
    let [first, second] = agents(&world);
    let (phone, customer) = (world.wechat.customer(&openid("a")), openid("a"));
    phone.follow().await;
    phone.say("hello").await;
    await_last(&first, &customer, "hello").await;
    phone.send_image(JPEG).await;
    first.say(&customer, "good day").await.unwrap();
    await_shown(&phone, "good day").await;

    // In rotation it would be the second agent's.
    world.clock.advance(PAUSE_MS);
    world.restart().await;
    phone.say("me again").await;
    await_last(&first, &customer, "me again").await;
    assert!(notices(&first, &customer).is_empty() && texts(&second, &customer).is_empty());

    world.clock.advance(2 * PAUSE_MS);
    phone.say("still there?").await;
    await_last(&second, &customer, "still there?").await;
    let seen = texts(&second, &customer);
    assert_eq!(seen[0], format!("{INQUIRY}hello"));
    assert_eq!(seen[2..4], ["[bridge] user1: good day".to_owned(), format!("{INQUIRY}me again")], "{seen:?}");
    assert!(
        seen[4].starts_with("[bridge] This conversation is now yours. Last served by user1, "),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(kinds(&second, &customer)[1], "TIMImageElem", "a picture is shown as one");
    await_notice(&first, &customer, "This is user2's conversation from now on.").await;

    // Who has answered it since then keeps it.
    second.say(&customer, "Yes, I am.").await.unwrap();
    await_shown(&phone, "Yes, I am.").await;
    world.clock.advance(PAUSE_MS);
    phone.say("and now?").await;
    await_last(&second, &customer, "and now?").await;
    assert_eq!(texts(&second, &customer).len(), 7, "nothing is told twice");

    // Nothing is known any more of somebody who has left.
    phone.unfollow().await;
    assert!(is_deleted(&world, &customer).await);
    world.im.change(|settings| settings.edition.reimport_after_delete = true);
    phone.follow().await;
    phone.say("new here").await;
    await_last(&first, &customer, "new here").await;
    let seen = texts(&first, &customer);
    assert!(!seen.iter().any(|text| text.contains("now yours")), "{seen:?}");
    world.finish().await;
}

#[tokio::test]
async fn the_customers_of_an_agent_who_is_gone_go_to_another_at_once_and_with_what_waits() {
    let mut world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let [first, second] = agents(&world);
    let (phone, customer) = (world.follower("b"), openid("b"));
    phone.say("hello").await;
    await_last(&first, &customer, "hello").await;
    world.set("BRIDGE_IM__AGENTS", "user2");
    world.restart().await;
    phone.say("anyone?").await;
    await_last(&second, &customer, "anyone?").await;
    let expected = [
        format!("{INQUIRY}hello"),
        "[bridge] This conversation is now yours. It was user1's before, without an answer.".to_owned(),
        format!("{INQUIRY}anyone?"),
    ];
    assert_eq!(await_texts(&second, &customer, 3).await, expected);
    assert!(notices(&first, &customer).is_empty(), "who is no agent is told nothing");
    world.finish().await;
}

#[tokio::test]
async fn without_a_time_to_go_back_the_least_busy_agent_gets_whoever_comes_back() {
    let world = Setup::default()
        .set("BRIDGE_IM__AGENTS", "user1,user2")
        .set("BRIDGE_DESK__STICKY_S", "0")
        .start()
        .await;
    let [first, second] = agents(&world);
    let (phone, customer) = (world.follower("c"), openid("c"));
    phone.say("hello").await;
    await_last(&first, &customer, "hello").await;
    first.say(&customer, "good day").await.unwrap();
    await_shown(&phone, "good day").await;
    first.say(&customer, "/close").await.unwrap();
    await_notice(&first, &customer, "Closed").await;
    phone.say("one more thing").await;
    await_last(&second, &customer, "one more thing").await;
    await_notice(&second, &customer, "Last served by user1").await;
    await_notice(&first, &customer, "This is user2's conversation from now on.").await;
    world.finish().await;
}

const ONLINE_STATUS: &str = "openim/query_online_status";

/// Waits until IM has been asked more than `before` times who is there.
async fn asked_after(world: &World, before: u64) {
    let asked = eventually(SOON, async || world.im.ledger().call_count(ONLINE_STATUS) > before).await;
    assert!(asked, "IM was not asked");
}

/// Lets time pass until IM is asked again.
async fn ask_again(world: &World) {
    let before = world.im.ledger().call_count(ONLINE_STATUS);
    world.clock.advance(31_000);
    asked_after(world, before).await;
}

#[tokio::test]
async fn customers_go_to_agents_who_are_signed_in_or_reachable_by_push() {
    let mut world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let began = world.clock.now();
    let [first, second] = agents(&world);
    asked_after(&world, 0).await;
    first.sign_out().await.unwrap();
    let phone = world.follower("d");
    phone.say("hello").await;
    await_last(&second, &openid("d"), "hello").await;
    second.say(&openid("d"), "good day").await.unwrap();
    await_shown(&phone, "good day").await;

    // It is the second agent's customer, who is away now.
    first.sign_in().await.unwrap();
    second.sign_out().await.unwrap();
    world.restart().await;
    world.clock.advance(PAUSE_MS);
    asked_after(&world, 1).await;
    phone.say("me again").await;
    await_last(&first, &openid("d"), "me again").await;
    await_notice(&first, &openid("d"), "Last served by user2").await;
    await_notice(&second, &openid("d"), "This is user1's conversation from now on.").await;

    // Without callbacks the next question tells. A phone is reachable by push.
    world.im.change(|settings| settings.webhooks.state_change = false);
    second.sign_in().await;
    second.clone().on_phone().close().await;
    first.sign_out().await;
    ask_again(&world).await;
    for name in ["e", "f"] {
        world.follower(name).say("hello").await;
        await_last(&second, &openid(name), "hello").await;
    }
    let elapsed_s = world.clock.now().since(began) / 1_000;
    let asked = world.im.ledger().call_count(ONLINE_STATUS);
    assert!(i64::try_from(asked).unwrap() <= 1 + elapsed_s / 30, "{asked} times in {elapsed_s} s");
    world.finish().await;
}

#[tokio::test]
async fn a_fault_of_im_stops_no_assignment_and_what_is_not_known_counts_as_present() {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    let [first, second] = agents(&world);
    asked_after(&world, 0).await;
    first.sign_out().await.unwrap();
    second.sign_out().await.unwrap();
    second.sign_in().await.unwrap();
    world.im.faults().script(ONLINE_STATUS, 100, Fault::Code(60008));
    ask_again(&world).await;
    world.follower("g").say("hello").await;
    await_last(&second, &openid("g"), "hello").await;
    for _ in 0..3 {
        ask_again(&world).await;
    }
    world.follower("h").say("hello").await;
    await_last(&first, &openid("h"), "hello").await;
    world.im.faults().clear();
    ask_again(&world).await;
    let of_im = async || world.ready().await["im"]["ok"] == true;
    assert!(eventually(SOON, of_im).await, "{}", world.ready().await);
    world.finish().await;
}

#[tokio::test]
async fn one_agent_is_never_asked_for() {
    let world = World::start().await;
    let agent = world.agent();
    agent.sign_out().await.unwrap();
    world.follower("i").say("hello").await;
    agent.sign_in().await.unwrap();
    await_last(&agent, &openid("i"), "hello").await;
    assert_eq!(world.im.ledger().call_count(ONLINE_STATUS), 0);
    world.finish().await;
}
