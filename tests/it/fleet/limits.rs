//! What all instances share: the access token, its forced refreshes, and the rates of the platforms.

use std::time::Duration;

use tokio::time::Instant;

use wechat_im_bridge::internals::sandbox::im::Direction;

use super::rig::Fleet;
use crate::crash::rig::TIMEOUT;
use crate::observe::SENDMSG;
use crate::world::{eventually, openid};

const CUSTOMERS: usize = 12;

/// WeChat refuses the token of all instances at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_wechat_refuses_is_forced_once_for_all_instances() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let agent = fleet.rig.agent();
    let names: Vec<String> = (0..CUSTOMERS).map(|n| format!("c{n}")).collect();
    let mut phones = Vec::new();
    for name in &names {
        let phone = fleet.rig.follower(name);
        assert!(!phone.say("hello").await.fault_line);
        phones.push(phone);
    }
    fleet.rig.wait_until_idle().await;
    let answer = async |text: &str| {
        for name in &names {
            agent.say(&openid(name), text).await.unwrap();
        }
        let all = async || phones.iter().all(|phone| phone.texts().iter().any(|shown| shown == text));
        assert!(eventually(TIMEOUT, all).await, "{}", fleet.logs());
    };
    answer("before").await;
    assert_eq!(fleet.rig.wechat.ledger().tokens.stable, 1, "one has fetched it for all");
    fleet.rig.wechat.distrust_tokens();
    answer("after").await;
    assert!(fleet.rig.wechat.ledger().refusal_count(40001) > 0);
    assert_eq!(fleet.rig.wechat.ledger().tokens.forced, 1, "{}", fleet.logs());
    fleet.stop_and_read_store().await;
}

/// The instances together stay below the rate of an API while one of them goes and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_the_instances_stay_within_the_rate_of_an_api() {
    const PER_SECOND: usize = 20;
    const MESSAGES: usize = 240;
    let Some(mut fleet) = Fleet::without_instances().await else { return };
    fleet.rig.set("BRIDGE_IM__RATE_PER_SECOND", PER_SECOND.to_string());
    (0..fleet.instances.len()).for_each(|number| fleet.spawn(number, &[]));
    fleet.wait_until_even().await;
    let mut calls = fleet.rig.im.events();
    let phones: Vec<_> = (0..CUSTOMERS).map(|n| fleet.rig.follower(&format!("c{n}"))).collect();
    for n in 0..MESSAGES {
        assert!(!phones[n % phones.len()].say(&format!("question {n}")).await.fault_line);
    }
    fleet.kill(2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.spawn(2, &[]);
    fleet.rig.wait_until_idle().await;
    let mut times: Vec<Instant> = Vec::new();
    while let Ok(call) = calls.try_recv() {
        if call.direction == Direction::Received && call.path.ends_with(SENDMSG) {
            times.push(call.began);
        }
    }
    times.sort();
    assert!(times.len() >= MESSAGES);
    let in_a_second = |from: &Instant| {
        times.iter().filter(|at| **at >= *from && at.duration_since(*from) < Duration::from_secs(1)).count()
    };
    let most = times.iter().map(in_a_second).max().unwrap();
    println!("at most {most} calls in a second, with {PER_SECOND} allowed and bursts of as many");
    assert!(most <= 2 * PER_SECOND, "{most}");
    fleet.stop_and_read_store().await;
}
