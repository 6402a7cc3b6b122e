//! The bridge is killed with messages in flight and continues where it stopped.

use std::time::Duration;

use tokio::time::Instant;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, expect_in_time, millis, restart_failed, values};
use crate::sandbox::conditions::{Checked, expect};
use crate::sandbox::fault::Fault;

/// The contract: after a kill, the bridge works again within this time.
const RESTART_LIMIT: Duration = Duration::from_secs(2);
/// Long enough that a send to IM is in flight when the bridge is killed.
const IN_FLIGHT_DELAY: Duration = Duration::from_secs(30);
/// After this many refusals the backoff before the next attempt is mostly seconds long ...
const MIN_REFUSALS: usize = 4;
/// ... and within this time, even on a slow disk, the bridge has stored that the last attempt
/// failed.
const QUIET_PERIOD: Duration = Duration::from_millis(300);
/// How long the bridge may take after its restart to deliver everything.
const DELIVERY_LIMIT: Duration = Duration::from_secs(40);
const MESSAGES: usize = 3;

/// `kill -9` with questions and answers in flight, then a start on the same store: each arrives
/// once, in order.
pub(super) async fn bridge_killed(scene: &Scene) -> DrillResult {
    let (wechat, im) = (&scene.session.stage.wechat, &scene.session.stage.im);
    let desk = scene.open_conversation().await?;
    let questions: Vec<_> = (1..=MESSAGES).map(|n| scene.marked_text(&format!("Question {n}"))).collect();
    let answers: Vec<_> = (1..=MESSAGES).map(|n| scene.marked_text(&format!("Answer {n}"))).collect();
    let last = scene.marked_text("Still there?");

    // Answers wait because WeChat is busy. IM has one question and has not answered yet.
    let refusals_before = scene.count_refusals(-1);
    wechat.faults().script("message/custom/send", u32::MAX, Fault::Code(-1));
    im.faults().script("openim/sendmsg", 1, Fault::Delay(IN_FLIGHT_DELAY));
    for question in &questions {
        scene.say(&scene.customer, question).await?;
    }
    for answer in &answers {
        scene.answer(&desk, answer).await?;
    }
    scene.await_arrival(&questions[0], DEADLINE).await?;
    wait_between_attempts(scene, refusals_before).await?;

    let killed = async {
        let began = Instant::now();
        let started = scene.session.child.kill().await;
        started.map(|ready_after| (ready_after, began.elapsed())).map_err(|failed| restart_failed(&failed))
    };
    let (killed, pushed) = tokio::join!(killed, scene.customer.say(&last));
    let (ready_after, downtime) = killed?;
    wechat.faults().clear();
    im.faults().clear();
    expect_in_time(&pushed)?;

    for question in questions.iter().chain([&last]) {
        scene.await_arrival(question, DELIVERY_LIMIT).await?;
    }
    for answer in &answers {
        scene.await_on_screen(answer, DELIVERY_LIMIT).await?;
    }
    for question in questions.iter().chain([&last]) {
        scene.expect_once_at_agent(question)?;
    }
    for answer in &answers {
        scene.expect_once_on_screen(answer)?;
    }
    scene.expect_in_order(&answers)?;
    expect(ready_after <= RESTART_LIMIT, "the bridge to be ready within 2 s", || format!("{ready_after:?}"))?;
    Ok(values([
        ("ready_ms", millis(ready_after)),
        ("away_ms", millis(downtime)),
        ("questions", (MESSAGES + 1).into()),
        ("answers", MESSAGES.into()),
        ("pushes", pushed.attempts.len().into()),
    ]))
}

/// Waits until an answer has just been refused and no answer is being sent. A kill during a send
/// would leave its outcome unknown, and the bridge would rightly not repeat it.
async fn wait_between_attempts(scene: &Scene, before: usize) -> Checked {
    let mut refusals = before + MIN_REFUSALS - 1;
    loop {
        scene.await_refusal(-1, refusals).await?;
        refusals = scene.count_refusals(-1);
        tokio::time::sleep(QUIET_PERIOD).await;
        if scene.count_refusals(-1) == refusals {
            return Ok(());
        }
    }
}
