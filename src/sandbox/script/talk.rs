//! The documents' conversation: the console's check, follow, question, answer, unfollow.

use super::cast::{CUSTOMER_TO_SHOP, Cast, Missed, Played, SHOP_TO_CUSTOMER, answer_of, expect, in_time};
use crate::sandbox::im::AccountChangeKind;

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
    cast.block.did("WeChat → shop", &format!("echostr {echo}, which came back"));
    cast.block.by("GET / with signature, timestamp and nonce");
    Ok(())
}

pub(super) async fn follow(cast: &mut Cast<'_>) -> Played {
    let before = cast.account_changes(AccountChangeKind::Imported);
    cast.block.did(CUSTOMER_TO_SHOP, "follows");
    let phone = cast.customer.clone();
    let pushed = cast.push("event subscribe", phone.follow()).await?;
    let texts = cast.texts;
    cast.replied(&pushed, &texts.welcome)?;
    cast.account_changed(AccountChangeKind::Imported, before).await
}

pub(super) async fn question(cast: &mut Cast<'_>) -> Played {
    let question = cast.lines.question;
    cast.question = Some(cast.say(question).await?);
    cast.agent_reads(question).await
}

pub(super) async fn answer(cast: &mut Cast<'_>) -> Played {
    let (answer, before) = (cast.lines.answer, cast.customer.screen().len());
    cast.agent_says(answer).await?;
    cast.customer_reads(answer, before).await
}

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
