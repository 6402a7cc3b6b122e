//! The line on several instances: one of them serves it, and another does when that one is gone.

use wechat_im_bridge::internals::sandbox::im::AgentClient;

use super::rig::Fleet;
use crate::crash::rig::TIMEOUT;
use crate::observe::SENDMSG;
use crate::world::{INQUIRY, eventually, openid};

/// The instance that serves the line.
async fn server_of_line(fleet: &mut Fleet) -> usize {
    for number in 0..fleet.instances.len() {
        if fleet.is_running(number) && fleet.shards_of(number).await.contains(&0) {
            return number;
        }
    }
    panic!("nobody owns the first shard\n{}", fleet.logs())
}

/// The customers whose messages have reached an agent, in this order.
fn served(fleet: &Fleet) -> Vec<String> {
    let ledger = fleet.rig.im.ledger();
    let sent =
        ledger.deliveries().filter(|send| send.api == SENDMSG && send.text() == format!("{INQUIRY}hello"));
    sent.map(|send| send.from.clone()).collect()
}

async fn await_served(fleet: &Fleet, customers: &[String]) {
    let reached = eventually(TIMEOUT, async || served(fleet).len() >= customers.len()).await;
    assert!(reached, "{:?} of {customers:?}\n{}", served(fleet), fleet.logs());
    assert_eq!(served(fleet), customers, "{}", fleet.logs());
}

/// Invariants 1, 3 and 6: who waits in line is served in turn, whichever instances are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_is_served_in_turn_by_the_instances_that_are_left() {
    let Some(mut fleet) = Fleet::without_instances().await else { return };
    fleet.rig.set("BRIDGE_IM__AGENTS", "user1,user2");
    fleet.rig.set("BRIDGE_DESK__CAPACITY", "1");
    let agents: [AgentClient; 2] = ["user1", "user2"].map(|agent| fleet.rig.im.agent(agent).unwrap());
    let mut fleet = fleet.with_instances().await;
    // An instance judges nobody before.
    fleet.wait_until_server_is_old().await;
    for agent in &agents {
        agent.sign_out().await.unwrap();
    }
    let customers: Vec<String> = (0..6).map(|at| openid(&format!("c{at}"))).collect();
    let come = async |fleet: &Fleet, from: usize, until: usize| {
        for (ahead, customer) in customers.iter().enumerate().take(until).skip(from) {
            let phone = fleet.rig.wechat.customer(customer);
            phone.set_following(true);
            let answer = phone.say("hello").await;
            let place = format!("Customers ahead of you: {ahead}.");
            assert!(answer.text().is_some_and(|text| text.contains(&place)), "{answer:?}\n{}", fleet.logs());
        }
    };
    come(&fleet, 0, 5).await;
    let server = server_of_line(&mut fleet).await;
    fleet.kill(server);
    come(&fleet, 5, 6).await;
    assert!(served(&fleet).is_empty(), "nobody is there");
    agents[0].sign_in().await.unwrap();
    for (at, customer) in customers.iter().enumerate() {
        await_served(&fleet, &customers[..=at]).await;
        if at == 2 {
            fleet.wait_until_even().await;
            let server = server_of_line(&mut fleet).await;
            fleet.kill(server);
        }
        agents[0].say(customer, "/close").await.unwrap();
    }
    let sql = "SELECT count(*) FROM message WHERE state = 10";
    assert_eq!(fleet.rig.database().value::<i64>(sql, &[]), 0);
    fleet.stop_and_read_store().await;
}
