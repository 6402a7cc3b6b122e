//! The customer and the agent of a step, with the actions and checks that a step can use.
//!
//! Nothing here sleeps: every check waits for a condition with a deadline.

use std::time::Duration;

use super::lines::Lines;
use super::transcript::Block;
use crate::config::Texts;
use crate::sandbox::im::{self, AccountChangeKind, AgentClient, ApiError, SentMessage};
use crate::sandbox::stage::Stage;
use crate::sandbox::wechat::{Attempt, Phone, PushResult, ScreenEntry, Via};

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
/// The prefix of the bridge's notices to agents.
const NOTICE_PREFIX: &str = "[bridge] ";
/// A heading in the transcript.
pub(super) const BRIDGE_TO_IM: &str = "bridge → IM";

/// A condition that a step waited for and that was not met.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    /// The condition, in words.
    pub expected: String,
    /// What happened instead, in words.
    pub seen: String,
}

impl Mismatch {
    /// Both in words.
    pub fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }
}

/// The result of a step.
pub(super) type StepResult = Result<(), Mismatch>;

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
    ) -> Result<PushResult, Mismatch> {
        let expected = format!("an answer to the {label} that WeChat accepts");
        let pushed = within_deadline(&expected, push).await?;
        let last = pushed.attempts.last().ok_or_else(|| Mismatch::new(&expected, "WeChat made no push"))?;
        if last.status != Some(200) || last.error.is_some() {
            return Err(Mismatch::new(expected, describe_answer(last)));
        }
        let id = pushed.msg_id.map(|id| format!(", MsgId {id}")).unwrap_or_default();
        self.block.detail(&format!("POST / {label}{id}: 200 after {} ms", last.took.as_millis()));
        Ok(pushed)
    }

    /// The customer sends a text and must get the reply that an agent is being assigned.
    pub async fn say(&mut self, words: &str) -> Result<PushResult, Mismatch> {
        self.block.quote(CUSTOMER_TO_SHOP, words);
        let phone = self.customer.clone();
        let pushed = self.expect_push_answer("text", phone.say(words)).await?;
        let texts = self.texts;
        self.expect_reply(&pushed, &texts.transferring)?;
        Ok(pushed)
    }

    /// Fails unless the passive reply to `pushed` is exactly `text`.
    pub fn expect_reply(&mut self, pushed: &PushResult, text: &str) -> StepResult {
        let Some(reply) = pushed.text() else {
            return Err(Mismatch::new(format!("the passive reply {text:?}"), "no text in the answer"));
        };
        self.block.quote(SHOP_TO_CUSTOMER, reply);
        self.block.detail("passive reply");
        expect(reply == text, || Mismatch::new(format!("the passive reply {text:?}"), format!("{reply:?}")))
    }

    /// Waits for the next message at IM. It must come from the customer's own account, go to an
    /// agent, and satisfy `fits`.
    pub async fn expect_at_agent(
        &mut self,
        expected: &str,
        fits: impl FnOnce(&im::SendRecord) -> bool,
    ) -> StepResult {
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
        expect(send.from == self.customer.openid(), || {
            Mismatch::new("a message from the customer's own account", format!("one from {}", send.from))
        })?;
        let desk = self.stage.agents().iter().find(|desk| desk.user_id() == send.to);
        let desk =
            desk.ok_or_else(|| Mismatch::new("a message to an agent", format!("one to {}", send.to)))?;
        self.agent = desk.clone();
        expect(desk.inbox().iter().any(|seen| seen.key == send.key), || {
            Mismatch::new(format!("the message in {}'s inbox", send.to), "an inbox without it")
        })?;
        expect(fits(send), || Mismatch::new(expected, format!("{} {}", send.api, send.elements)))
    }

    /// Waits for exactly these `words` of the customer at the agent, as an inquiry.
    pub async fn expect_inquiry(&mut self, words: &str) -> StepResult {
        let text = format!("{}{words}", self.texts.inquiry_prefix);
        self.expect_at_agent(&format!("{text:?} at the agent"), |send| send.text() == text).await
    }

    /// Waits for a notice from the bridge to the agent that contains `what`.
    pub async fn expect_notice(&mut self, part: &str) -> StepResult {
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
    ) -> Result<Vec<im::SendRecord>, Mismatch> {
        let at = self.checked_sends;
        let is_enough = |ledger: &im::Ledger| enough(&ledger.sends().skip(at).collect::<Vec<_>>());
        let arrived = self.stage.im.wait_for(is_enough, DEADLINE).await;
        let sends: Vec<im::SendRecord> = self.stage.im.ledger().sends().skip(at).cloned().collect();
        arrived.map_err(|_| Mismatch::new(expected, format!("{} other messages", sends.len())))?;
        self.checked_sends += sends.len();
        Ok(sends)
    }

    /// The agent sends a text. Fails unless the bridge accepts the webhook.
    pub async fn agent_sends_text(&mut self, words: &str) -> StepResult {
        self.block.quote(AGENT_TO_CUSTOMER, words);
        let (agent, customer) = (self.agent.clone(), self.customer.openid().to_owned());
        self.agent_sends(agent.say(&customer, words)).await
    }

    /// The agent sends a message. Fails unless the bridge accepts the webhook.
    pub async fn agent_sends(
        &mut self,
        message: impl Future<Output = Result<SentMessage, ApiError>>,
    ) -> StepResult {
        let expected = "the bridge to accept the webhook of the agent's message";
        let sent = within_deadline(expected, message).await?;
        let sent =
            sent.map_err(|refused| Mismatch::new(expected, format!("IM refused the message: {refused}")))?;
        let answer = sent.callback.ok_or_else(|| Mismatch::new(expected, "IM sent no webhook"))?;
        if let Some(error) = answer.error {
            return Err(Mismatch::new(expected, format!("{error} {}", answer.body)));
        }
        let took = answer.took.as_millis();
        self.block.detail(&format!("POST /imcallback, MsgKey {}: 200 after {took} ms", sent.msg_key));
        Ok(())
    }

    /// Waits until `custom/send` shows exactly these `words` on the customer's screen, after its
    /// first `before` entries.
    pub async fn expect_on_screen(&mut self, words: &str, before: usize) -> StepResult {
        let expected = format!("{words:?} on the customer's screen");
        let shown = self.await_on_screen(&expected, before).await?;
        self.block.quote(SHOP_TO_CUSTOMER, &shown.text);
        self.block.detail("message/custom/send");
        expect(shown.text == words, || Mismatch::new(expected, format!("{:?}", shown.text)))
    }

    /// Waits for the next entry that `custom/send` shows on the customer's screen, after its first
    /// `before` entries.
    pub async fn await_on_screen(&mut self, expected: &str, before: usize) -> Result<ScreenEntry, Mismatch> {
        let next_entry = |screen: &[ScreenEntry]| {
            screen.iter().skip(before).find(|shown| shown.via == Via::CustomSend).cloned()
        };
        let awaited = self.customer.wait_for(DEADLINE, |screen| next_entry(screen).is_some()).await;
        let Some(shown) = awaited.ok().as_deref().and_then(next_entry) else {
            let ledger = self.stage.wechat.ledger();
            let refused = ledger.refusals.back();
            let refused =
                refused.map(|refusal| format!("; WeChat refused {} with {}", refusal.path, refusal.code));
            let seen = format!("nothing within {} s{}", DEADLINE.as_secs(), refused.unwrap_or_default());
            return Err(Mismatch::new(expected, seen));
        };
        Ok(shown)
    }

    /// How often the customer's IM account has had this change so far.
    pub fn count_account_changes(&self, kind: AccountChangeKind) -> usize {
        count_changes(&self.stage.im.ledger(), kind, self.customer.openid())
    }

    /// Waits until the customer's IM account has had this change more than `before` times.
    pub async fn expect_account_change(&mut self, kind: AccountChangeKind, before: usize) -> StepResult {
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

/// Fails with `otherwise` unless the condition is fulfilled.
pub(super) fn expect(condition: bool, otherwise: impl FnOnce() -> Mismatch) -> StepResult {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Awaits `future`, at most until the [`DEADLINE`].
pub(super) async fn within_deadline<T>(
    expected: &str,
    future: impl Future<Output = T>,
) -> Result<T, Mismatch> {
    within(DEADLINE, expected, future).await
}

/// Awaits `future`, at most for `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    expected: &str,
    future: impl Future<Output = T>,
) -> Result<T, Mismatch> {
    let result = tokio::time::timeout(limit, future).await;
    result.map_err(|_| Mismatch::new(expected, format!("nothing within {} s", limit.as_secs())))
}

/// The answer to a request, in words.
pub(super) fn describe_answer(made: &Attempt) -> String {
    let status = made.status.map(|status| format!("status {status}"));
    let body = (!made.body.is_empty()).then(|| format!("{:?}", String::from_utf8_lossy(&made.body)));
    let parts: Vec<String> = [status, made.error.clone(), body].into_iter().flatten().collect();
    if parts.is_empty() { "no answer".to_owned() } else { parts.join(", ") }
}
