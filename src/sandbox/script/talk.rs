//! The documents' conversation: URL check, follow, question, answer, unfollow.

use super::cast::{CUSTOMER_TO_SHOP, Cast, Missed, Played, SHOP_TO_CUSTOMER, answer_of, expect, in_time};
use crate::sandbox::im::AccountChangeKind;

/// WeChat's URL check gets its `echostr` back.
pub(super) async fn check(cast: &mut Cast<'_>) -> Played {
    let expected = "status 200 and the echostr, byte for byte";
    let mut echo = String::new();
    let verify = cast.stage.wechat.verify_raw(|query| {
        query.get("echostr").unwrap_or_default().clone_into(&mut echo);
    });
    let made = in_time(expected, verify).await?;
    expect(made.status == Some(200) && made.body == echo.as_bytes(), || {
        Missed::new(expected, answer_of(&made))
    })?;
    cast.block.did("WeChat → shop", &format!("echostr {echo}, which the shop returned"));
    cast.block.by("GET / with signature, timestamp and nonce");
    Ok(())
}

/// The customer follows, gets the welcome, and gets an IM account.
pub(super) async fn follow(cast: &mut Cast<'_>) -> Played {
    let before = cast.account_changes(AccountChangeKind::Imported);
    cast.block.did(CUSTOMER_TO_SHOP, "follows");
    let phone = cast.customer.clone();
    let pushed = cast.push("event subscribe", phone.follow()).await?;
    let texts = cast.texts;
    cast.replied(&pushed, &texts.welcome)?;
    cast.account_changed(AccountChangeKind::Imported, before).await
}

/// The customer's question reaches an agent.
pub(super) async fn question(cast: &mut Cast<'_>) -> Played {
    let question = cast.lines.question;
    cast.question = Some(cast.say(question).await?);
    cast.agent_reads(question).await
}

/// The agent's answer reaches the customer.
pub(super) async fn answer(cast: &mut Cast<'_>) -> Played {
    let (answer, before) = (cast.lines.answer, cast.customer.screen().len());
    cast.agent_says(answer).await?;
    cast.customer_reads(answer, before).await
}

/// The customer unfollows, and the IM account is deleted.
pub(super) async fn unfollow(cast: &mut Cast<'_>) -> Played {
    let before = cast.account_changes(AccountChangeKind::Deleted);
    cast.block.did(CUSTOMER_TO_SHOP, "unfollows");
    let phone = cast.customer.clone();
    let pushed = cast.push("event unsubscribe", phone.unfollow()).await?;
    let body = pushed.tries.last().map(|made| made.body.clone()).unwrap_or_default();
    expect(body == "success".as_bytes(), || {
        Missed::new("the answer \"success\"", format!("{:?}", String::from_utf8_lossy(&body)))
    })?;
    cast.block.did(SHOP_TO_CUSTOMER, "nothing: success");
    cast.account_changed(AccountChangeKind::Deleted, before).await
}
