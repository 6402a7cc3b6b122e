//! Killed between every two steps, both ways: the fail points, one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use wechat_im_bridge::sandbox::fault::Fault;
use wechat_im_bridge::sandbox::im::{AgentClient, Direction, ImSim};
use wechat_im_bridge::sandbox::wechat::Phone;

use super::rig::{BACK, Rig, SETTLED};
use super::verdict::{Promised, judge};
use crate::world::openid;

pub(super) const CUSTOMER: &str = "anna";
/// Conversations begun at once; the rigs have their own limit.
const AT_ONCE: usize = 4;
/// How often a callback comes at most.
const TRIES: u32 = 300;
/// Texts before the crash at most, and after it.
const BEFORE: u32 = 60;
const AFTER: u32 = 2;

/// Writes until the bridge has crashed and is back, and then a little more.
async fn write<F: Future<Output = bool>>(
    back: Arc<AtomicBool>,
    what: &str,
    mut say: impl FnMut(String) -> F,
) -> Vec<(String, bool)> {
    let mut written = Vec::new();
    let mut after = 0;
    for n in 1..=BEFORE + AFTER {
        let text = format!("{what} {n}");
        let accepted = say(text.clone()).await;
        written.push((text, accepted));
        if !accepted {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        after += u32::from(back.load(Ordering::Relaxed));
        if after > AFTER {
            break;
        }
    }
    written
}

fn asking(phone: Phone) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
    move |text| {
        let phone = phone.clone();
        Box::pin(async move { !phone.say(&text).await.fault_line })
    }
}

/// A callback that is not answered comes again, as IM's console can be set to.
pub(super) fn answering(
    agent: AgentClient,
    im: Arc<ImSim>,
) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
    move |text| {
        let (agent, im) = (agent.clone(), Arc::clone(&im));
        Box::pin(async move {
            let sent = agent.say(&openid(CUSTOMER), &text).await.unwrap();
            let mut callback = sent.callback.clone();
            for _ in 0..TRIES {
                if callback.as_ref().is_some_and(|callback| callback.error.is_none()) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
                callback = im.repeat(&sent).await;
            }
            false
        })
    }
}

/// Lets the bridge crash at each of `points` in turn and brings it back each time; checks the time that takes.
async fn crash(rig: &mut Rig, points: &[&str], back: &AtomicBool) {
    rig.spawn(Some(points[0]));
    for (at, point) in points.iter().enumerate() {
        let status = rig.ended().await;
        assert!(!status.success() && status.code().is_none(), "{point}: {status}\n{}", rig.log());
        let mut calls = rig.im.events();
        let started = Instant::now();
        rig.spawn(points.get(at + 1).copied());
        let first = tokio::spawn(async move {
            while let Ok(exchange) = calls.recv().await {
                if exchange.direction == Direction::Received {
                    return Some(started.elapsed());
                }
            }
            None
        });
        if points.get(at + 1).is_none() {
            rig.ready().await;
            let ready = started.elapsed();
            back.store(true, Ordering::Relaxed);
            let first = tokio::time::timeout(SETTLED, first).await.ok().and_then(Result::ok).flatten();
            println!("{points:?}: ready after {ready:?}, the first call of IM after {first:?}");
            assert!(ready <= BACK, "{points:?}: ready only after {ready:?}");
            assert!(first.is_some_and(|first| first <= BACK), "{points:?}: {first:?}");
        }
    }
}

/// Invariants 1 to 5 and 7 towards IM.
async fn towards_im(points: Vec<&str>) {
    let mut rig = Rig::new().await;
    let (phone, _agent) = (rig.follower(CUSTOMER), rig.agent());
    if points[0].starts_with("outbox.found") {
        rig.im.faults().script("openim/sendmsg", 1, Fault::DropAfter);
    }
    let back = Arc::new(AtomicBool::new(false));
    let asked = tokio::spawn({
        let back = Arc::clone(&back);
        async move { write(back, "question", asking(phone)).await }
    });
    crash(&mut rig, &points, &back).await;
    let promised = Promised { asked: asked.await.unwrap(), answered: Vec::new() };
    let stored = rig.stored().await;
    judge(&rig, CUSTOMER, &promised, &stored);
    let delivered = stored.questions.get("delivered").copied().unwrap_or_default() as usize;
    assert_eq!(
        delivered,
        stored.questions.values().map(|count| *count as usize).sum::<usize>(),
        "{points:?}"
    );
}

