//! What the agent was told, where messages stand, and what was called: shared by the tests of both ways.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use wechat_im_bridge::clock::Clock;
use wechat_im_bridge::model::{MessageId, State};
use wechat_im_bridge::sandbox::fault::Fault;
use wechat_im_bridge::sandbox::im::AgentClient;
use wechat_im_bridge::sandbox::wechat::{Phone, Via, WireEvent};
use wechat_im_bridge::store::{MessageSummary, Store, StoreLocation};

use crate::world::{SOON, World, await_texts, eventually, openid, texts};

/// Within this time an agent has a note.
pub const NOTED: Duration = Duration::from_secs(2);
pub const CUSTOM_SEND: &str = "message/custom/send";
pub const SENDMSG: &str = "openim/sendmsg";

/// The notes that the agent has in this customer's conversation, from the customer's account.
pub fn notes(desk: &AgentClient, customer: &str) -> Vec<String> {
    texts(desk, customer).into_iter().filter(|text| text.starts_with("[bridge] ")).collect()
}

/// Waits as long as a note may take until the notes say `word`.
pub async fn await_note(desk: &AgentClient, customer: &str, word: &str) -> Vec<String> {
    let said =
        desk.wait_for(|_| notes(desk, customer).iter().any(|note| note.contains(word)), NOTED).await.is_ok();
    assert!(said, "no note says {word:?} within {NOTED:?}: {:?}", notes(desk, customer));
    notes(desk, customer)
}

/// A follower who has written once, so that the agent may answer.
pub async fn greeted(world: &World, name: &str) -> Phone {
    let phone = world.follower(name);
    phone.say("hello").await;
    await_texts(&world.agent(), &openid(name), 1).await;
    phone
}

/// The agents' messages to this customer as the store has them.
pub async fn stored(world: &World, customer: &str) -> Vec<MessageSummary> {
    let place = StoreLocation::File(world.folder.path().join("bridge.db"));
    let (store, closing) =
        tokio::task::spawn_blocking(move || Store::open_for_operator(&place, Clock::system()))
            .await
            .unwrap()
            .unwrap();
    let all = store.read(|tx| tx.list(MessageId(0), &State::ALL, 10_000)).await.unwrap();
    drop(store);
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    all.into_iter().filter(|row| row.openid == customer && row.direction == "to_wechat").collect()
}

/// Where the agents' messages to this customer stand, in the order accepted.
pub async fn states(world: &World, customer: &str) -> Vec<&'static str> {
    stored(world, customer).await.into_iter().map(|row| row.state).collect()
}

/// Waits until the agents' messages to this customer stand so.
pub async fn await_states(world: &World, customer: &str, expected: &[&str]) {
    let reached = eventually(SOON, async || states(world, customer).await == expected).await;
    assert!(reached, "expected {expected:?}: {:#?}", stored(world, customer).await);
}

/// The calls of the API whose path ends so.
pub fn calls(events: &mut Receiver<Arc<WireEvent>>, api: &str) -> usize {
    let mut count = 0;
    while let Ok(event) = events.try_recv() {
        count += usize::from(event.path.ends_with(api));
    }
    count
}

/// The texts on the customer's screen that came this way.
pub fn shown(phone: &Phone, via: Via) -> Vec<String> {
    phone.screen().into_iter().filter(|shown| shown.via == via).map(|shown| shown.text).collect()
}

/// Waits until so many calls of `custom/send` have been carried out for this customer.
pub async fn await_sends(world: &World, customer: &str, count: usize) -> Vec<String> {
    let sent = |ledger: &wechat_im_bridge::sandbox::wechat::Ledger| {
        ledger.sent_texts(customer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let arrived = world.wechat.wait_until(SOON, |ledger| sent(ledger).len() >= count).await;
    let texts = sent(&world.wechat.ledger());
    assert!(arrived, "{} of {count} sends: {texts:?}", texts.len());
    texts
}

/// What may become of a call after it was written and before its answer was read.
pub fn losses() -> [(&'static str, Fault); 5] {
    [
        ("cut before it was carried out", Fault::DropBefore),
        ("a bad gateway", Fault::BadGateway),
        ("cut after it was carried out", Fault::DropAfter),
        ("an answer that is no JSON", Fault::NotJson),
        ("half an answer", Fault::HalfBody),
    ]
}

/// The value of a counter, by its name and labels as they are rendered; 0 while nothing was counted.
pub async fn counted(world: &World, sample: &str) -> u64 {
    let metrics = world.metrics().await;
    let line =
        metrics.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}
