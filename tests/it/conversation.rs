//! The documents' example conversation in both directions, and what comes before and after it.

use crate::world::{INQUIRY, TRANSFERRING, WELCOME, World, assert_success, await_shown, await_texts, openid};

#[tokio::test]
async fn a_question_reaches_the_agent_and_the_answer_comes_back() {
    let world = World::start().await;
    let (phone, agent) = (world.wechat.customer(&openid("anna")), world.agent());
    assert!(world.wechat.verify_url().await);

    assert_eq!(phone.follow().await.text(), Some(WELCOME));
    let pushed = phone.say("when are you getting new children clothing?").await;
    assert_eq!(pushed.text(), Some(TRANSFERRING));
    let inquiries = await_texts(&agent, &openid("anna"), 1).await;
    assert_eq!(inquiries, [format!("{INQUIRY}when are you getting new children clothing?")]);

    let answer = "We are getting new arrivals in May. Please follow our updates.";
    agent.say(&openid("anna"), answer).await.unwrap();
    await_shown(&phone, answer).await;

    assert_success(&phone.unfollow().await);
    world.finish().await;
}

#[tokio::test]
async fn an_earlier_follower_is_imported_before_the_first_message() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("bob"), world.agent());
    phone.say("hello").await;
    await_texts(&agent, &openid("bob"), 1).await;
    assert!(world.im.account(&openid("bob")).is_some());
    world.finish().await;
}

#[tokio::test]
async fn messages_of_one_customer_keep_their_order() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("cleo"), world.agent());
    for n in 0..30 {
        phone.say(&format!("message {n}")).await;
    }
    let expected: Vec<String> = (0..30).map(|n| format!("{INQUIRY}message {n}")).collect();
    assert_eq!(await_texts(&agent, &openid("cleo"), 30).await, expected);
    world.finish().await;
}

#[tokio::test]
async fn work_continues_after_a_restart() {
    let mut world = World::start().await;
    let (phone, agent) = (world.follower("dora"), world.agent());
    phone.say("before").await;
    await_texts(&agent, &openid("dora"), 1).await;
    world.restart().await;
    phone.say("after").await;
    await_texts(&agent, &openid("dora"), 2).await;
    agent.say(&openid("dora"), "still here").await.unwrap();
    await_shown(&phone, "still here").await;
    world.finish().await;
}
