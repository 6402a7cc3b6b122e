//! The bridge is killed with messages in flight and continues where it stopped.

use std::time::Duration;

use tokio::time::Instant;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, expect_in_time, millis, restart_failed, values};
use crate::sandbox::conditions::expect;
use crate::sandbox::fault::Fault;

/// The contract: after a kill, the bridge works again within this time.
const RESTART_LIMIT: Duration = Duration::from_secs(2);
/// Longer than the drill: calls that take this long are in flight when the bridge is killed.
const IN_FLIGHT_DELAY: Duration = Duration::from_mins(1);
/// How long the bridge may take after its restart to deliver everything.
const DELIVERY_LIMIT: Duration = Duration::from_secs(40);
/// Questions before the kill; as many answers, of which the first is a picture.
const MESSAGES: usize = 3;

/// `kill -9` with questions and answers in flight, then a start on the same store: each arrives
/// once, in order.
pub(super) async fn bridge_killed(scene: &Scene) -> DrillResult {
    let (wechat, im) = (&scene.session.stage.wechat, &scene.session.stage.im);
    let desk = scene.open_conversation().await?;
    let questions: Vec<_> = (1..=MESSAGES).map(|n| scene.marked_text(&format!("Question {n}"))).collect();
    let picture = scene.marked_picture();
    let answers: Vec<_> = (2..=MESSAGES).map(|n| scene.marked_text(&format!("Answer {n}"))).collect();
    let last = scene.marked_text("Still there?");

    // IM has the first question, and WeChat the file of the first answer; both have not answered yet, so
    // the messages behind them wait. No send to WeChat is in flight: a kill during one would leave its
    // outcome unknown, and the bridge would rightly not repeat it.
    let uploads = wechat.ledger().uploads;
    wechat.faults().script("media/upload", 1, Fault::Delay(IN_FLIGHT_DELAY));
    im.faults().script("openim/sendmsg", 1, Fault::Delay(IN_FLIGHT_DELAY));
    for question in &questions {
        scene.say(&scene.customer, question).await?;
    }
    scene.answer_with_picture(&desk, &picture).await?;
    for answer in &answers {
        scene.answer(&desk, answer).await?;
    }
    scene.await_arrival(&questions[0], DEADLINE).await?;
    let uploaded = wechat.wait_until(DEADLINE, |ledger| ledger.uploads > uploads).await;
    expect(uploaded, "the picture to be uploaded", || "no upload".to_owned())?;

    let killed = async {
        let began = Instant::now();
        let started = scene.session.bridges.kill().await;
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
    scene.await_picture(&picture, DELIVERY_LIMIT).await?;
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
    scene.expect_picture_once_before(&picture, &answers[0])?;
    expect(ready_after <= RESTART_LIMIT, "the bridge to be ready within 2 s", || format!("{ready_after:?}"))?;
    Ok(values([
        ("ready_ms", millis(ready_after)),
        ("away_ms", millis(downtime)),
        ("questions", (MESSAGES + 1).into()),
        ("answers", MESSAGES.into()),
        ("pushes", pushed.attempts.len().into()),
    ]))
}
