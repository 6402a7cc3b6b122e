//! Platforms that are down, slow or busy, or that lose a callback: every accepted message still
//! arrives once.

use std::time::Duration;

use tokio::time::Instant;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, expect_in_time, millis, values};
use crate::sandbox::conditions::{expect, expect_lost_webhook};
use crate::sandbox::fault::Fault;
use crate::sandbox::im::Ledger;

/// The IM API that sends a message.
const SENDMSG: &str = "openim/sendmsg";
/// The WeChat API that sends a customer-service message.
const CUSTOM_SEND: &str = "message/custom/send";
/// The fault stays until it is cleared.
const UNLIMITED: u32 = u32::MAX;
/// The delay of a slow IM.
const SLOW_DELAY: Duration = Duration::from_secs(3);
/// The deadline for a backfill: the bridge reads IM's history once a minute.
const BACKFILL_LIMIT: Duration = Duration::from_secs(80);

/// IM accepts no connection: the bridge still answers the customer, and the message arrives when IM
/// is back.
pub(super) async fn im_down(scene: &Scene) -> DrillResult {
    let im = &scene.session.stage.im;
    let words = scene.marked_text("Do you ship to Busan?");
    scene.open_conversation().await?;
    let before = attempts(&im.ledger());
    im.faults().script("", UNLIMITED, Fault::DropBefore);
    let pushed = scene.say(&scene.customer, &words).await?;
    let tried = im.wait_for(|ledger| attempts(ledger) >= before + 2, DEADLINE).await;
    expect(tried.is_ok(), "the bridge to try again", || "no second attempt".to_owned())?;
    expect(scene.count_arrivals(&words) == 0, "nothing to arrive while IM is down", || {
        "it arrived".to_owned()
    })?;
    im.faults().clear();
    let back = Instant::now();
    scene.await_arrival(&words, Duration::from_secs(40)).await?;
    let after = back.elapsed();
    scene.expect_once_at_agent(&words)?;
    let answered = pushed.attempts.last().map(|made| made.took).unwrap_or_default();
    Ok(values([
        ("answered_ms", millis(answered)),
        ("attempts", (attempts(&im.ledger()) - before).into()),
        ("arrived_after_ms", millis(after)),
    ]))
}

/// Sends to IM, and reads of its history to find out whether an unanswered send arrived.
fn attempts(ledger: &Ledger) -> u64 {
    ledger.call_count(SENDMSG) + ledger.call_count("openim/admin_getroammsg")
}

/// IM answers late: the bridge answers the customer at once, the customer's next message waits, and
/// other customers do not.
pub(super) async fn im_slow(scene: &Scene) -> DrillResult {
    let im = &scene.session.stage.im;
    let (first, second) = (scene.marked_text("Have you got it in blue?"), scene.marked_text("Or in green?"));
    let other = scene.marked_text("When do you open?");
    let neighbour = scene.neighbour();
    scene.open_conversation().await?;
    im.faults().script(SENDMSG, 1, Fault::Delay(SLOW_DELAY));
    let began = Instant::now();
    let pushed = scene.say(&scene.customer, &first).await?;
    scene.say(&scene.customer, &second).await?;
    scene.await_arrival(&first, DEADLINE).await?;
    let other_began = Instant::now();
    scene.say(&neighbour, &other).await?;
    scene.await_arrival(&other, DEADLINE).await?;
    let other_took = other_began.elapsed();
    expect(scene.count_arrivals(&second) == 0, "the next message to wait", || "it came first".to_owned())?;
    expect(other_took < SLOW_DELAY, "another customer's message at once", || {
        format!("after {other_took:?}")
    })?;
    scene.await_arrival(&second, DEADLINE).await?;
    let second_took = began.elapsed();
    for words in [&first, &second, &other] {
        scene.expect_once_at_agent(words)?;
    }
    let answered = pushed.attempts.last().map(|made| made.took).unwrap_or_default();
    Ok(values([
        ("answered_ms", millis(answered)),
        ("neighbour_ms", millis(other_took)),
        ("next_ms", millis(second_took)),
    ]))
}

/// WeChat is busy (-1) twice: the bridge sends the answer again, and it arrives once.
pub(super) async fn wechat_busy(scene: &Scene) -> DrillResult {
    let wechat = &scene.session.stage.wechat;
    let desk = scene.open_conversation().await?;
    let words = scene.marked_text("Yes, we do.");
    let before = scene.count_refusals(-1);
    wechat.faults().script(CUSTOM_SEND, 2, Fault::Code(-1));
    let began = Instant::now();
    scene.answer(&desk, &words).await?;
    scene.await_on_screen(&words, Duration::from_secs(30)).await?;
    let after = began.elapsed();
    let refused = scene.count_refusals(-1) - before;
    expect(refused == 2, "two sends refused with -1", || refused.to_string())?;
    scene.expect_once_on_screen(&words)?;
    Ok(values([("refused", refused.into()), ("arrived_after_ms", millis(after))]))
}

/// The access token becomes invalid: the bridge fetches a fresh one, and the answer arrives.
pub(super) async fn token_revoked(scene: &Scene) -> DrillResult {
    let wechat = &scene.session.stage.wechat;
    let desk = scene.open_conversation().await?;
    let (first, words) =
        (scene.marked_text("One moment, please."), scene.marked_text("We have it in stock."));
    // The first answer makes the bridge fetch the token that is revoked below.
    scene.answer(&desk, &first).await?;
    scene.await_on_screen(&first, DEADLINE).await?;
    let (refused, fresh) = (scene.count_refusals(40001), wechat.ledger().tokens.fresh);
    wechat.revoke_tokens();
    let began = Instant::now();
    scene.answer(&desk, &words).await?;
    scene.await_on_screen(&words, DEADLINE).await?;
    let after = began.elapsed();
    let refused = scene.count_refusals(40001) - refused;
    let fresh = wechat.ledger().tokens.fresh - fresh;
    expect(refused >= 1, "a send refused with 40001", || "none".to_owned())?;
    expect(fresh >= 1, "a fresh token", || "the bridge requested none".to_owned())?;
    scene.expect_once_on_screen(&words)?;
    Ok(values([("refused", refused.into()), ("fresh", fresh.into()), ("arrived_after_ms", millis(after))]))
}

/// The webhook of an agent's message is lost: the bridge finds the message in IM's history.
pub(super) async fn callback_lost(scene: &Scene) -> DrillResult {
    let im = &scene.session.stage.im;
    let desk = scene.open_conversation().await?;
    let words = scene.marked_text("It was never lost.");
    im.lose_next_callbacks(1);
    let began = Instant::now();
    expect_lost_webhook(desk.say(scene.customer.openid(), &words).await)?;
    scene.await_on_screen(&words, BACKFILL_LIMIT).await?;
    let after = began.elapsed();
    // After the customer's next message, a second copy would be on the phone too.
    let pushed = scene.customer.say(&scene.marked_text("Thank you!")).await;
    expect_in_time(&pushed)?;
    scene.expect_once_on_screen(&words)?;
    Ok(values([("found_after_ms", millis(after))]))
}
