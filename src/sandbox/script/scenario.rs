//! The documents' conversation: URL check, follow, question, answer, unfollow.

use super::cast::{AGENT_TO_CUSTOMER, CUSTOMER_TO_SHOP, Cast, DEADLINE, SHOP_TO_CUSTOMER};
use crate::sandbox::conditions::{Checked, Mismatch, NOTICE_PREFIX, describe_answer, expect, within};
use crate::sandbox::im::{self, AccountChangeKind};

/// WeChat's URL check gets its `echostr` back.
pub(super) async fn verify_url(cast: &mut Cast<'_>) -> Checked {
    let expected = "status 200 and the echostr, byte for byte";
    let mut echo = String::new();
    let verify = cast.stage.wechat.verify_raw(|query| {
        query.get("echostr").unwrap_or_default().clone_into(&mut echo);
    });
    let attempt = within(DEADLINE, expected, verify).await?;
    let is_echoed = attempt.status == Some(200) && attempt.body == echo.as_bytes();
    expect(is_echoed, expected, || describe_answer(&attempt))?;
    cast.block.event("WeChat → shop", &format!("echostr {echo}, which the shop returned"));
    cast.block.detail("GET / with signature, timestamp and nonce");
    Ok(())
}

/// The customer follows, gets the welcome, and gets an IM account.
pub(super) async fn follow(cast: &mut Cast<'_>) -> Checked {
    let before = cast.count_account_changes(AccountChangeKind::Imported);
    cast.block.event(CUSTOMER_TO_SHOP, "follows");
    let phone = cast.customer.clone();
    let pushed = cast.expect_push_answer("event subscribe", phone.follow()).await?;
    let texts = cast.texts;
    cast.expect_reply(&pushed, &texts.welcome)?;
    cast.expect_account_change(AccountChangeKind::Imported, before).await
}

/// The customer's question reaches an agent.
pub(super) async fn question(cast: &mut Cast<'_>) -> Checked {
    let question = cast.lines.question;
    cast.question = Some(cast.say(question).await?);
    cast.expect_first_line().await?;
    cast.expect_inquiry(question).await
}

/// The agent begins to type, and the customer's phone shows it. No send is used up.
pub(super) async fn typing(cast: &mut Cast<'_>) -> Checked {
    let (expected, left) = ("the phone to show that the account types", cast.customer.sends_left());
    let (agent, customer) = (cast.agent.clone(), cast.customer.openid().to_owned());
    let signalled = within(DEADLINE, expected, agent.compose(&customer, cast.lines.answer)).await?;
    let signalled = signalled.map_err(|refused| Mismatch::new(expected, refused.to_string()))?;
    expect(signalled, expected, || "the agent's client sent no signal")?;
    cast.block.event(AGENT_TO_CUSTOMER, "types");
    cast.block.detail("POST /imcallback, online only");
    let shown = cast.customer.wait_for_typing(true, DEADLINE).await;
    expect(shown, expected, || "it does not")?;
    cast.block.event(SHOP_TO_CUSTOMER, "typing …");
    cast.block.detail("message/custom/typing");
    let left_now = cast.customer.sends_left();
    expect(left_now == left, format!("{left} sends left"), || left_now.to_string())
}

/// The agent's answer reaches the customer.
pub(super) async fn answer(cast: &mut Cast<'_>) -> Checked {
    let (answer, before) = (cast.lines.answer, cast.customer.screen().len());
    cast.agent_sends_text(answer).await?;
    cast.expect_on_screen(answer, before).await
}

/// The customer unfollows, and the IM account is deleted.
pub(super) async fn unfollow(cast: &mut Cast<'_>) -> Checked {
    let before = cast.count_account_changes(AccountChangeKind::Deleted);
    cast.block.event(CUSTOMER_TO_SHOP, "unfollows");
    let phone = cast.customer.clone();
    let pushed = cast.expect_push_answer("event unsubscribe", phone.unfollow()).await?;
    let body = pushed.attempts.last().map(|made| made.body.clone()).unwrap_or_default();
    expect(body == "success".as_bytes(), "the answer \"success\"", || {
        format!("{:?}", String::from_utf8_lossy(&body))
    })?;
    cast.block.event(SHOP_TO_CUSTOMER, "nothing: success");
    let is_notice = |send: &im::SendRecord| send.text().starts_with(NOTICE_PREFIX);
    cast.expect_at_agent("the notice that the customer has left", is_notice).await?;
    cast.expect_account_change(AccountChangeKind::Deleted, before).await
}