/// Invariants 1 to 3 and 5 to 7 towards WeChat.
async fn towards_wechat(points: Vec<&str>) {
    let mut rig = Rig::new().await;
    rig.wechat.change(|settings| settings.quota_messages = 1000).unwrap();
    rig.set("BRIDGE_WECHAT__QUOTA_MESSAGES", "1000");
    let (phone, agent, im) = (rig.follower(CUSTOMER), rig.agent(), Arc::clone(&rig.im));
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.quiet().await;
    rig.kill();

    let back = Arc::new(AtomicBool::new(false));
    // Someone asks too, so that there is always work for IM.
    let (asked, answered) = (
        tokio::spawn({
            let back = Arc::clone(&back);
            async move {
                while !back.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                !phone.say("are you there?").await.fault_line
            }
        }),
        tokio::spawn({
            let back = Arc::clone(&back);
            async move { write(back, "answer", answering(agent, im)).await }
        }),
    );
    crash(&mut rig, &points, &back).await;
    let mut promised =
        Promised { asked: vec![("hello".to_owned(), true)], answered: answered.await.unwrap() };
    promised.asked.push(("are you there?".to_owned(), asked.await.unwrap()));
    let stored = rig.stored().await;
    judge(&rig, CUSTOMER, &promised, &stored);
    // An attempt that was recorded and not settled is unknown; elsewhere the crash may have met one by chance.
    let least =
        usize::from(points[0].starts_with("outbox.recorded") || points[0].starts_with("outbox.called"));
    assert!((least..=1).contains(&stored.count("unknown")), "{points:?}: {stored:?}");
}

/// Invariants 1 to 3, 5 and 6 of answers that ride on a passive reply.
async fn on_a_reply(point: &str, state: &str) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_WECHAT__REPLY", "passive");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.quiet().await;
    let mut answer = answering(agent, Arc::clone(&rig.im));
    let mut promised = Promised { asked: vec![("hello".to_owned(), true)], answered: Vec::new() };
    for text in ["first", "second"] {
        promised.answered.push((text.to_owned(), answer(text.to_owned()).await));
    }
    rig.quiet().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.listening().await;
    let asking = tokio::spawn({
        let phone = phone.clone();
        async move { !phone.say("and?").await.fault_line }
    });
    let status = rig.ended().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    promised.asked.push(("and?".to_owned(), asking.await.unwrap()));
    promised.answered.push(("third".to_owned(), answer("third".to_owned()).await));
    rig.quiet().await;
    promised.asked.push(("still there?".to_owned(), !phone.say("still there?").await.fault_line));
    let stored = rig.stored().await;
    judge(&rig, CUSTOMER, &promised, &stored);
    for text in ["first", "second"] {
        assert_eq!(stored.state(text), state, "{point}: {stored:?}\n{}", rig.log());
    }
    assert_eq!(stored.state("third"), "delivered", "{point}: {stored:?}");
}

pub(super) async fn each<P, F: Future<Output = ()>>(
    points: impl IntoIterator<Item = P>,
    run: impl FnMut(P) -> F,
) {
    stream::iter(points).map(run).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Invariants 1, 2, 3, 4, 5, 7: a push is answered when it is on disk, and reaches IM once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_towards_im_nothing_is_lost_doubled_or_reordered() {
    let steps = [
        "push.received:1",
        "push.received:3",
        "store.commit:4",
        "store.commit:4:300",
        "store.committed:4",
        "push.committed:1",
        "push.committed:3",
        "answer.written:1",
        "answer.written:3",
        "import.called:1",
        "import.recorded:1",
        "outbox.recorded:1",
        "outbox.recorded:3",
        "outbox.called:1",
        "outbox.called:3",
        "outbox.found:1",
        "outbox.settled:1",
        "outbox.settled:3",
    ];
    let twice = [
        vec!["outbox.called:2", "outbox.found:1"],
        vec!["outbox.recorded:1", "outbox.recorded:1", "outbox.called:1"],
    ];
    each(steps.iter().map(|step| vec![*step]).chain(twice), towards_im).await;
}

/// Invariants 1, 2, 3, 5, 6, 7: a callback is answered when it is on disk, and is never sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_towards_wechat_nothing_is_lost_doubled_or_reordered() {
    let steps = [
        "callback.received:1",
        "callback.received:3",
        "store.commit:5",
        "store.commit:3:300",
        "store.committed:5",
        "callback.committed:1",
        "callback.committed:3",
        "answer.written:2",
        "outbox.recorded:1",
        "outbox.recorded:3",
        "outbox.called:1",
        "outbox.called:3",
        "outbox.settled:1",
        "outbox.settled:3",
    ];
    let twice = [vec!["outbox.called:2", "outbox.found:1"], vec!["outbox.recorded:2", "outbox.found:1"]];
    each(steps.iter().map(|step| vec![*step]).chain(twice), towards_wechat).await;
}

/// Invariants 1, 2, 5, 6: what rides on a reply is delivered by the repeat, or unknown where nobody can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_a_passive_reply_nothing_is_doubled() {
    let steps = [
        ("push.received:1", "delivered"),
        ("push.committed:1", "delivered"),
        ("answer.written:1", "unknown"),
        ("reply.written:1", "unknown"),
        ("reply.settled:1", "delivered"),
    ];
    each(steps, |(point, state)| on_a_reply(point, state)).await;
}

/// Invariants 1 to 7 at every commit of a conversation's first seconds, before and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_commit_nothing_is_lost_doubled_or_reordered() {
    let points: Vec<String> = (1..=9)
        .flat_map(|nth| [format!("store.commit:{nth}:100"), format!("store.committed:{nth}")])
        .collect();
    each(points.iter().step_by(3), |point| towards_wechat(vec![point.as_str()])).await;
    each(points.iter(), |point| towards_im(vec![point.as_str()])).await;
}

#[test]
fn the_binary_under_test_has_fail_points() {
    assert!(fail::has_failpoints());
}
