//! The customer and the agent of a step, with the actions and checks that a step can use.
//!
//! Nothing here sleeps: every check waits for a condition with a deadline.

use std::time::Duration;

use super::lines::Lines;
use super::transcript::Block;
use crate::config::Texts;
use crate::sandbox::conditions::{
    Checked, Mismatch, NOTICE_PREFIX, WEBHOOK_ACCEPTED, await_entry, expect, expect_accepted, expect_webhook,
    within,
};
use crate::sandbox::im::{self, AccountChangeKind, AgentClient, ApiError, SentMessage};
use crate::sandbox::stage::Stage;
use crate::sandbox::wechat::{Phone, PushResult, ScreenEntry, Via};

/// The script's customer.
pub(in crate::sandbox) const CUSTOMER: &str = "oSandboxCustomer000000000001";
/// The deadline of each condition.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// A heading in the transcript.
pub(super) const CUSTOMER_TO_SHOP: &str = "customer → shop";
/// A heading in the transcript.
pub(super) const SHOP_TO_CUSTOMER: &str = "shop → customer";
const CUSTOMER_TO_AGENT: &str = "customer → agent";
/// A heading in the transcript.
pub(super) const AGENT_TO_CUSTOMER: &str = "agent → customer";
const BRIDGE_TO_AGENT: &str = "bridge → agent";
/// A heading in the transcript.
pub(super) const BRIDGE_TO_IM: &str = "bridge → IM";

/// The state of the script. Each step continues with the state that the previous step left.
pub(super) struct Cast<'s> {
    /// Both simulated platforms.
    pub stage: &'s Stage,
    /// The texts that the bridge uses.
    pub texts: &'s Texts,
    /// The texts that customer and agent write.
    pub lines: Lines,
    /// The customer.
    pub customer: Phone,
    /// The agent who has the conversation: the receiver of the latest message.
    pub agent: AgentClient,
    /// The push of the question, which a later step repeats.
    pub question: Option<PushResult>,
    /// The transcript of the current step.
    pub block: Block,
    /// The number of sends in IM's ledger that steps have already checked.
    checked_sends: usize,
}

impl<'s> Cast<'s> {
    /// `None` if the stage has no agent; [`Stage::start`] refuses such a stage.
    pub fn new(stage: &'s Stage, texts: &'s Texts) -> Option<Self> {
        Some(Self {
            stage,
            texts,
            lines: Lines::of(texts.locale),
            customer: stage.wechat.customer(CUSTOMER),
            agent: stage.agents().first()?.clone(),
            question: None,
            block: Block::default(),
            checked_sends: stage.im.ledger().sends().len(),
        })
    }

    /// Fails unless the bridge gives an answer to the push that WeChat accepts. `what` names the
    /// push in the transcript.
    pub async fn expect_push_answer(
        &mut self,
        label: &str,
        push: impl Future<Output = PushResult>,
    ) -> Checked<PushResult> {
        let expected = format!("an answer to the {label} that WeChat accepts");
        let pushed = within(DEADLINE, expected.as_str(), push).await?;
        let last = expect_accepted(&pushed, &expected)?;
        let id = pushed.msg_id.map(|id| format!(", MsgId {id}")).unwrap_or_default();
        self.block.detail(&format!("POST / {label}{id}: 200 after {} ms", last.took.as_millis()));
        Ok(pushed)
    }

    /// The customer sends a text and must get the reply that an agent is being assigned.
    pub async fn say(&mut self, words: &str) -> Checked<PushResult> {
        self.block.quote(CUSTOMER_TO_SHOP, words);
        let phone = self.customer.clone();
        let pushed = self.expect_push_answer("text", phone.say(words)).await?;
        let texts = self.texts;
        self.expect_reply(&pushed, &texts.transferring)?;
        Ok(pushed)
    }

