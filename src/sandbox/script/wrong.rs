//! Steps with pushes that must deliver nothing: a repeated push and a forged one.
//!
//! The customer's next message proves it. A customer's messages keep their order, so an unwanted
//! message would reach the agent before it.

use super::cast::{BRIDGE_TO_IM, Cast, Missed, Played, answer_of, expect, in_time};
use crate::sandbox::wechat::Pushed;

/// WeChat pushes the question again: the bridge gives the same answer and delivers nothing.
pub(super) async fn repeat(cast: &mut Cast<'_>) -> Played {
    let Some(first) = cast.question.clone() else {
        return Err(Missed::new("a question to repeat", "none was asked"));
    };
    cast.block.did("WeChat → shop", "the question again, the same body, as after a lost answer");
    let stage = cast.stage;
    let again = cast.push("text", stage.wechat.repeat(&first)).await?;
    let bytes = |pushed: &Pushed| pushed.reply.as_ref().map(|reply| reply.raw_xml.clone());
    expect(bytes(&first) == bytes(&again), || {
        let seen = bytes(&again).unwrap_or_else(|| "no reply".to_owned());
        Missed::new(format!("the first reply again: {}", bytes(&first).unwrap_or_default()), seen)
    })?;
    cast.block.did("shop → WeChat", "the first reply again, byte for byte, CreateTime included");
    then_only(cast, cast.lines.thanks).await
}

/// A push with a wrong signature gets status 403 and delivers nothing.
pub(super) async fn forgery(cast: &mut Cast<'_>) -> Played {
    let forged = cast.lines.forged;
    cast.block.said("stranger → shop", forged);
    let body = cast.customer.draft_text(forged).body().clone();
    let wrong = "0".repeat(40);
    let push = cast.stage.wechat.push_raw(cast.customer.openid(), body, |query| {
        for name in ["signature", "msg_signature"] {
            if query.get(name).is_some() {
                query.set(name, wrong.as_str());
            }
        }
    });
    let made = in_time("status 403", push).await?;
    expect(made.status == Some(403), || Missed::new("status 403", answer_of(&made)))?;
    cast.block.by(&format!("POST / text with a wrong signature: 403 after {} ms", made.took.as_millis()));
    then_only(cast, cast.lines.more).await
}

/// The customer writes, and the next message at the agent must be this one.
async fn then_only(cast: &mut Cast<'_>, words: &str) -> Played {
    cast.say(words).await?;
    cast.agent_reads(words).await?;
    cast.block.did(BRIDGE_TO_IM, "nothing else");
    Ok(())
}
