//! What must move nothing: a push that comes again, and one that somebody else has made.
//!
//! That nothing moved is shown by what the customer writes next: messages of one customer keep their order, so
//! anything that was moved would reach the agent before it.

use super::cast::{BRIDGE_TO_IM, Cast, Missed, Played, answer_of, expect, in_time};
use crate::sandbox::wechat::Pushed;

pub(super) async fn repeat(cast: &mut Cast<'_>) -> Played {
    let Some(first) = cast.question.clone() else {
        return Err(Missed::new("a question to repeat", "none was asked"));
    };
    cast.block.did("WeChat → shop", "the question again, the same body, as after an answer that was lost");
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

pub(super) async fn forgery(cast: &mut Cast<'_>) -> Played {
    let forged = cast.lines.forged;
    cast.block.said("nobody → shop", forged);
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

/// The customer writes, and that is the next message to reach the agent.
async fn then_only(cast: &mut Cast<'_>, words: &str) -> Played {
    cast.say(words).await?;
    cast.agent_reads(words).await?;
    cast.block.did(BRIDGE_TO_IM, "nothing else");
    Ok(())
}
