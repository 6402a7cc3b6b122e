//! Steps about customers that the account cannot reach now, and about several agents: held and
//! released answers, a lost callback, an answer with unknown outcome, a transfer, and an account
//! without customer-service messages.

use super::cast::{AGENT_TO_CUSTOMER, CUSTOMER_TO_SHOP, Cast, DEADLINE};
use crate::sandbox::conditions::{Checked, Mismatch, expect, expect_lost_webhook, within};
use crate::sandbox::fault::Fault;
use crate::sandbox::im::SendRecord;

/// The customer of these steps, who followed the account before the bridge was started.
const CUSTOMER: &str = "oSandboxCustomer000000000002";
/// The WeChat API that sends a customer-service message.
const CUSTOM_SEND: &str = "message/custom/send";
/// A little more than a minute.
const MINUTE_MS: i64 = 61_000;
/// A little more than a day.
const DAY_MS: i64 = 25 * 3600 * 1000;

/// Longer than an agent's line waits for the next one while few sends are left, in milliseconds.
const MERGE_WAIT_MS: i64 = 3_000;

/// The customer's message allows some answers: when two are left, two lines in a row go as one. After the last send the
/// next line is held, and the agent gets a notice.
pub(super) async fn held(cast: &mut Cast<'_>) -> Checked {
    cast.customer = cast.stage.wechat.customer(CUSTOMER);
    cast.customer.set_following(true);
    let question = cast.lines.question;
    cast.say(question).await?;
    cast.expect_first_line().await?;
    cast.expect_inquiry(question).await?;
    let allowed = cast.customer.sends_left();
    for number in 1..=allowed - 2 {
        let before = cast.customer.screen().len();
        let words = detail_text(cast, number);
        cast.agent_sends_text(&words).await?;
        cast.expect_on_screen(&words, before).await?;
    }
    // The agent is told that two sends are left, and that none is.
    cast.expect_notice("").await?;
    for burst in [&[allowed - 1, allowed][..], &[allowed + 1]] {
        let before = cast.customer.screen().len();
        let lines: Vec<String> = burst.iter().map(|number| detail_text(cast, *number)).collect();
        for line in &lines {
            cast.agent_sends_text(line).await?;
        }
        cast.stage.clock().advance(MERGE_WAIT_MS);
        cast.expect_on_screen(&lines.join("\n"), before).await?;
    }
    cast.expect_notice("").await?;
    let words = detail_text(cast, allowed + 2);
    cast.agent_sends_text(&words).await?;
    cast.expect_notice(&format!("{}. ", allowed + 2)).await
}

/// The customer writes again, and the passive reply is the held answer.
pub(super) async fn released(cast: &mut Cast<'_>) -> Checked {
    let held = detail_text(cast, cast.stage.wechat.settings().quota_messages + 2);
    cast.expect_attached(cast.lines.still_there, &held).await
}

/// The agent sends `/who` and gets a notice; the customer sees nothing.
pub(super) async fn who(cast: &mut Cast<'_>) -> Checked {
    let before = cast.customer.screen().len();
    let agent = cast.agent.user_id().to_owned();
    cast.agent_sends_text("/who").await?;
    cast.expect_notice(&agent).await?;
    expect(cast.customer.screen().len() == before, "nothing on the customer's screen", || {
        format!("{:?}", cast.customer.texts().last())
    })
}

/// IM's webhook about an answer is lost, and a backfill delivers the answer.
pub(super) async fn lost_callback(cast: &mut Cast<'_>) -> Checked {
    let (stage, words, before) = (cast.stage, cast.lines.lost_callback, cast.customer.screen().len());
    stage.im.lose_next_callbacks(1);
    cast.block.quote(AGENT_TO_CUSTOMER, words);
    let message = cast.agent.say(cast.customer.openid(), words);
    let sent = expect_lost_webhook(within(DEADLINE, "IM to accept the agent's message", message).await?)?;
    cast.block.detail(&format!("MsgKey {}; its webhook is lost; a minute passes", sent.msg_key));
    stage.clock().advance(MINUTE_MS);
    cast.expect_on_screen(words, before).await
}