    /// Fails unless the passive reply to `pushed` is exactly `text`.
    pub fn expect_reply(&mut self, pushed: &PushResult, text: &str) -> Checked {
        let Some(reply) = pushed.text() else {
            return Err(Mismatch::new(format!("the passive reply {text:?}"), "no text in the answer"));
        };
        self.block.quote(SHOP_TO_CUSTOMER, reply);
        self.block.detail("passive reply");
        expect(reply == text, format!("the passive reply {text:?}"), || format!("{reply:?}"))
    }

    /// Waits for the next message at IM. It must come from the customer's own account, go to an
    /// agent, and satisfy `fits`.
    pub async fn expect_at_agent(
        &mut self,
        expected: &str,
        fits: impl FnOnce(&im::SendRecord) -> bool,
    ) -> Checked {
        let at = self.checked_sends;
        let arrived = self.stage.im.wait_for(|ledger| ledger.sends().len() > at, DEADLINE).await;
        let ledger = self.stage.im.ledger();
        let Some(send) = ledger.sends().nth(at) else {
            let refused = ledger.refused_calls().next_back();
            let refused = refused.map(|call| format!("; IM refused {} with {}", call.api, call.code));
            let seen = format!("nothing within {} s{}", DEADLINE.as_secs(), refused.unwrap_or_default());
            return Err(Mismatch::new(
                expected,
                if arrived.is_ok() { "a ledger that dropped it".into() } else { seen },
            ));
        };
        self.checked_sends += 1;
        for element in send.elements.as_array().into_iter().flatten() {
            let (kind, content) = (element["MsgType"].as_str().unwrap_or_default(), &element["MsgContent"]);
            match content["Text"].as_str() {
                Some(text) if text.starts_with(NOTICE_PREFIX) => self.block.quote(BRIDGE_TO_AGENT, text),
                Some(text) => self.block.quote(CUSTOMER_TO_AGENT, text),
                None => self.block.event(CUSTOMER_TO_AGENT, &format!("{kind} {content}")),
            }
        }
        self.block.detail(&format!("{} to {}, MsgKey {}", send.api, send.to, send.key));
        expect(send.from == self.customer.openid(), "a message from the customer's own account", || {
            format!("one from {}", send.from)
        })?;
        let desk = self.stage.agents().iter().find(|desk| desk.user_id() == send.to);
        let desk =
            desk.ok_or_else(|| Mismatch::new("a message to an agent", format!("one to {}", send.to)))?;
        self.agent = desk.clone();
        let has_it = desk.inbox().iter().any(|seen| seen.key == send.key);
        expect(has_it, format!("the message in {}'s inbox", send.to), || "an inbox without it")?;
        expect(fits(send), expected, || format!("{} {}", send.api, send.elements))
    }

    /// Waits for the line that precedes the first message of a conversation.
    pub async fn expect_first_line(&mut self) -> Checked {
        let expected = "a line to the agent about who comes, without a number";
        self.expect_at_agent(expected, |send| {
            send.text().strip_prefix(NOTICE_PREFIX).is_some_and(|line| !line.starts_with('#'))
        })
        .await
    }

    /// Waits for exactly these `words` of the customer at the agent, as an inquiry.
    pub async fn expect_inquiry(&mut self, words: &str) -> Checked {
        let text = format!("{}{words}", self.texts.inquiry_prefix);
        self.expect_at_agent(&format!("{text:?} at the agent"), |send| send.text() == text).await
    }

    /// Waits for a notice from the bridge to the agent that contains `what`.
    pub async fn expect_notice(&mut self, part: &str) -> Checked {
        let expected = format!("a notice to the agent that contains {part:?}");
        self.expect_at_agent(&expected, |send| {
            send.text().starts_with(NOTICE_PREFIX) && send.text().contains(part)
        })
        .await
    }

