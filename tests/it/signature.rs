//! What the customer sees of the agent who answers.

use wechat_im_bridge::internals::sandbox::wechat::WechatSim;

use crate::observe::{CUSTOM_SEND, await_notice, await_sends, await_states, greeted};
use crate::world::{Setup, World, await_shown, await_texts, openid};

/// The accounts of customer service under which the customer got texts, in order.
fn accounts(wechat: &WechatSim, customer: &str) -> Vec<String> {
    let ledger = wechat.ledger();
    let sends = ledger.sends.iter().filter(|send| send.openid == customer);
    sends.map(|send| send.kf_account.clone()).collect()
}

async fn world_of_two(setup: Setup) -> World {
    let world = setup.set("BRIDGE_IM__AGENTS", "user1,user2").start().await;
    world.im.agent("user2").unwrap();
    world
}

#[tokio::test]
async fn the_first_answer_of_each_agent_in_a_conversation_is_signed() {
    let setup = Setup::default()
        .set("BRIDGE_DESK__SIGNATURE", "true")
        .set("BRIDGE_DESK__NAMES", "user1=Anna")
        .set("BRIDGE_DESK__RATING", "false");
    let world = world_of_two(setup).await;
    let (phone, customer) = (greeted(&world, "a").await, openid("a"));
    let [anna, second] = ["user1", "user2"].map(|agent| world.im.agent(agent).unwrap());
    for (agent, words) in
        [(&anna, "Hello."), (&anna, "How can I help?"), (&second, "Me too."), (&anna, "Yes.")]
    {
        agent.say(&customer, words).await.unwrap();
    }
    await_states(&world, &customer, &["delivered"; 4]).await;
    let mut shown = await_sends(&world, &customer, 4).await;
    assert_eq!(shown, ["Anna: Hello.", "How can I help?", "user2: Me too.", "Yes."]);

    anna.say(&customer, "/close").await.unwrap();
    await_notice(&anna, &customer, "Closed.").await;
    phone.say("one more thing").await;
    await_texts(&anna, &customer, 3).await;
    anna.say(&customer, &"x".repeat(2_000)).await.unwrap();
    shown = await_sends(&world, &customer, 6).await;
    assert_eq!(shown[4], format!("Anna: {}", "x".repeat(1_994)));
    assert_eq!(shown[5], "xxxxxx");
    world.finish().await;
}

#[tokio::test]
async fn customers_see_an_agents_account_and_one_that_wechat_does_not_take_is_left_out() {
    let setup = Setup::default()
        .wechat(|wechat| wechat.kf_accounts = vec!["anna@shop".to_owned()])
        .set("BRIDGE_DESK__KF_ACCOUNTS", "user1=anna@shop,user2=ben@shop")
        .set("BRIDGE_DESK__SIGNATURE", "true");
    let world = world_of_two(setup).await;
    let (phone, customer) = (greeted(&world, "b").await, openid("b"));
    let [anna, ben] = ["user1", "user2"].map(|agent| world.im.agent(agent).unwrap());
    anna.say(&customer, "Hello.").await.unwrap();
    await_shown(&phone, "Hello.").await;
    let mut events = world.wechat.events();
    for words in ["I am Ben.", "Really."] {
        ben.say(&customer, words).await.unwrap();
        await_shown(&phone, words).await;
    }
    await_states(&world, &customer, &["delivered"; 3]).await;
    assert_eq!(accounts(&world.wechat, &customer), ["anna@shop", "", ""]);
    assert_eq!(crate::observe::calls(&mut events, CUSTOM_SEND), 3, "the account is refused once");
    world.clock.advance(3_600_000);
    world.wechat.change(|wechat| wechat.kf_accounts.push("ben@shop".to_owned())).unwrap();
    ben.say(&customer, "Now with a name.").await.unwrap();
    await_shown(&phone, "Now with a name.").await;
    assert_eq!(accounts(&world.wechat, &customer)[3], "ben@shop");
    world.finish().await;
}