/// The connection breaks before WeChat's answer: the agent gets a notice, and the customer sees the
/// answer once.
pub(super) async fn unknown_outcome(cast: &mut Cast<'_>) -> Checked {
    let (words, before) = (cast.lines.unknown_outcome, cast.customer.screen().len());
    cast.stage.wechat.faults().script(CUSTOM_SEND, 1, Fault::DropAfter);
    cast.agent_sends_text(words).await?;
    cast.block.detail("WeChat accepts it, and the connection breaks before its answer");
    cast.expect_notice(words).await?;
    cast.expect_on_screen(words, before).await?;
    let times = cast.customer.texts().iter().filter(|text| *text == words).count();
    expect(times == 1, "the answer once", || format!("it is there {times} times"))
}

/// The agent hands the customer to another agent, who gets the conversation so far.
pub(super) async fn transfer(cast: &mut Cast<'_>) -> Checked {
    let from = cast.agent.user_id().to_owned();
    let Some(other) = cast.stage.agents().iter().find(|desk| desk.user_id() != from) else {
        return Err(Mismatch::new("a second agent", "there is none"));
    };
    let to = other.user_id();
    cast.agent_sends_text(&format!("/to {to}")).await?;
    let expected = format!("the conversation so far at {to}, and a notice to both agents");
    let is_at = |agent: &str, sends: &[&SendRecord]| {
        sends.iter().any(|send| send.to == agent && send.api == "openim/sendmsg")
    };
    let sends = cast.expect_sends(&expected, |sends| is_at(to, sends) && is_at(&from, sends)).await?;
    let history: Vec<String> =
        sends.iter().filter(|send| send.api == "openim/importmsg").map(SendRecord::text).collect();
    let first = format!("{}{}", cast.texts.inquiry_prefix, cast.lines.question);
    expect(history.first() == Some(&first), format!("{first:?} first"), || format!("{history:?}"))?;
    for text in &history {
        cast.block.quote(&format!("bridge → {to}"), text);
    }
    cast.block.detail("openim/importmsg for each: shown without a webhook");
    for send in sends.iter().filter(|send| send.api == "openim/sendmsg") {
        cast.block.quote(&format!("bridge → {}", send.to), &send.text());
    }
    let question = cast.lines.after_transfer;
    cast.say(question).await?;
    cast.expect_inquiry(question).await?;
    expect(cast.agent.user_id() == to, format!("the question at {to}"), || cast.agent.user_id())
}

/// An account without customer-service messages attaches its answers to passive replies, and sends
/// again a day later, once it may.
pub(super) async fn personal(cast: &mut Cast<'_>) -> Checked {
    let (stage, words) = (cast.stage, cast.lines.personal_answer);
    stage.wechat.set_personal(true);
    cast.agent_sends_text(words).await?;
    cast.block.detail("WeChat: 48001, this account has no customer-service messages");
    cast.expect_notice(words).await?;
    cast.expect_attached(cast.lines.still_there, words).await?;
    stage.wechat.set_personal(false);
    stage.clock().advance(DAY_MS);
    cast.block.event("", "a day passes; the account has them now, and the bridge tries again");
    let (question, answer) = (cast.lines.next_day, cast.lines.answer);
    cast.say(question).await?;
    cast.expect_first_line().await?;
    cast.expect_inquiry(question).await?;
    let before = cast.customer.screen().len();
    cast.agent_sends_text(answer).await?;
    cast.expect_on_screen(answer, before).await
}

fn detail_text(cast: &Cast<'_>, number: u32) -> String {
    format!("{number}. {}", cast.lines.detail)
}

impl Cast<'_> {
    /// The customer writes `words`, and the passive reply must be the held answer.
    async fn expect_attached(&mut self, words: &str, held: &str) -> Checked {
        self.block.quote(CUSTOMER_TO_SHOP, words);
        let phone = self.customer.clone();
        let pushed = self.expect_push_answer("text", phone.say(words)).await?;
        self.expect_reply(&pushed, held)?;
        self.expect_inquiry(words).await
    }
}
