//! Platforms that are down, slow or busy, or that lose a callback: every accepted message still
//! arrives once.

use std::time::Duration;

use tokio::time::Instant;

use super::scene::{SOON, Scene, accepted, expect, millis, values};
use super::{Missed, Played};
use crate::sandbox::fault::Fault;
use crate::sandbox::im::Ledger;

/// The IM API that sends a message.
const SENDMSG: &str = "openim/sendmsg";
/// The WeChat API that sends a customer-service message.
const CUSTOM_SEND: &str = "message/custom/send";
/// The fault stays until it is cleared.
const ALWAYS: u32 = u32::MAX;
/// The delay of a slow IM.
const SLOW: Duration = Duration::from_secs(3);
/// The deadline for a backfill: the bridge reads IM's history once a minute.
const NEXT_LOOK: Duration = Duration::from_secs(80);

/// IM accepts no connection: the bridge still answers the customer, and the message arrives when IM
/// is back.
pub(super) async fn im_down(scene: &Scene) -> Played {
    let im = &scene.live.stage.im;
    let words = scene.words("Do you ship to Busan?");
    scene.open().await?;
    let before = attempts(&im.ledger());
    im.faults().script("", ALWAYS, Fault::DropBefore);
    let pushed = scene.say(&scene.customer, &words).await?;
    let tried = im.wait_for(|ledger| attempts(ledger) >= before + 2, SOON).await;
    expect(tried.is_ok(), "the bridge to try again", || "no second attempt".to_owned())?;
    expect(scene.arrivals(&words) == 0, "nothing to arrive while IM is down", || "it arrived".to_owned())?;
    im.faults().clear();
    let back = Instant::now();
    scene.arrives(&words, Duration::from_secs(40)).await?;
    let after = back.elapsed();
    scene.once_at_agent(&words)?;
    let answered = pushed.tries.last().map(|made| made.took).unwrap_or_default();
    Ok(values([
        ("answered_ms", millis(answered)),
        ("attempts", (attempts(&im.ledger()) - before).into()),
        ("arrived_after_ms", millis(after)),
    ]))
}

/// Sends to IM, and reads of its history to find out whether an unanswered send arrived.
fn attempts(ledger: &Ledger) -> u64 {
    ledger.calls(SENDMSG) + ledger.calls("openim/admin_getroammsg")
}

/// IM answers late: the bridge answers the customer at once, the customer's next message waits, and
/// other customers do not.
pub(super) async fn im_slow(scene: &Scene) -> Played {
    let im = &scene.live.stage.im;
    let (first, second) = (scene.words("Have you got it in blue?"), scene.words("Or in green?"));
    let other = scene.words("When do you open?");
    let neighbour = scene.neighbour();
    scene.open().await?;
    im.faults().script(SENDMSG, 1, Fault::Delay(SLOW));
    let began = Instant::now();
    let pushed = scene.say(&scene.customer, &first).await?;
    scene.say(&scene.customer, &second).await?;
    scene.arrives(&first, SOON).await?;
    let asked = Instant::now();
    scene.say(&neighbour, &other).await?;
    scene.arrives(&other, SOON).await?;
    let not_delayed = asked.elapsed();
    expect(scene.arrivals(&second) == 0, "the next message to wait", || "it came first".to_owned())?;
    expect(not_delayed < SLOW, "another customer's message at once", || format!("after {not_delayed:?}"))?;
    scene.arrives(&second, SOON).await?;
    let waited = began.elapsed();
    for words in [&first, &second, &other] {
        scene.once_at_agent(words)?;
    }
    let answered = pushed.tries.last().map(|made| made.took).unwrap_or_default();
    Ok(values([
        ("answered_ms", millis(answered)),
        ("neighbour_ms", millis(not_delayed)),
        ("next_ms", millis(waited)),
    ]))
}

/// WeChat is busy (-1) twice: the bridge sends the answer again, and it arrives once.
pub(super) async fn wechat_busy(scene: &Scene) -> Played {
    let wechat = &scene.live.stage.wechat;
    let desk = scene.open().await?;
    let words = scene.words("Yes, we do.");
    let before = scene.refusals(-1);
    wechat.faults().script(CUSTOM_SEND, 2, Fault::Code(-1));
    let began = Instant::now();
    scene.answer(&desk, &words).await?;
    scene.shown(&words, Duration::from_secs(30)).await?;
    let after = began.elapsed();
    let refused = scene.refusals(-1) - before;
    expect(refused == 2, "two sends refused with -1", || refused.to_string())?;
    scene.once_at_customer(&words)?;
    Ok(values([("refused", refused.into()), ("arrived_after_ms", millis(after))]))
}

/// The access token becomes invalid: the bridge fetches a fresh one, and the answer arrives.
pub(super) async fn token_revoked(scene: &Scene) -> Played {
    let wechat = &scene.live.stage.wechat;
    let desk = scene.open().await?;
    let (first, words) = (scene.words("One moment, please."), scene.words("We have it in stock."));
    // The first answer makes the bridge fetch the token that is revoked below.
    scene.answer(&desk, &first).await?;
    scene.shown(&first, SOON).await?;
    let (refused, fresh) = (scene.refusals(40001), wechat.ledger().tokens.fresh);
    wechat.revoke_tokens();
    let began = Instant::now();
    scene.answer(&desk, &words).await?;
    scene.shown(&words, SOON).await?;
    let after = began.elapsed();
    let refused = scene.refusals(40001) - refused;
    let fresh = wechat.ledger().tokens.fresh - fresh;
    expect(refused >= 1, "a send refused with 40001", || "none".to_owned())?;
    expect(fresh >= 1, "a fresh token", || "the bridge requested none".to_owned())?;
    scene.once_at_customer(&words)?;
    Ok(values([("refused", refused.into()), ("fresh", fresh.into()), ("arrived_after_ms", millis(after))]))
}

/// The webhook of an agent's message is lost: the bridge finds the message in IM's history.
pub(super) async fn callback_lost(scene: &Scene) -> Played {
    let im = &scene.live.stage.im;
    let desk = scene.open().await?;
    let words = scene.words("It was never lost.");
    im.lose_next_callbacks(1);
    let began = Instant::now();
    let sent = desk.say(scene.customer.openid(), &words).await;
    let sent = sent.map_err(|refused| Missed::new("IM to take the agent's message", refused.to_string()))?;
    expect(sent.callback.is_none(), "the webhook to be lost", || "it arrived".to_owned())?;
    scene.shown(&words, NEXT_LOOK).await?;
    let after = began.elapsed();
    // After the customer's next message, a second copy would be on the phone too.
    let pushed = scene.customer.say(&scene.words("Thank you!")).await;
    accepted(&pushed)?;
    scene.once_at_customer(&words)?;
    Ok(values([("found_after_ms", millis(after))]))
}
