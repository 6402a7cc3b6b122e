//! Steps with pushes that must deliver nothing: a repeated push and a forged one.
//!
//! The customer's next message proves it. A customer's messages keep their order, so an unwanted
//! message would reach the agent before it.

use super::cast::{BRIDGE_TO_IM, Cast, DEADLINE};
use crate::sandbox::conditions::{Checked, Mismatch, describe_answer, expect, within};
use crate::sandbox::wechat::PushResult;

/// WeChat pushes the question again: the bridge gives the same answer and delivers nothing.
pub(super) async fn repeat(cast: &mut Cast<'_>) -> Checked {
    let Some(first) = cast.question.clone() else {
        return Err(Mismatch::new("a question to repeat", "none was asked"));
    };
    cast.block.event("WeChat → shop", "the question again, the same body, as after a lost answer");
    let stage = cast.stage;
    let again = cast.expect_push_answer("text", stage.wechat.repeat(&first)).await?;
    let bytes = |pushed: &PushResult| pushed.reply.as_ref().map(|reply| reply.raw_xml.clone());
    let expected = format!("the first reply again: {}", bytes(&first).unwrap_or_default());
    expect(bytes(&first) == bytes(&again), expected, || {
        bytes(&again).unwrap_or_else(|| "no reply".to_owned())
    })?;
    cast.block.event("shop → WeChat", "the first reply again, byte for byte, CreateTime included");
    expect_nothing_before(cast, cast.lines.thanks).await
}

/// A push with a wrong signature gets status 403 and delivers nothing.
pub(super) async fn forgery(cast: &mut Cast<'_>) -> Checked {
    let forged = cast.lines.forged;
    cast.block.quote("stranger → shop", forged);
    let body = cast.customer.draft_text(forged).body().clone();
    let wrong = "0".repeat(40);
    let push = cast.stage.wechat.push_raw(cast.customer.openid(), body, |query| {
        for name in ["signature", "msg_signature"] {
            if query.get(name).is_some() {
                query.set(name, wrong.as_str());
            }
        }
    });
    let attempt = within(DEADLINE, "status 403", push).await?;
    expect(attempt.status == Some(403), "status 403", || describe_answer(&attempt))?;
    cast.block
        .detail(&format!("POST / text with a wrong signature: 403 after {} ms", attempt.took.as_millis()));
    expect_nothing_before(cast, cast.lines.follow_up).await
}

/// The customer writes, and the next message at the agent must be this one.
async fn expect_nothing_before(cast: &mut Cast<'_>, words: &str) -> Checked {
    cast.say(words).await?;
    cast.expect_inquiry(words).await?;
    cast.block.event(BRIDGE_TO_IM, "nothing else");
    Ok(())
}
