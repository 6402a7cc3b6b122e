//! The bridge is killed with messages in flight and continues where it stopped.

use std::time::Duration;

use tokio::time::Instant;

use super::scene::{SOON, Scene, accepted, expect, lost, millis, values};
use super::{Missed, Played};
use crate::sandbox::fault::Fault;

/// The contract: after a kill, the bridge works again within this time.
const BACK: Duration = Duration::from_secs(2);
/// Long enough that a send to IM is in flight when the bridge is killed.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// After this many refusals the backoff before the next attempt is mostly seconds long ...
const REFUSALS: usize = 4;
/// ... and within this time, even on a slow disk, the bridge has stored that the last attempt
/// failed.
const QUIET: Duration = Duration::from_millis(300);
/// How long the bridge may take after its restart to deliver everything.
const SETTLED: Duration = Duration::from_secs(40);
const MESSAGES: usize = 3;

/// `kill -9` with questions and answers in flight, then a start on the same store: each arrives
/// once, in order.
pub(super) async fn bridge_killed(scene: &Scene) -> Played {
    let (wechat, im) = (&scene.live.stage.wechat, &scene.live.stage.im);
    let desk = scene.open().await?;
    let questions: Vec<_> = (1..=MESSAGES).map(|n| scene.words(&format!("Question {n}"))).collect();
    let answers: Vec<_> = (1..=MESSAGES).map(|n| scene.words(&format!("Answer {n}"))).collect();
    let last = scene.words("Still there?");

    // Answers wait because WeChat is busy. IM has one question and has not answered yet.
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
    expect(ready_after <= BACK, "the bridge to be ready within 2 s", || format!("{ready_after:?}"))?;
    Ok(values([
        ("ready_ms", millis(ready_after)),
        ("away_ms", millis(away)),
        ("questions", (MESSAGES + 1).into()),
        ("answers", MESSAGES.into()),
        ("pushes", pushed.tries.len().into()),
    ]))
}

/// Waits until an answer has just been refused and no answer is being sent. A kill during a send
/// would leave its outcome unknown, and the bridge would rightly not repeat it.
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
