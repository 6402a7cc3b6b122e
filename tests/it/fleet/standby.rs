//! The primary of the database is lost, and a standby that lacks its last commits takes its place.

use std::collections::HashMap;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wechat_im_bridge::internals::sandbox::im::SendRecord;
use wechat_im_bridge::internals::sandbox::wechat::Via;

use super::kills::sends_again;
use super::proxy::DatabaseProxy;
use super::rig::Fleet;
use crate::cluster::{self, Cluster};
use crate::crash::oracle::{Conversation, Stored};
use crate::crash::storm::{IM_RATE_PER_SECOND, Load};
use crate::world::{INQUIRY, TRANSFERRING, WELCOME, openid};

const CUSTOMERS: usize = 12;

/// What customers wrote in the last moments may be lost, because their pushes were answered. Nothing is shown to a customer
/// twice. Returns how many accepted pushes were lost.
fn check(fleet: &Fleet, customer: &str, conversation: &Conversation, stored: &Stored) -> usize {
    let account = openid(customer);
    let ledger = fleet.rig.im.ledger();
    let arrived: Vec<String> = ledger
        .deliveries()
        .filter(|send| send.from == account)
        .map(SendRecord::text)
        .filter(|text| !text.starts_with("[bridge] "))
        .collect();
    let questions: HashMap<String, usize> = conversation
        .questions
        .iter()
        .enumerate()
        .map(|(index, (text, _))| (format!("{INQUIRY}{text}"), index))
        .collect();
    let indexes: Vec<usize> = arrived.iter().map(|text| questions[text]).collect();
    // WeChat repeats a push that is not answered, and whether it came before may be lost too.
    assert!(indexes.is_sorted(), "{customer}: out of order at IM: {indexes:?}");
    let accepted: Vec<usize> = conversation
        .questions
        .iter()
        .enumerate()
        .filter(|(_, (_, accepted))| *accepted)
        .map(|(index, _)| index)
        .collect();
    // One whose answer was lost on the way may have arrived.
    assert!(indexes.last() >= accepted.last(), "{customer}: what is written later arrives\n{}", fleet.logs());

    let mut shown: HashMap<String, usize> = HashMap::new();
    for entry in fleet.rig.wechat.customer(&account).screen() {
        let is_own = entry.via != Via::Fault && entry.text != TRANSFERRING && entry.text != WELCOME;
        for line in entry.text.lines().filter(|_| is_own) {
            *shown.entry(line.to_owned()).or_default() += 1;
        }
    }
    for (text, _) in &conversation.answers {
        let count = shown.get(text).copied().unwrap_or_default();
        let agrees = match stored.state(text) {
            "delivered" => count == 1,
            "unknown" => count <= 1,
            "held" => count == 0,
            _ => false,
        };
        assert!(
            agrees,
            "{customer}: {text:?} is {} and was shown {count} times\n{}",
            stored.state(text),
            fleet.logs()
        );
    }
    accepted.iter().filter(|index| !indexes.contains(index)).count()
}

/// Invariants 3 and 5. What was lost with the primary's last commits is sent to no customer a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute, until all histories are read: `cargo test -- --ignored fleet::standby`"]
async fn a_standby_without_the_last_commits_takes_over_and_nothing_is_doubled() {
    if cluster::cluster().is_none() {
        return;
    }
    let Some(primary) = Cluster::start() else { return };
    let schema = primary.empty_schema();
    let standby = primary.start_standby();
    let Some(mut fleet) = Fleet::on_schema(schema.clone()).await else { return };
    let proxy = DatabaseProxy::start(schema.socket()).await;
    fleet.rig.set("BRIDGE_IM__RATE_PER_SECOND", IM_RATE_PER_SECOND.to_string());
    fleet.rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    for number in 0..fleet.instances.len() {
        fleet.set_database(number, schema.url_at(proxy.port()));
    }
    let mut fleet = fleet.with_instances().await;
    let customers: Vec<String> = (0..CUSTOMERS).map(|n| format!("c{n}")).collect();
    let load = Load::start_calm(&fleet.rig, &customers, &mut StdRng::seed_from_u64(1));
    let everybody = || customers.iter().map(|customer| openid(customer)).collect();
    sends_again(&fleet, everybody(), Instant::now()).await;
    sends_again(&fleet, everybody(), Instant::now()).await;

    let standby = tokio::task::spawn_blocking(move || {
        standby.cut_off();
        standby
    });
    let standby = standby.await.unwrap();
    // All that is accepted and sent now is lost.
    let cut_off = Instant::now();
    for _ in 0..2 {
        sends_again(&fleet, everybody(), Instant::now()).await;
    }
    let lost_for = cut_off.elapsed();
    proxy.freeze(true);
    let taken_over = schema.clone();
    let (primary, standby, taken_over) = tokio::task::spawn_blocking(move || {
        primary.kill();
        standby.promote();
        let schema = standby.schema_of(&taken_over);
        (primary, standby, schema)
    })
    .await
    .unwrap();
    proxy.lead_to(taken_over.socket());
    proxy.freeze(false);
    fleet.rig.read_from(taken_over);
    let again = sends_again(&fleet, everybody(), Instant::now()).await;
    fleet.wait_until_even().await;

    let conversations = load.stop().await;
    let answers = conversations.iter().map(|conversation| conversation.answers.len()).sum();
    fleet.rig.wait_until_answers_are_stored(answers).await;
    fleet.rig.wait_until_idle().await;
    let mut failovers = 0;
    for instance in &fleet.instances {
        let metrics = wechat_im_bridge::internals::http_client::get(format!(
            "http://127.0.0.1:{}/metrics",
            instance.ops
        ))
        .await
        .unwrap();
        let metrics = metrics.text().await.unwrap();
        failovers += usize::from(metrics.lines().any(|line| line == "wechat_im_bridge_failovers_total 1"));
    }
    assert_eq!(failovers, 1, "one of them notices first");
    let says_so = |number| fleet.log_of(number).contains("another PostgreSQL server has taken the place");
    assert!((0..fleet.instances.len()).any(says_so), "{}", fleet.logs());
    let stored = fleet.stop_and_read_store().await;
    let lost: usize = customers
        .iter()
        .zip(&conversations)
        .map(|(customer, conversation)| check(&fleet, customer, conversation, &stored))
        .sum();
    println!(
        "a standby without the last {lost_for:?}: {lost} accepted pushes are lost, {} answers are unknown; IM gets messages \
         again after {:?}",
        stored.count("unknown"),
        again.iter().max()
    );
    assert!(lost > 0, "the primary has had commits that the standby has not");
    drop((primary, standby));
}
