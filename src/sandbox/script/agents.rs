//! Steps about customers that the account cannot reach now, and about several agents: held and
//! released answers, a lost callback, an answer with unknown outcome, a transfer, and an account
//! without customer-service messages.

use super::cast::{AGENT_TO_CUSTOMER, CUSTOMER_TO_SHOP, Cast, Missed, Played, expect, in_time};
use crate::sandbox::fault::Fault;
use crate::sandbox::im::Send;

/// The customer of these steps, who followed the account before the bridge was started.
const CUSTOMER: &str = "oSandboxCustomer000000000002";
/// The WeChat API that sends a customer-service message.
const CUSTOM_SEND: &str = "message/custom/send";
/// A little more than a minute.
const MINUTE_MS: i64 = 61_000;
/// A little more than a day.
const DAY_MS: i64 = 25 * 3600 * 1000;

/// The customer's message allows some answers. The next answer is held, and the agent gets a
/// notice.
pub(super) async fn held(cast: &mut Cast<'_>) -> Played {
    cast.customer = cast.stage.wechat.customer(CUSTOMER);
    cast.customer.set_following(true);
    let question = cast.lines.question;
    cast.say(question).await?;
    cast.agent_reads(question).await?;
    let allowed = cast.customer.sends_left();
    for number in 1..=allowed {
        let before = cast.customer.screen().len();
        let words = detail(cast, number);
        cast.agent_says(&words).await?;
        cast.customer_reads(&words, before).await?;
    }
    let words = detail(cast, allowed + 1);
    cast.agent_says(&words).await?;
    cast.agent_is_told(&format!("{}. ", allowed + 1)).await
}

/// The customer writes again, and the passive reply is the held answer.
pub(super) async fn released(cast: &mut Cast<'_>) -> Played {
    let held = detail(cast, cast.stage.wechat.settings().quota_messages + 1);
    cast.rides(cast.lines.still_there, &held).await
}

/// The agent sends `/who` and gets a notice; the customer sees nothing.
pub(super) async fn who(cast: &mut Cast<'_>) -> Played {
    let before = cast.customer.screen().len();
    let agent = cast.agent.user_id().to_owned();
    cast.agent_says("/who").await?;
    cast.agent_is_told(&agent).await?;
    expect(cast.customer.screen().len() == before, || {
        Missed::new("nothing on the customer's screen", format!("{:?}", cast.customer.texts().last()))
    })
}

/// IM's webhook about an answer is lost, and a backfill delivers the answer.
pub(super) async fn lost(cast: &mut Cast<'_>) -> Played {
    let (stage, words, before) = (cast.stage, cast.lines.lost, cast.customer.screen().len());
    let expected = "a message without a webhook";
    stage.im.lose_next_callbacks(1);
    cast.block.said(AGENT_TO_CUSTOMER, words);
    let sent = in_time(expected, cast.agent.say(cast.customer.openid(), words)).await?;
    let sent = sent.map_err(|refused| Missed::new(expected, refused.to_string()))?;
    expect(sent.callback.is_none(), || Missed::new(expected, "one with a webhook"))?;
    cast.block.by(&format!("MsgKey {}; its webhook is lost; a minute passes", sent.msg_key));
    stage.clock().advance(MINUTE_MS);
    cast.customer_reads(words, before).await
}

/// The connection breaks before WeChat's answer: the agent gets a notice, and the customer sees the
/// answer once.
pub(super) async fn unsure(cast: &mut Cast<'_>) -> Played {
    let (words, before) = (cast.lines.unsure, cast.customer.screen().len());
    cast.stage.wechat.faults().script(CUSTOM_SEND, 1, Fault::DropAfter);
    cast.agent_says(words).await?;
    cast.block.by("WeChat accepts it, and the connection breaks before its answer");
    cast.agent_is_told(words).await?;
    cast.customer_reads(words, before).await?;
    let times = cast.customer.texts().iter().filter(|text| *text == words).count();
    expect(times == 1, || Missed::new("the answer once", format!("it is there {times} times")))
}

/// The agent hands the customer to another agent, who gets the conversation so far.
pub(super) async fn transfer(cast: &mut Cast<'_>) -> Played {
    let from = cast.agent.user_id().to_owned();
    let Some(other) = cast.stage.agents().iter().find(|desk| desk.user_id() != from) else {
        return Err(Missed::new("a second agent", "there is none"));
    };
    let to = other.user_id();
    cast.agent_says(&format!("/to {to}")).await?;
    let expected = format!("the conversation so far at {to}, and a notice to both agents");
    let told = |agent: &str, sends: &[&Send]| {
        sends.iter().any(|send| send.to == agent && send.api == "openim/sendmsg")
    };
    let sends = cast.new_sends(&expected, |sends| told(to, sends) && told(&from, sends)).await?;
    let past: Vec<String> =
        sends.iter().filter(|send| send.api == "openim/importmsg").map(Send::text).collect();
    let first = format!("{}{}", cast.texts.inquiry_prefix, cast.lines.question);
    expect(past.first() == Some(&first), || Missed::new(format!("{first:?} first"), format!("{past:?}")))?;
    for text in &past {
        cast.block.said(&format!("bridge → {to}"), text);
    }
    cast.block.by("openim/importmsg for each: shown without a webhook");
    for send in sends.iter().filter(|send| send.api == "openim/sendmsg") {
        cast.block.said(&format!("bridge → {}", send.to), &send.text());
    }
    let asked = cast.lines.colleague;
    cast.say(asked).await?;
    cast.agent_reads(asked).await?;
    expect(cast.agent.user_id() == to, || Missed::new(format!("the question at {to}"), cast.agent.user_id()))
}

/// An account without customer-service messages attaches its answers to passive replies, and sends
/// again a day later, once it may.
pub(super) async fn personal(cast: &mut Cast<'_>) -> Played {
    let (stage, words) = (cast.stage, cast.lines.personal);
    stage.wechat.set_personal(true);
    cast.agent_says(words).await?;
    cast.block.by("WeChat: 48001, this account has no customer-service messages");
    cast.agent_is_told(words).await?;
    cast.rides(cast.lines.still_there, words).await?;
    stage.wechat.set_personal(false);
    stage.clock().advance(DAY_MS);
    cast.block.did("", "a day passes; the account has them now, and the bridge tries again");
    let (asked, answer) = (cast.lines.next_day, cast.lines.answer);
    cast.say(asked).await?;
    cast.agent_reads(asked).await?;
    let before = cast.customer.screen().len();
    cast.agent_says(answer).await?;
    cast.customer_reads(answer, before).await
}

fn detail(cast: &Cast<'_>, number: u32) -> String {
    format!("{number}. {}", cast.lines.detail)
}

impl Cast<'_> {
    /// The customer writes `words`, and the passive reply must be the held answer.
    async fn rides(&mut self, words: &str, held: &str) -> Played {
        self.block.said(CUSTOMER_TO_SHOP, words);
        let phone = self.customer.clone();
        let pushed = self.push("text", phone.say(words)).await?;
        self.replied(&pushed, held)?;
        self.agent_reads(words).await
    }
}
