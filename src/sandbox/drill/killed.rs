//! The bridge dies in the middle of everything, and goes on where it was.

use std::time::Duration;

use tokio::time::Instant;

use super::scene::{SOON, Scene, accepted, expect, lost, millis, values};
use super::{Missed, Played};
use crate::sandbox::fault::Fault;

/// The promise: after a kill, work goes on within this time.
const BACK: Duration = Duration::from_secs(2);
/// Long enough that a send to IM is under way when the bridge dies.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// After so many refusals the next attempt is mostly seconds away ...
const REFUSALS: usize = 4;
/// ... and within this time, also on a slow disk, it is written down that the last one failed.
const QUIET: Duration = Duration::from_millis(300);
const SETTLED: Duration = Duration::from_secs(40);
const MESSAGES: usize = 3;

/// `kill -9` with questions and answers under way, and a start on the same store: one of each arrives, in order.
pub(super) async fn bridge_killed(scene: &Scene) -> Played {
    let (wechat, im) = (&scene.live.stage.wechat, &scene.live.stage.im);
    let desk = scene.open().await?;
    let questions: Vec<_> = (1..=MESSAGES).map(|n| scene.words(&format!("Question {n}"))).collect();
    let answers: Vec<_> = (1..=MESSAGES).map(|n| scene.words(&format!("Answer {n}"))).collect();
    let last = scene.words("Still there?");

    // Answers wait, as WeChat is busy; a question is with IM, which has not answered yet.
    let busy = scene.refusals(-1);
    wechat.faults().script("message/custom/send", u32::MAX, Fault::Code(-1));
    im.faults().script("openim/sendmsg", 1, Fault::Delay(UNDER_WAY));
    for question in &questions {
        scene.say(&scene.customer, question).await?;
    }
    for answer in &answers {
        scene.answer(&desk, answer).await?;
    }
    scene.arrives(&questions[0], SOON).await?;
    between_attempts(scene, busy).await?;

    let killed = async {
        let began = Instant::now();
        let started = scene.live.child.kill().await;
        started.map(|ready_after| (ready_after, began.elapsed())).map_err(|failed| lost(&failed))
    };
    let (killed, pushed) = tokio::join!(killed, scene.customer.say(&last));
    let (ready_after, away) = killed?;
    wechat.faults().clear();
    im.faults().clear();
    accepted(&pushed)?;

    for question in questions.iter().chain([&last]) {
        scene.arrives(question, SETTLED).await?;
    }
    for answer in &answers {
        scene.shown(answer, SETTLED).await?;
    }
    for question in questions.iter().chain([&last]) {
        scene.once_at_agent(question)?;
    }
    for answer in &answers {
        scene.once_at_customer(answer)?;
    }
    in_order(scene, &answers)?;
    expect(ready_after <= BACK, "the bridge to be back within 2 s", || format!("{ready_after:?}"))?;
    Ok(values([
        ("ready_ms", millis(ready_after)),
        ("away_ms", millis(away)),
        ("questions", (MESSAGES + 1).into()),
        ("answers", MESSAGES.into()),
        ("pushes", pushed.tries.len().into()),
    ]))
}

/// Waits for a moment when an answer has just been refused and none is being sent: a send that is cut off by a kill has
/// an outcome that nobody knows, and is then rightly not repeated.
async fn between_attempts(scene: &Scene, before: usize) -> Result<(), Missed> {
    let mut seen = before + REFUSALS - 1;
    loop {
        scene.refused(-1, seen).await?;
        seen = scene.refusals(-1);
        tokio::time::sleep(QUIET).await;
        if scene.refusals(-1) == seen {
            return Ok(());
        }
    }
}

fn in_order(scene: &Scene, answers: &[String]) -> Result<(), Missed> {
    let texts = scene.customer.texts().join("\n");
    let places: Vec<_> = answers.iter().map(|answer| texts.find(answer.as_str())).collect();
    expect(places.is_sorted(), "the answers in their order", || format!("{places:?}"))
}
