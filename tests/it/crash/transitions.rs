//! Kills the bridge during a transfer to another agent, during a backfill, and while answers are held and
//! released.

use wechat_im_bridge::internals::sandbox::im::SendRecord;

use super::fail_points::{CUSTOMER, answering, run_each};
use super::oracle::{Conversation, check_conversation};
use super::rig::{Rig, TIMEOUT};
use crate::world::{INQUIRY, eventually, openid, texts};

/// The texts that the new agent sees in the conversation, in order.
fn texts_of_new_agent(rig: &Rig) -> Vec<String> {
    texts(&rig.im.agent("user2").unwrap(), &openid(CUSTOMER))
}

/// Invariants 1 to 5: the new agent sees each message once and in order, although the bridge dies at `point`.
async fn kill_during_transfer(point: &str) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_IM__AGENTS", "user1,user2");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.im.agent("user2").unwrap();
    rig.start().await;
    let mut answer = answering(agent.clone());
    for text in ["one", "two"] {
        assert!(!phone.say(text).await.fault_line);
    }
    rig.wait_until_idle().await;
    assert!(answer("good day".to_owned()).await);
    rig.wait_until_idle().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.wait_until_listening_or_ended().await;
    let transfer = tokio::spawn(async move { answer("/to user2".to_owned()).await });
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    // If the callback was lost, the backfill finds the command.
    transfer.await.unwrap();
    let is_transferred = eventually(2 * TIMEOUT, async || {
        let sql = "SELECT agent = 'user2' FROM conversation";
        rig.database().try_value::<i64>(sql, &[]) == Ok(1)
    });
    assert!(is_transferred.await, "{point}: the command was lost\n{}", rig.log());
    assert!(!phone.say("three").await.fault_line);
    rig.wait_until_idle().await;
    let assignment = "[bridge] This conversation is now yours (assigned by user1).";
    let expected = [
        format!("{INQUIRY}one"),
        format!("{INQUIRY}two"),
        "[bridge] user1: good day".to_owned(),
        assignment.to_owned(),
        format!("{INQUIRY}three"),
    ];
    assert_eq!(texts_of_new_agent(&rig), expected, "{point}\n{}", rig.log());
    let repeated: Vec<String> = rig.im.ledger().repeated_deliveries().map(SendRecord::text).collect();
    assert!(repeated.is_empty(), "{point}: {repeated:?}");
    let notices = texts(&agent, &openid(CUSTOMER)).into_iter().filter(|text| text.starts_with("[bridge] "));
    assert_eq!(notices.count(), 1, "{point}: the old agent gets one notice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_a_transfer_loses_doubles_and_reorders_no_message() {
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
    run_each(steps, kill_during_transfer).await;
}

/// Invariants 1, 2, 3, 5 and 6, for agents' messages that the bridge reads from the history.
async fn kill_during_backfill(point: &str) {
    let mut rig = Rig::new().await;
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    rig.kill();

    let mut conversation = Conversation { questions: vec![("hello".to_owned(), true)], answers: Vec::new() };
    for text in ["first", "second"] {
        let sent = agent.say(&openid(CUSTOMER), text).await.unwrap();
        assert!(sent.callback.is_none_or(|callback| callback.error.is_some()));
        conversation.answers.push((text.to_owned(), true));
    }
    rig.spawn(Some(point));
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    let backfilled = eventually(TIMEOUT, async || {
        rig.database().try_value::<i64>("SELECT count(*) FROM message WHERE direction = 1", &[]) == Ok(2)
    });
    assert!(backfilled.await, "{point}: the backfill did not find both messages\n{}", rig.log());
    let stored = rig.stop_and_read_store().await;
    check_conversation(&rig, CUSTOMER, &conversation, &stored);
    assert!(stored.count("unknown") <= 1 && stored.count("held") == 0, "{point}: {stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_a_backfill_loses_doubles_and_reorders_no_message() {
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
    run_each(steps, kill_during_backfill).await;
}

/// Invariants 1, 2, 3, 5 and 6, for answers that are held, released and then pushed. `during_hold` lets the
/// bridge die while it holds the answers, otherwise while it releases them.
async fn kill_during_hold_or_release(point: &str, during_hold: bool) {
    let mut rig = Rig::new().await;
    rig.wechat.change(|settings| settings.quota_messages = 1).unwrap();
    rig.set("BRIDGE_WECHAT__QUOTA_MESSAGES", "1");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    let mut answer = answering(agent);
    let mut conversation = Conversation { questions: vec![("hello".to_owned(), true)], answers: Vec::new() };
    conversation.answers.push(("first".to_owned(), answer("first".to_owned()).await));
    rig.wait_until_idle().await;
    let mut later = vec!["second".to_owned(), "third".to_owned()];
    if !during_hold {
        for text in later.drain(..) {
            conversation.answers.push((text.clone(), answer(text).await));
        }
        rig.wait_until_idle().await;
    }
    rig.kill();

    rig.spawn(Some(point));
    rig.wait_until_listening_or_ended().await;
    let answers = tokio::spawn({
        let phone = phone.clone();
        async move {
            let mut answers = Vec::new();
            for text in later {
                answers.push((text.clone(), answer(text).await));
            }
            if !during_hold {
                // The reply to a follow event is the welcome, so the held answers can only be pushed.
                phone.follow().await;
            }
            answers
        }
    });
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    conversation.answers.extend(answers.await.unwrap());
    rig.wait_until_answers_are_stored(3).await;
    rig.wait_until_idle().await;
    if during_hold {
        phone.follow().await;
        rig.wait_until_idle().await;
    }
    conversation.questions.push(("still there?".to_owned(), !phone.say("still there?").await.fault_line));
    let stored = rig.stop_and_read_store().await;
    check_conversation(&rig, CUSTOMER, &conversation, &stored);
    let ended = stored.count("delivered") + stored.count("unknown");
    assert_eq!((ended, stored.count("held")), (3, 0), "{point}: {stored:?}\n{}", rig.log());
    assert!(stored.count("unknown") <= 1, "{point}: {stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_holding_or_releasing_loses_doubles_and_reorders_no_message() {
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
    run_each(all, |(point, during_hold)| kill_during_hold_or_release(point, during_hold)).await;
}
