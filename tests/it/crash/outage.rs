//! The network between bridge and platforms fails: accepted messages still arrive once and in order.

use std::time::{Duration, Instant};

use wechat_im_bridge::internals::sandbox::im::SendRecord;

use super::oracle::{Conversation, check_conversation};
use super::proxy::{Failure, Proxy};
use super::rig::{Rig, TIMEOUT};
use crate::world::{is_first_line, openid};

async fn say_all(rig: &Rig, customer: &str, texts: &[String]) -> Conversation {
    let phone = rig.follower(customer);
    let mut conversation = Conversation::default();
    for text in texts {
        conversation.questions.push((text.clone(), !phone.say(text).await.fault_line));
    }
    conversation
}

async fn answer_all(rig: &Rig, customer: &str, texts: &[String], conversation: &mut Conversation) {
    let agent = rig.agent();
    for text in texts {
        let sent = agent.say(&openid(customer), text).await.unwrap();
        conversation
            .answers
            .push((text.clone(), sent.callback.is_some_and(|callback| callback.error.is_none())));
    }
}

/// Invariants 3, 4, 5 and 6: each failure affects the second of three messages, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_network_failure_loses_doubles_or_reorders_a_message() {
    let mut rig = Rig::new().await;
    let (im, wechat) = (Proxy::start(&rig.im.base_url()).await, Proxy::start(rig.wechat.base_url()).await);
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    rig.set("BRIDGE_WECHAT__API_BASE", wechat.base_url());
    rig.start().await;
    let texts = |prefix: &str, failure: Failure| [1, 2, 3].map(|n| format!("{prefix} {n} with {failure:?}"));
    let mut conversations = Vec::new();
    for failure in Failure::ALL {
        let (customer, questions) = (format!("{failure:?}"), texts("question", failure));
        im.fail_request(&questions[1], failure);
        let conversation = say_all(&rig, &customer, &questions).await;
        conversations.push((customer, failure, conversation));
    }
    rig.wait_until_idle().await;
    for (customer, failure, conversation) in &mut conversations {
        let answers = texts("answer", *failure);
        wechat.fail_request(&answers[1], *failure);
        answer_all(&rig, customer, &answers, conversation).await;
    }
    let stored = rig.stop_and_read_store().await;
    for (customer, failure, conversation) in &conversations {
        assert!(conversation.questions.iter().chain(&conversation.answers).all(|(_, accepted)| *accepted));
        check_conversation(&rig, customer, conversation, &stored);
        let states = texts("answer", *failure).map(|text| stored.state(&text));
        let readable = matches!(failure, Failure::Drip | Failure::Twice);
        let second = if readable { "delivered" } else { "unknown" };
        assert_eq!(states, ["delivered", second, "delivered"], "{failure:?}");
    }
}

/// Invariants 3 and 6: the bridge accepts pushes during the outage, and delivers all messages in order within
/// seconds after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_im_gets_all_messages_in_order_within_seconds() {
    let mut rig = Rig::new().await;
    let mut im = Proxy::start(&rig.im.base_url()).await;
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    rig.start().await;
    let customers = ["ann", "ben", "cai"];
    let mut conversations: Vec<Conversation> = customers.iter().map(|_| Conversation::default()).collect();
    let outage = Duration::from_secs(8);
    let started = Instant::now();
    let mut n = 0;
    while started.elapsed() < outage {
        for (customer, conversation) in customers.iter().zip(&mut conversations) {
            let text = format!("{customer} {n}");
            let pushed = rig.follower(customer).say(&text).await;
            assert_eq!(pushed.attempts.len(), 1, "the first attempt of a push is accepted: {pushed:?}");
            conversation.questions.push((text, true));
        }
        if n == 2 {
            im.close().await;
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let is_message = |send: &&SendRecord| !is_first_line(&send.text());
    let arrived = || rig.im.ledger().deliveries().filter(is_message).count();
    let before = arrived();
    assert!(before <= 3 * 3, "IM got {before} messages during the outage");
    im.open().await;
    let outage_end = Instant::now();
    let all =
        rig.im.wait_for(|ledger| ledger.deliveries().filter(is_message).count() >= 3 * n, TIMEOUT).await;
    assert!(all.is_ok(), "{} of {} arrived\n{}", arrived(), 3 * n, rig.log());
    println!("{} messages of an outage arrived within {:?}", 3 * n, outage_end.elapsed());
    assert!(outage_end.elapsed() < Duration::from_secs(15), "only after {:?}", outage_end.elapsed());
    let stored = rig.stop_and_read_store().await;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        check_conversation(&rig, customer, conversation, &stored);
    }
}

/// Invariants 5 and 6: a message that was certainly not sent waits, and does not become `unknown`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_wait_while_wechat_refuses_connections() {
    let mut rig = Rig::new().await;
    let mut wechat = Proxy::start(rig.wechat.base_url()).await;
    rig.set("BRIDGE_WECHAT__API_BASE", wechat.base_url());
    rig.start().await;
    let mut conversation = say_all(&rig, "ann", &["hello".to_owned()]).await;
    rig.wait_until_idle().await;
    wechat.close().await;
    let texts = ["one", "two", "three"].map(str::to_owned);
    answer_all(&rig, "ann", &texts, &mut conversation).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.wechat.ledger().sends.len(), 0);
    wechat.open().await;
    let stored = rig.stop_and_read_store().await;
    check_conversation(&rig, "ann", &conversation, &stored);
    assert_eq!(texts.map(|text| stored.state(&text)), ["delivered"; 3]);
}
