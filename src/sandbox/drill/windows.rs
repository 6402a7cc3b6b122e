//! Answers that the account may not send: the bridge notifies the agent and attaches the answer to
//! the reply to the customer's next message.

use std::time::Duration;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, values};
use crate::sandbox::conditions::{Checked, expect};
use crate::sandbox::im::AgentClient;
use crate::sandbox::stores::PERSONAL_STORE;

/// One minute longer than the window that a customer's message opens.
const TWO_DAYS_MS: i64 = (48 * 3_600 + 60) * 1_000;
/// Answers that one message of the customer allows.
const BUDGET: usize = 5;

/// The customer wrote 48 hours ago: WeChat refuses the answer. The bridge holds it and attaches it
/// to the reply to the next message.
pub(super) async fn window_closed(scene: &Scene) -> DrillResult {
    let desk = scene.open_conversation().await?;
    let words = scene.marked_text("Sorry, we were away.");
    let (notes, refused) = (scene.count_notices(&desk), scene.count_refusals(45015));
    scene.move_clock(TWO_DAYS_MS);
    scene.answer(&desk, &words).await?;
    scene.await_refusal(45015, refused).await?;
    let note = scene.await_notice(&desk, notes).await?;
    scene.move_clock(-TWO_DAYS_MS);
    expect_attached(scene, &words).await?;
    Ok(values([("code", 45015.into()), ("note", note.into())]))
}

/// The agent writes more answers than the customer's message allows: the last answer is held until
/// the customer's next message.
pub(super) async fn budget_used_up(scene: &Scene) -> DrillResult {
    let desk = scene.open_conversation().await?;
    let notes = scene.count_notices(&desk);
    let left = usize::try_from(scene.customer.sends_left()).unwrap_or_default();
    expect(left == BUDGET, "five sends left", || left.to_string())?;
    // No two of them fit into one message, or the last ones would go as one.
    let details = "and so on ".repeat(110);
    let words: Vec<String> = (1..=BUDGET + 1)
        .map(|n| scene.marked_text(&format!("Part {n} of the answer, {}", details.trim_end())))
        .collect();
    for part in &words {
        scene.answer(&desk, part).await?;
    }
    let (last, sent) = (&words[BUDGET], &words[..BUDGET]);
    for part in sent {
        scene.await_on_screen(part, DEADLINE).await?;
    }
    // Others tell that few sends are left.
    let note = scene.await_notice_with(&desk, notes, &format!("Part {}", BUDGET + 1)).await?;
    expect_attached(scene, last).await?;
    scene.expect_in_order(&words)?;
    for part in sent {
        scene.expect_once_on_screen(part)?;
    }
    Ok(values([("sent", BUDGET.into()), ("held", 1.into()), ("note", note.into())]))
}

/// The account may not send customer-service messages (48001): the bridge attaches answers to the
/// replies to the customer's messages.
pub(super) async fn personal_account(scene: &Scene) -> DrillResult {
    scene.set_personal(true);
    scene.change_store(PERSONAL_STORE).await?;
    let desk = scene.open_conversation().await?;
    let words = scene.marked_text("We deliver on Fridays.");
    let (notes, refused) = (scene.count_notices(&desk), scene.count_refusals(48001));
    scene.answer(&desk, &words).await?;
    // A bridge that got 48001 within the last day does not try again.
    let refused_now = scene.await_refusal(48001, refused);
    let notice = scene.await_notice(&desk, notes);
    let note = tokio::select! {
        note = notice => note?,
        refused = refused_now => { refused?; scene.await_notice(&desk, notes).await? }
    };
    expect_attached(scene, &words).await?;
    Ok(values([("code", 48001.into()), ("note", note.into())]))
}

/// Checks that `words` are held: the phone does not show them until the customer writes. Then the
/// passive reply to that message contains them, once.
async fn expect_attached(scene: &Scene, words: &str) -> Checked<AgentClient> {
    let early = scene.customer.texts().iter().any(|text| text.contains(words));
    expect(!early, "the answer to be held", || "it was sent".to_owned())?;
    let question = scene.marked_text("Are you still there?");
    let pushed = scene.say(&scene.customer, &question).await?;
    let reply = pushed.text().unwrap_or_default();
    expect(reply.contains(words), "the held answer in the reply to the next message", || {
        format!("{reply:?}")
    })?;
    let desk = scene.await_arrival(&question, Duration::from_secs(20)).await?;
    scene.expect_once_on_screen(words)?;
    Ok(desk)
}
