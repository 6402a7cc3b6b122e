//! Killed while a customer changes hands, while lost callbacks are made up for, and while answers are held and released.

use std::sync::Arc;

use wechat_im_bridge::sandbox::im::SendRecord;

use super::points::{CUSTOMER, answering, each};
use super::rig::{Rig, SETTLED};
use super::verdict::{Promised, judge};
use crate::world::{INQUIRY, eventually, openid, texts};

/// What the new agent has of the conversation, in its order.
fn seen(rig: &Rig) -> Vec<String> {
    texts(&rig.im.agent("user2").unwrap(), &openid(CUSTOMER))
}

/// Invariants 1 to 5 of a transfer: whenever the bridge dies, the new agent sees everything once and in order.
async fn in_a_transfer(point: &str) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_IM__AGENTS", "user1,user2");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.im.agent("user2").unwrap();
    rig.start().await;
    let mut answer = answering(agent.clone(), Arc::clone(&rig.im));
    for said in ["one", "two"] {
        assert!(!phone.say(said).await.fault_line);
    }
    rig.quiet().await;
    assert!(answer("good day".to_owned()).await);
    rig.quiet().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.listening_or_ended().await;
    let handing_over = tokio::spawn(async move { answer("/to user2".to_owned()).await });
    let status = rig.ended().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    assert!(handing_over.await.unwrap(), "{point}: the command is taken in the end");
    assert!(!phone.say("three").await.fault_line);
    rig.quiet().await;
    let told = "[bridge] This conversation is now yours (assigned by user1).";
    let expected = [
        format!("{INQUIRY}one"),
        format!("{INQUIRY}two"),
        "[bridge] user1: good day".to_owned(),
        told.to_owned(),
        format!("{INQUIRY}three"),
    ];
    assert_eq!(seen(&rig), expected, "{point}\n{}", rig.log());
    let again: Vec<String> = rig.im.ledger().repeated_deliveries().map(SendRecord::text).collect();
    assert!(again.is_empty(), "{point}: {again:?}");
    let notes = texts(&agent, &openid(CUSTOMER)).into_iter().filter(|text| text.starts_with("[bridge] "));
    assert_eq!(notes.count(), 1, "{point}: the old agent is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_a_transfer_nothing_is_lost_doubled_or_reordered() {
    let steps = [
        "callback.received:1",
        "store.commit:1",
        "store.commit:2",
        "store.committed:2",
        "store.commit:3",
        "store.committed:3",
        "callback.committed:1",
        "answer.written:1",
        "outbox.recorded:1",
        "outbox.called:1",
        "outbox.settled:1",
        "outbox.recorded:3",
        "outbox.called:3",
        "outbox.settled:3",
        "outbox.called:4",
        "outbox.settled:4",
        "outbox.called:5",
        "outbox.settled:5",
    ];
    each(steps, in_a_transfer).await;
}

/// Invariants 1, 2, 3, 5 and 6 of what is found in the history.
async fn in_a_recovery(point: &str) {
    let mut rig = Rig::new().await;
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.quiet().await;
    rig.kill();

    let mut promised = Promised { asked: vec![("hello".to_owned(), true)], answered: Vec::new() };
    for text in ["first", "second"] {
        let sent = agent.say(&openid(CUSTOMER), text).await.unwrap();
        assert!(sent.callback.is_none_or(|callback| callback.error.is_some()));
        promised.answered.push((text.to_owned(), true));
    }
    rig.spawn(Some(point));
    let status = rig.ended().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    let moved = eventually(SETTLED, async || {
        let rows = rusqlite::Connection::open(rig.store()).unwrap();
        let count = rows.query_row("SELECT count(*) FROM message WHERE direction = 1", [], |row| row.get(0));
        count.is_ok_and(|count: i64| count == 2)
    });
    assert!(moved.await, "{point}: not found again\n{}", rig.log());
    let stored = rig.stored().await;
    judge(&rig, CUSTOMER, &promised, &stored);
    assert!(stored.count("unknown") <= 1 && stored.count("held") == 0, "{point}: {stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_a_recovery_nothing_is_lost_doubled_or_reordered() {
    let steps = [
        "backfill.read:1",
        "store.commit:1",
        "store.committed:1",
        "backfill.moved:1",
        "backfill.moved:2",
        "backfill.recorded:1",
        "outbox.recorded:1",
        "outbox.called:1",
        "outbox.settled:2",
    ];
    each(steps, in_a_recovery).await;
}

/// Invariants 1, 2, 3, 5 and 6 of answers that are held, and released to be pushed.
async fn on_release(point: &str, is_holding: bool) {
    let mut rig = Rig::new().await;
    rig.wechat.change(|settings| settings.quota_messages = 1).unwrap();
    rig.set("BRIDGE_WECHAT__QUOTA_MESSAGES", "1");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.quiet().await;
    let mut answer = answering(agent, Arc::clone(&rig.im));
    let mut promised = Promised { asked: vec![("hello".to_owned(), true)], answered: Vec::new() };
    promised.answered.push(("first".to_owned(), answer("first".to_owned()).await));
    rig.quiet().await;
    let mut rest = vec!["second".to_owned(), "third".to_owned()];
    if !is_holding {
        for text in rest.drain(..) {
            promised.answered.push((text.clone(), answer(text).await));
        }
        rig.quiet().await;
    }
    rig.kill();

    rig.spawn(Some(point));
    rig.listening_or_ended().await;
    let acting = tokio::spawn({
        let phone = phone.clone();
        async move {
            let mut answered = Vec::new();
            for text in rest {
                answered.push((text.clone(), answer(text).await));
            }
            // The reply to a follow is the welcome, so that what is held can only be pushed.
            phone.follow().await;
            answered
        }
    });
    let status = rig.ended().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    promised.answered.extend(acting.await.unwrap());
    rig.quiet().await;
    promised.asked.push(("still there?".to_owned(), !phone.say("still there?").await.fault_line));
    let stored = rig.stored().await;
    judge(&rig, CUSTOMER, &promised, &stored);
    let ended = stored.count("delivered") + stored.count("unknown");
    assert_eq!((ended, stored.count("held")), (3, 0), "{point}: {stored:?}\n{}", rig.log());
    assert!(stored.count("unknown") <= 1, "{point}: {stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_holding_and_releasing_nothing_is_lost_doubled_or_reordered() {
    let holding = [
        "callback.committed:1",
        "store.commit:2",
        "store.committed:2",
        "store.commit:3",
        "store.committed:3",
    ];
    let releasing = [
        "push.received:1",
        "store.commit:2",
        "store.committed:2",
        "push.committed:1",
        "answer.written:1",
        "outbox.recorded:1",
        "outbox.called:2",
        "outbox.settled:2",
        "outbox.recorded:3",
        "outbox.called:3",
        "outbox.settled:3",
    ];
    let all = holding.map(|point| (point, true)).into_iter().chain(releasing.map(|point| (point, false)));
    each(all, |(point, is_holding)| on_release(point, is_holding)).await;
}
