//! Who is on the stage in a scene, and what a scene may ask of them: do something, see something, fail with words.
//!
//! Nothing here sleeps: whatever must happen is awaited as a condition, with a deadline.

use std::time::Duration;

use super::lines::Lines;
use super::transcript::Block;
use crate::config::Texts;
use crate::sandbox::im::{self, AccountChangeKind, Desk, Refused, Sent};
use crate::sandbox::stage::Stage;
use crate::sandbox::wechat::{Phone, Pushed, Shown, Try, Via};

/// The script's customer.
pub(in crate::sandbox) const CUSTOMER: &str = "oSandboxCustomer000000000001";
/// How long anything may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

pub(super) const CUSTOMER_TO_SHOP: &str = "customer → shop";
pub(super) const SHOP_TO_CUSTOMER: &str = "shop → customer";
const CUSTOMER_TO_AGENT: &str = "customer → agent";
pub(super) const AGENT_TO_CUSTOMER: &str = "agent → customer";
const BRIDGE_TO_AGENT: &str = "bridge → agent";
/// What the bridge's own words to an agent begin with.
const NOTE: &str = "[bridge] ";
pub(super) const BRIDGE_TO_IM: &str = "bridge → IM";

/// What a step waited for, and what came instead.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub expected: String,
    pub seen: String,
}

impl Missed {
    pub fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { expected: expected.into(), seen: seen.into() }
    }
}

pub(super) type Played = Result<(), Missed>;

/// Everything a scene works with. What one scene leaves behind, the next ones find.
pub(super) struct Cast<'s> {
    pub stage: &'s Stage,
    pub texts: &'s Texts,
    pub lines: Lines,
    pub customer: Phone,
    /// Who has the conversation: the receiver of the latest message.
    pub agent: Desk,
    /// The push of the question, to be repeated.
    pub question: Option<Pushed>,
    /// What happened in the present step.
    pub block: Block,
    /// Sends in IM's ledger that a scene has already looked at.
    looked_at: usize,
}

impl<'s> Cast<'s> {
    /// `None` on a stage without an agent, which cannot be made.
    pub fn new(stage: &'s Stage, texts: &'s Texts) -> Option<Self> {
        Some(Self {
            stage,
            texts,
            lines: Lines::of(texts.locale),
            customer: stage.wechat.customer(CUSTOMER),
            agent: stage.agents().first()?.clone(),
            question: None,
            block: Block::default(),
            looked_at: stage.im.ledger().sends().len(),
        })
    }

    /// The bridge's answer to a push must be one that WeChat takes. `what` names the push in the transcript.
    pub async fn push(&mut self, what: &str, push: impl Future<Output = Pushed>) -> Result<Pushed, Missed> {
        let expected = format!("an answer to the {what} that WeChat takes");
        let pushed = in_time(&expected, push).await?;
        let last = pushed.tries.last().ok_or_else(|| Missed::new(&expected, "WeChat pushes no more"))?;
        if last.status != Some(200) || last.error.is_some() {
            return Err(Missed::new(expected, answer_of(last)));
        }
        let id = pushed.msg_id.map(|id| format!(", MsgId {id}")).unwrap_or_default();
        self.block.by(&format!("POST / {what}{id}: 200 after {} ms", last.took.as_millis()));
        Ok(pushed)
    }

    /// The customer says something in words and is told that an agent is being fetched.
    pub async fn say(&mut self, words: &str) -> Result<Pushed, Missed> {
        self.block.said(CUSTOMER_TO_SHOP, words);
        let phone = self.customer.clone();
        let pushed = self.push("text", phone.say(words)).await?;
        let texts = self.texts;
        self.replied(&pushed, &texts.transferring)?;
        Ok(pushed)
    }

    /// The passive reply to `pushed` must be exactly this text.
    pub fn replied(&mut self, pushed: &Pushed, text: &str) -> Played {
        let Some(reply) = pushed.text() else {
            return Err(Missed::new(format!("the passive reply {text:?}"), "no text in the answer"));
        };
        self.block.said(SHOP_TO_CUSTOMER, reply);
        self.block.by("passive reply");
        expect(reply == text, || Missed::new(format!("the passive reply {text:?}"), format!("{reply:?}")))
    }

