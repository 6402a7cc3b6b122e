//! Reads the results of a test: the agent's notices, the states of messages, the calls of the APIs and the
//! counters.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::model::MessageId;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;
use wechat_im_bridge::internals::sandbox::wechat::{Phone, Via, WireEvent};
use wechat_im_bridge::internals::store::{MessageFilter, MessageSummary, Store};

use crate::world::{SOON, World, await_texts, eventually, openid, texts};

/// The time within which an agent must receive a notice.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(2);
pub const CUSTOM_SEND: &str = "message/custom/send";
pub const SENDMSG: &str = "openim/sendmsg";

/// The notices that the agent has received in this customer's conversation.
pub fn notices(agent: &AgentClient, customer: &str) -> Vec<String> {
    texts(agent, customer).into_iter().filter(|text| text.starts_with("[bridge] ")).collect()
}

/// The same without those that tell how many sends are left, which share a notice with others.
pub fn notices_but_budget(agent: &AgentClient, customer: &str) -> Vec<String> {
    let is_budget = |line: &&str| {
        let line = line.strip_prefix("[bridge] ").unwrap_or(line);
        line.starts_with("2 more messages may be sent until ")
            || line.starts_with("That was the last message")
    };
    let without = notices(agent, customer).into_iter().map(|notice| {
        let lines: Vec<&str> = notice.lines().filter(|line| !is_budget(line)).collect();
        lines.join("\n")
    });
    without.filter(|notice| !notice.is_empty()).collect()
}

/// Waits until one of the agent's notices contains `part`, and returns all notices.
pub async fn await_notice(agent: &AgentClient, customer: &str, part: &str) -> Vec<String> {
    let contains_part = || notices(agent, customer).iter().any(|notice| notice.contains(part));
    let received = agent.wait_for(|_| contains_part(), NOTICE_TIMEOUT).await.is_ok();
    assert!(
        received,
        "no notice contains {part:?} within {NOTICE_TIMEOUT:?}: {:?}",
        notices(agent, customer)
    );
    notices(agent, customer)
}

/// A follower who has sent one message, so that agents may answer.
pub async fn greeted(world: &World, name: &str) -> Phone {
    let phone = world.follower(name);
    phone.say("hello").await;
    await_texts(&world.agent(), &openid(name), 1).await;
    phone
}

/// The agents' messages to this customer, read from the store.
pub async fn stored(world: &World, customer: &str) -> Vec<MessageSummary> {
    let location = world.location();
    let (store, closing) =
        tokio::task::spawn_blocking(move || Store::open_for_operator(&location, Clock::system()))
            .await
            .unwrap()
            .unwrap();
    let all =
        store.read(|tx| tx.list(&MessageFilter::all(), MessageId(0), MessageId(100_000))).await.unwrap();
    drop(store);
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    all.into_iter()
        .filter(|row| row.openid == customer && row.direction == "to_wechat" && row.kind == "message")
        .collect()
}

/// The states of the agents' messages to this customer, in the order in which the bridge accepted them.
pub async fn states(world: &World, customer: &str) -> Vec<&'static str> {
    stored(world, customer).await.into_iter().map(|row| row.state).collect()
}

/// Waits until the agents' messages to this customer have these states.
pub async fn await_states(world: &World, customer: &str, expected: &[&str]) {
    let reached = eventually(SOON, async || states(world, customer).await == expected).await;
    assert!(reached, "expected {expected:?}: {:#?}", stored(world, customer).await);
}

/// Counts the calls whose path ends with `api` among the events so far, and consumes these events.
pub fn calls(events: &mut Receiver<Arc<WireEvent>>, api: &str) -> usize {
    let mut count = 0;
    while let Ok(event) = events.try_recv() {
        count += usize::from(event.path.ends_with(api));
    }
    count
}

/// The texts on the customer's screen that arrived through this channel.
pub fn shown(phone: &Phone, via: Via) -> Vec<String> {
    phone.screen().into_iter().filter(|shown| shown.via == via).map(|shown| shown.text).collect()
}

/// Waits until WeChat has carried out `count` calls of `custom/send` for this customer, and returns their
/// texts.
pub async fn await_sends(world: &World, customer: &str, count: usize) -> Vec<String> {
    let sent = |ledger: &wechat_im_bridge::internals::sandbox::wechat::Ledger| {
        ledger.sent_texts(customer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let arrived = world.wechat.wait_until(SOON, |ledger| sent(ledger).len() >= count).await;
    let texts = sent(&world.wechat.ledger());
    assert!(arrived, "{} of {count} sends: {texts:?}", texts.len());
    texts
}

/// The faults after which the bridge cannot know whether its call was carried out.
pub fn lost_responses() -> [(&'static str, Fault); 5] {
    [
        ("connection closed before the call was carried out", Fault::DropBefore),
        ("502 Bad Gateway", Fault::BadGateway),
        ("connection closed after the call was carried out", Fault::DropAfter),
        ("a response that is no JSON", Fault::NotJson),
        ("half of a response", Fault::HalfBody),
    ]
}

/// The value of the counter with this name and these labels, as `/metrics` renders them; 0 if there is no
/// such line.
pub async fn counter_value(world: &World, sample: &str) -> u64 {
    let metrics = world.metrics().await;
    let line =
        metrics.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}
