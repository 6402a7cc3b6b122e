//! The access token: it is fetched as rarely as possible; and what happens while there is none.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;

use crate::observe::{CUSTOM_SEND, await_sends, await_states, greeted, notices};
use crate::world::{SOON, World, await_shown, eventually, openid};

const TOKEN: &str = "cgi-bin/stable_token";

#[tokio::test]
async fn an_expired_token_is_replaced_once_for_any_number_of_failed_sends() {
    const CUSTOMERS: usize = 50;
    let world = World::start().await;
    let agent = world.agent();
    let names: Vec<String> = (0..CUSTOMERS).map(|n| format!("e{n:02}")).collect();
    let phones = join_all(names.iter().map(|name| greeted(&world, name))).await;
    assert!(world.wechat.wait_until(SOON, |ledger| ledger.tokens.stable == 1).await);
    for (fetched, end) in [(2, "expired"), (3, "revoked")] {
        if end == "expired" {
            world.wechat.expire_tokens();
        } else {
            world.wechat.revoke_tokens();
        }
        join_all(names.iter().map(|name| async { agent.say(&openid(name), end).await.unwrap() })).await;
        for phone in &phones {
            await_shown(phone, end).await;
        }
        let tokens = world.wechat.ledger().tokens;
        assert_eq!((tokens.stable, tokens.forced), (fetched, 0), "{end}: {tokens:?}");
    }
    let ledger = world.wechat.ledger();
    assert_eq!(ledger.sends.len(), 2 * CUSTOMERS, "each arrived once");
    world.finish().await;
}

#[tokio::test]
async fn with_a_token_that_stays_invalid_messages_wait_and_readyz_says_what_to_fix() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "w").await, world.agent());
    world.wechat.faults().script(CUSTOM_SEND, 100_000, Fault::Code(40001));
    agent.say(&openid("w"), "in time").await.unwrap();
    assert!(eventually(SOON, async || world.ready().await["wechat"]["ok"] == false).await);
    assert!(eventually(SOON, async || world.ready().await["backlog"]["waiting"] == 1).await);
    let ready = world.ready().await;
    assert_eq!(ready["status"], json!("degraded"), "{ready}");
    assert!(ready["wechat"]["advice"].as_str().unwrap().contains("AppID"), "{ready}");
    assert!(ready["wechat"]["since"].is_i64(), "{ready}");
    assert_eq!(world.wechat.ledger().tokens.forced, 1, "one forced refresh, and no more");
    assert!(notices(&agent, &openid("w")).is_empty(), "a waiting message causes no notice");
    world.wechat.faults().clear();
    await_shown(&phone, "in time").await;
    assert!(eventually(SOON, async || world.ready().await["wechat"]["ok"] == true).await);
    world.finish().await;
}

#[tokio::test]
async fn an_ip_address_that_is_not_allowed_is_shown_and_causes_no_storm_of_calls() {
    let world = World::start().await;
    let agent = world.agent();
    let names: Vec<String> = (0..20).map(|n| format!("i{n:02}")).collect();
    let phones = join_all(names.iter().map(|name| greeted(&world, name))).await;
    let began = Instant::now();
    world.wechat.faults().script(TOKEN, 100_000, Fault::Code(40164));
    world.wechat.expire_tokens();
    join_all(names.iter().map(|name| async { agent.say(&openid(name), "when allowed").await.unwrap() }))
        .await;
    let shows_address = async || {
        world.ready().await["wechat"]["advice"].as_str().is_some_and(|advice| advice.contains("127.0.0.1"))
    };
    assert!(eventually(SOON, shows_address).await, "{}", world.ready().await);
    let refused = |code| world.wechat.ledger().refusal_count(code);
    assert!(eventually(SOON, async || refused(40164) >= 3).await);
    assert!(began.elapsed().as_millis() >= 2_500, "three fetches took {:?}", began.elapsed());
    assert!(refused(42001) <= 20, "nothing is sent without a token");
    world.wechat.faults().clear();
    for (phone, name) in phones.iter().zip(&names) {
        await_shown(phone, "when allowed").await;
        assert_eq!(await_sends(&world, &openid(name), 1).await.len(), 1);
    }
    world.finish().await;
}

#[tokio::test]
async fn an_ip_address_that_the_api_refuses_is_shown_too() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "j").await, world.agent());
    world.wechat.faults().script(CUSTOM_SEND, 3, Fault::Code(40164));
    agent.say(&openid("j"), "when allowed").await.unwrap();
    let advised = eventually(SOON, async || {
        world.ready().await["wechat"]["advice"]
            .as_str()
            .is_some_and(|advice| advice.contains("WeChat saw 127.0.0.1"))
    });
    assert!(advised.await, "{}", world.ready().await);
    await_shown(&phone, "when allowed").await;
    await_states(&world, &openid("j"), &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn the_token_survives_a_restart() {
    let mut world = World::start().await;
    let (phone, agent) = (greeted(&world, "s").await, world.agent());
    agent.say(&openid("s"), "before").await.unwrap();
    await_shown(&phone, "before").await;
    world.restart().await;
    agent.say(&openid("s"), "after").await.unwrap();
    await_shown(&phone, "after").await;
    assert_eq!(world.wechat.ledger().tokens.stable, 1);
    world.finish().await;
}