    /// The next message that reaches IM must be from the customer's own account, go to an agent, and fit.
    pub async fn agent_sees(&mut self, expected: &str, fits: impl FnOnce(&im::Send) -> bool) -> Played {
        let at = self.looked_at;
        let arrived = self.stage.im.wait_for(|ledger| ledger.sends().len() > at, DEADLINE).await;
        let ledger = self.stage.im.ledger();
        let Some(send) = ledger.sends().nth(at) else {
            let refused = ledger.refused().next_back();
            let refused = refused.map(|call| format!("; IM refused {} with {}", call.api, call.code));
            let seen = format!("nothing within {} s{}", DEADLINE.as_secs(), refused.unwrap_or_default());
            return Err(Missed::new(
                expected,
                if arrived.is_ok() { "a ledger that forgets".into() } else { seen },
            ));
        };
        self.looked_at += 1;
        for element in send.elements.as_array().into_iter().flatten() {
            let (kind, content) = (element["MsgType"].as_str().unwrap_or_default(), &element["MsgContent"]);
            match content["Text"].as_str() {
                Some(text) if text.starts_with(NOTE) => self.block.said(BRIDGE_TO_AGENT, text),
                Some(text) => self.block.said(CUSTOMER_TO_AGENT, text),
                None => self.block.did(CUSTOMER_TO_AGENT, &format!("{kind} {content}")),
            }
        }
        self.block.by(&format!("{} to {}, MsgKey {}", send.api, send.to, send.key));
        expect(send.from == self.customer.openid(), || {
            Missed::new("a message from the customer's own account", format!("one from {}", send.from))
        })?;
        let desk = self.stage.agents().iter().find(|desk| desk.user_id() == send.to);
        let desk = desk.ok_or_else(|| Missed::new("a message to an agent", format!("one to {}", send.to)))?;
        self.agent = desk.clone();
        expect(desk.inbox().iter().any(|seen| seen.key == send.key), || {
            Missed::new(format!("the message in {}'s inbox", send.to), "an inbox without it")
        })?;
        expect(fits(send), || Missed::new(expected, format!("{} {}", send.api, send.elements)))
    }

    /// The agent must get exactly these words of the customer's, as an inquiry.
    pub async fn agent_reads(&mut self, words: &str) -> Played {
        let text = format!("{}{words}", self.texts.inquiry_prefix);
        self.agent_sees(&format!("{text:?} at the agent"), |send| send.text() == text).await
    }

    /// The agent must get a note of the bridge's that names `what`.
    pub async fn agent_is_told(&mut self, what: &str) -> Played {
        let expected = format!("a note at the agent that names {what:?}");
        self.agent_sees(&expected, |send| send.text().starts_with(NOTE) && send.text().contains(what)).await
    }

    /// The sends in IM's ledger that no scene has looked at, once `enough` of them are there.
    pub async fn new_sends(
        &mut self,
        expected: &str,
        enough: impl Fn(&[&im::Send]) -> bool,
    ) -> Result<Vec<im::Send>, Missed> {
        let at = self.looked_at;
        let is_there = |ledger: &im::Ledger| enough(&ledger.sends().skip(at).collect::<Vec<_>>());
        let arrived = self.stage.im.wait_for(is_there, DEADLINE).await;
        let sends: Vec<im::Send> = self.stage.im.ledger().sends().skip(at).cloned().collect();
        arrived.map_err(|_| Missed::new(expected, format!("{} messages that are not", sends.len())))?;
        self.looked_at += sends.len();
        Ok(sends)
    }

    /// The agent answers, and the bridge takes the webhook.
    pub async fn agent_says(&mut self, words: &str) -> Played {
        self.block.said(AGENT_TO_CUSTOMER, words);
        let (agent, customer) = (self.agent.clone(), self.customer.openid().to_owned());
        self.agent_sends(agent.say(&customer, words)).await
    }

    /// The agent sends something, and the bridge takes the webhook.
    pub async fn agent_sends(&mut self, message: impl Future<Output = Result<Sent, Refused>>) -> Played {
        let expected = "the bridge to take the webhook of the agent's message";
        let sent = in_time(expected, message).await?;
        let sent =
            sent.map_err(|refused| Missed::new(expected, format!("IM refused the message: {refused}")))?;
        let answer = sent.callback.ok_or_else(|| Missed::new(expected, "no webhook went out"))?;
        if let Some(error) = answer.error {
            return Err(Missed::new(expected, format!("{error} {}", answer.body)));
        }
        let took = answer.took.as_millis();
        self.block.by(&format!("POST /imcallback, MsgKey {}: 200 after {took} ms", sent.msg_key));
        Ok(())
    }