    /// Waits until `enough` accepts the unchecked sends in IM's ledger, and returns those sends.
    pub async fn expect_sends(
        &mut self,
        expected: &str,
        enough: impl Fn(&[&im::SendRecord]) -> bool,
    ) -> Checked<Vec<im::SendRecord>> {
        let at = self.checked_sends;
        let is_enough = |ledger: &im::Ledger| enough(&ledger.sends().skip(at).collect::<Vec<_>>());
        let arrived = self.stage.im.wait_for(is_enough, DEADLINE).await;
        let sends: Vec<im::SendRecord> = self.stage.im.ledger().sends().skip(at).cloned().collect();
        arrived.map_err(|_| Mismatch::new(expected, format!("{} other messages", sends.len())))?;
        self.checked_sends += sends.len();
        Ok(sends)
    }

    /// The agent sends a text. Fails unless the bridge accepts the webhook.
    pub async fn agent_sends_text(&mut self, words: &str) -> Checked {
        self.block.quote(AGENT_TO_CUSTOMER, words);
        let (agent, customer) = (self.agent.clone(), self.customer.openid().to_owned());
        self.agent_sends(agent.say(&customer, words)).await
    }

    /// The agent sends a message. Fails unless the bridge accepts the webhook.
    pub async fn agent_sends(
        &mut self,
        message: impl Future<Output = Result<SentMessage, ApiError>>,
    ) -> Checked {
        let sent = within(DEADLINE, WEBHOOK_ACCEPTED, message).await?;
        let (sent, took) = expect_webhook(sent)?;
        let took = took.as_millis();
        self.block.detail(&format!("POST /imcallback, MsgKey {}: 200 after {took} ms", sent.msg_key));
        Ok(())
    }

    /// Waits until `custom/send` shows exactly these `words` on the customer's screen, after its
    /// first `before` entries.
    pub async fn expect_on_screen(&mut self, words: &str, before: usize) -> Checked {
        let expected = format!("{words:?} on the customer's screen");
        let shown = self.await_on_screen(&expected, before).await?;
        self.block.quote(SHOP_TO_CUSTOMER, &shown.text);
        self.block.detail("message/custom/send");
        expect(shown.text == words, expected, || format!("{:?}", shown.text))
    }

    /// Waits for the next entry that `custom/send` shows on the customer's screen, after its first
    /// `before` entries.
    pub async fn await_on_screen(&mut self, expected: &str, before: usize) -> Checked<ScreenEntry> {
        let next_entry = |screen: &[ScreenEntry]| {
            screen.iter().skip(before).find(|shown| shown.via == Via::CustomSend).cloned()
        };
        let awaited = await_entry(&self.customer, DEADLINE, expected, next_entry).await;
        awaited.map_err(|mut missed| {
            if let Some(refusal) = self.stage.wechat.ledger().refusals.back() {
                missed.seen =
                    format!("{}; WeChat refused {} with {}", missed.seen, refusal.path, refusal.code);
            }
            missed
        })
    }

    /// How often the customer's IM account has had this change so far.
    pub fn count_account_changes(&self, kind: AccountChangeKind) -> usize {
        count_changes(&self.stage.im.ledger(), kind, self.customer.openid())
    }

    /// Waits until the customer's IM account has had this change more than `before` times.
    pub async fn expect_account_change(&mut self, kind: AccountChangeKind, before: usize) -> Checked {
        let user = self.customer.openid();
        let (done, api) = match kind {
            AccountChangeKind::Imported | AccountChangeKind::ImportedAgain => {
                ("imported", "im_open_login_svc/account_import")
            }
            AccountChangeKind::Deleted => ("deleted", "im_open_login_svc/account_delete"),
        };
        let awaited =
            self.stage.im.wait_for(|ledger| count_changes(ledger, kind, user) > before, DEADLINE).await;
        if awaited.is_err() {
            let expected = format!("the customer's IM account to be {done}");
            return Err(Mismatch::new(expected, format!("it is not, after {} s", DEADLINE.as_secs())));
        }
        self.block.event(BRIDGE_TO_IM, &format!("the account {user} is {done}"));
        self.block.detail(api);
        Ok(())
    }
}

fn count_changes(ledger: &im::Ledger, kind: AccountChangeKind, user: &str) -> usize {
    ledger.account_changes().filter(|change| change.kind == kind && change.user_id == user).count()
}