    /// The customer must be shown exactly these words by `custom/send`, after the first `before` entries of the screen.
    pub async fn customer_reads(&mut self, words: &str, before: usize) -> Played {
        let expected = format!("{words:?} on the customer's screen");
        let shown = self.customer_is_shown(&expected, before).await?;
        self.block.said(SHOP_TO_CUSTOMER, &shown.text);
        self.block.by("message/custom/send");
        expect(shown.text == words, || Missed::new(expected, format!("{:?}", shown.text)))
    }

    /// What the customer is shown next by `custom/send`, after the first `before` entries of the screen.
    pub async fn customer_is_shown(&mut self, expected: &str, before: usize) -> Result<Shown, Missed> {
        let pushed =
            |screen: &[Shown]| screen.iter().skip(before).find(|shown| shown.via == Via::CustomSend).cloned();
        let waited = self.customer.wait_for(DEADLINE, |screen| pushed(screen).is_some()).await;
        let Some(shown) = waited.ok().as_deref().and_then(pushed) else {
            let ledger = self.stage.wechat.ledger();
            let refused = ledger.refusals.back();
            let refused =
                refused.map(|refusal| format!("; WeChat refused {} with {}", refusal.path, refusal.code));
            let seen = format!("nothing within {} s{}", DEADLINE.as_secs(), refused.unwrap_or_default());
            return Err(Missed::new(expected, seen));
        };
        Ok(shown)
    }

    /// How often the customer's IM account has changed this way so far.
    pub fn account_changes(&self, kind: AccountChangeKind) -> usize {
        count(&self.stage.im.ledger(), kind, self.customer.openid())
    }

    /// The customer's IM account must change this way, after the first `before` times.
    pub async fn account_changed(&mut self, kind: AccountChangeKind, before: usize) -> Played {
        let user = self.customer.openid();
        let (done, api) = match kind {
            AccountChangeKind::Imported | AccountChangeKind::ImportedAgain => {
                ("imported", "im_open_login_svc/account_import")
            }
            AccountChangeKind::Deleted => ("deleted", "im_open_login_svc/account_delete"),
        };
        let waited = self.stage.im.wait_for(|ledger| count(ledger, kind, user) > before, DEADLINE).await;
        if waited.is_err() {
            let expected = format!("the customer's IM account to be {done}");
            return Err(Missed::new(expected, format!("it is not, after {} s", DEADLINE.as_secs())));
        }
        self.block.did(BRIDGE_TO_IM, &format!("the account {user} is {done}"));
        self.block.by(api);
        Ok(())
    }
}

fn count(ledger: &im::Ledger, kind: AccountChangeKind, user: &str) -> usize {
    ledger.accounts().filter(|change| change.kind == kind && change.user_id == user).count()
}

/// What it is, or a miss when it is not.
pub(super) fn expect(fulfilled: bool, otherwise: impl FnOnce() -> Missed) -> Played {
    if fulfilled { Ok(()) } else { Err(otherwise()) }
}

/// What `future` gives before the deadline.
pub(super) async fn in_time<T>(expected: &str, future: impl Future<Output = T>) -> Result<T, Missed> {
    within(DEADLINE, expected, future).await
}

/// What `future` gives within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    expected: &str,
    future: impl Future<Output = T>,
) -> Result<T, Missed> {
    let in_time = tokio::time::timeout(limit, future).await;
    in_time.map_err(|_| Missed::new(expected, format!("nothing within {} s", limit.as_secs())))
}

/// How a request was answered, in words.
pub(super) fn answer_of(made: &Try) -> String {
    let status = made.status.map(|status| format!("status {status}"));
    let body = (!made.body.is_empty()).then(|| format!("{:?}", String::from_utf8_lossy(&made.body)));
    let said: Vec<String> = [status, made.error.clone(), body].into_iter().flatten().collect();
    if said.is_empty() { "no answer".to_owned() } else { said.join(", ") }
}
