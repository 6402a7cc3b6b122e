//! The customers and agents of a drill, and the actions and checks that a drill can use. Every
//! check waits for a condition with a deadline.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Missed, Values};
use crate::clock::Clock;
use crate::sandbox::child::{self, MAIN_STORE};
use crate::sandbox::im::{Desk, Sent};
use crate::sandbox::live::{Change, Live};
use crate::sandbox::wechat::{Phone, Pushed, Shown};

const CUSTOMER: &str = "oSandboxDrillCustomer0000001";
const NEIGHBOUR: &str = "oSandboxDrillNeighbour000001";
/// The prefix of the bridge's notices to agents.
const NOTE: &str = "[bridge] ";
/// The deadline for everything that happens without delay, even on a loaded machine.
pub(super) const SOON: Duration = Duration::from_secs(15);
/// The contract: the bridge answers a push within this time.
const ANSWER: Duration = Duration::from_secs(1);

/// The surroundings of one drill.
pub(super) struct Scene {
    /// The sandbox session that the drill runs in.
    pub live: Arc<Live>,
    /// The customer, who already follows the account.
    pub customer: Phone,
    /// Marks this drill's texts, to distinguish them from those of an earlier drill.
    mark: i64,
}

impl Scene {
    /// A scene with a customer who follows the account.
    pub fn new(live: Arc<Live>) -> Self {
        let customer = live.stage.wechat.customer(CUSTOMER);
        live.call(CUSTOMER, "Drills".to_owned());
        customer.set_following(true);
        let mark = Clock::system().now().0 / 100 % 1_000_000;
        Self { live, customer, mark }
    }

    /// A second customer, who follows the account too.
    pub fn neighbour(&self) -> Phone {
        let neighbour = self.live.stage.wechat.customer(NEIGHBOUR);
        self.live.call(NEIGHBOUR, "Drills, another".to_owned());
        neighbour.set_following(true);
        neighbour
    }

    /// `words` with the mark of this drill, so that the text is unique.
    pub fn words(&self, words: &str) -> String {
        format!("{words} (drill {})", self.mark)
    }

    /// The customer sends `words`. Fails if the bridge does not answer the push in time.
    pub async fn say(&self, phone: &Phone, words: &str) -> Result<Pushed, Missed> {
        let pushed = phone.say(words).await;
        accepted(&pushed)?;
        Ok(pushed)
    }

    /// The customer opens a conversation. Returns the agent who receives the message and has the
    /// conversation from then on.
    pub async fn open(&self) -> Result<Desk, Missed> {
        let words = self.words("Hello, is anyone there?");
        self.say(&self.customer, &words).await?;
        self.arrives(&words, SOON).await
    }

    /// Waits until `words` reach an agent, and returns that agent.
    pub async fn arrives(&self, words: &str, within: Duration) -> Result<Desk, Missed> {
        let desks = self.live.stage.agents();
        let mut changes = self.live.stage.im.changes();
        let found = async {
            loop {
                changes.mark_unchanged();
                let has = |desk: &&Desk| desk.inbox().iter().any(|seen| seen.text().contains(words));
                if let Some(desk) = desks.iter().find(has) {
                    return desk.clone();
                }
                // The platform outlives its drills, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        let missed = |_| Missed::new(format!("{words:?} at an agent"), format!("nothing within {within:?}"));
        tokio::time::timeout(within, found).await.map_err(missed)
    }

    /// How often `words` reached an agent.
    pub fn arrivals(&self, words: &str) -> usize {
        self.live.stage.im.ledger().delivered().filter(|send| send.text().contains(words)).count()
    }

    /// Fails unless `words` reached an agent exactly once.
    pub fn once_at_agent(&self, words: &str) -> Result<(), Missed> {
        exactly_once(&format!("{words:?} at the agent"), self.arrivals(words))
    }

    /// The agent answers. Fails if the bridge does not accept the webhook.
    pub async fn answer(&self, desk: &Desk, words: &str) -> Result<Sent, Missed> {
        let expected = "the bridge to take the agent's message";
        let sent = desk.say(self.customer.openid(), words).await;
        let sent = sent.map_err(|refused| Missed::new(expected, refused.to_string()))?;
        match sent.callback.as_ref().map(|answer| &answer.error) {
            Some(None) => Ok(sent),
            Some(Some(error)) => Err(Missed::new(expected, error.to_string())),
            None => Err(Missed::new(expected, "IM sent no webhook")),
        }
    }

    /// Waits until the customer's phone shows `words`.
    pub async fn shown(&self, words: &str, within: Duration) -> Result<(), Missed> {
        let has = |screen: &[Shown]| screen.iter().any(|shown| shown.text.contains(words));
        let shown = self.customer.wait_for(within, has).await;
        let missed = |_| Missed::new(format!("{words:?} on the phone"), format!("nothing within {within:?}"));
        shown.map(drop).map_err(missed)
    }

    /// Fails unless the customer's phone shows `words` exactly once.
    pub fn once_at_customer(&self, words: &str) -> Result<(), Missed> {
        let screen = self.customer.screen();
        let times = screen.iter().map(|shown| shown.text.matches(words).count()).sum();
        exactly_once(&format!("{words:?} on the phone"), times)
    }

    /// The number of notices from the bridge that the agent has in this conversation.
    pub fn notes(&self, desk: &Desk) -> usize {
        self.noted(desk).len()
    }

    fn noted(&self, desk: &Desk) -> Vec<String> {
        let inbox = desk.inbox();
        let mine = inbox.iter().filter(|seen| seen.from.starts_with(self.customer.openid()));
        mine.map(|seen| seen.text()).filter(|text| text.starts_with(NOTE)).collect()
    }

    /// Waits for a notice to the agent after the first `before` notices, and returns its text.
    pub async fn note(&self, desk: &Desk, before: usize) -> Result<String, Missed> {
        let noted = desk.wait_for(|_| self.notes(desk) > before, SOON).await;
        let missed = Missed::new("a notice to the agent", format!("none within {SOON:?}"));
        noted.map_err(|_| missed.clone())?;
        self.noted(desk).into_iter().next_back().ok_or(missed)
    }

    /// The number of calls about this customer that WeChat refused with `code`.
    pub fn refusals(&self, code: i64) -> usize {
        let ledger = self.live.stage.wechat.ledger();
        let about_me = |openid: &Option<String>| openid.as_deref() == Some(self.customer.openid());
        ledger.refusals.iter().filter(|one| one.code == code && about_me(&one.openid)).count()
    }

    /// Waits until WeChat has refused more than `more_than` calls about this customer with `code`.
    pub async fn refused(&self, code: i64, more_than: usize) -> Result<(), Missed> {
        let openid = self.customer.openid().to_owned();
        let refused = self.live.stage.wechat.wait_until(SOON, |ledger| {
            let about_me = |one: &&Arc<crate::sandbox::wechat::Refusal>| {
                one.code == code && one.openid.as_deref() == Some(openid.as_str())
            };
            ledger.refusals.iter().filter(about_me).count() > more_than
        });
        if refused.await {
            return Ok(());
        }
        Err(Missed::new(format!("WeChat to refuse a send with {code}"), format!("nothing within {SOON:?}")))
    }

    /// Moves WeChat's clock and no other. `millis` may be negative.
    pub fn move_clock(&self, millis: i64) {
        self.live.clock.advance(millis);
        self.live.book.change(Change::Clock);
        // Every customer's window has changed.
        for phone in self.live.stage.wechat.phones() {
            self.live.book.change(Change::Customer(phone.openid().into()));
        }
    }

    /// Sets whether the account is a personal one, which has no customer-service messages.
    pub fn set_personal(&self, personal: bool) {
        self.live.stage.wechat.set_personal(personal);
        self.live.book.change(Change::Account);
    }

    /// Restarts the bridge with another store.
    pub async fn change_store(&self, name: &'static str) -> Result<(), Missed> {
        let changed = self.live.child.change_store(name).await;
        changed.map(drop).map_err(|failed| lost(&failed))
    }

    /// Removes every fault and restores clock, account type and store.
    pub async fn repair(&self) -> Result<(), Missed> {
        let (wechat, im) = (&self.live.stage.wechat, &self.live.stage.im);
        wechat.faults().clear();
        im.faults().clear();
        im.lose_next_callbacks(0);
        if wechat.settings().personal {
            self.set_personal(false);
        }
        let ahead = self.live.clock.now().since(Clock::system().now());
        if ahead.abs() > 1_000 {
            self.move_clock(-ahead);
        }
        if self.live.child.store() != MAIN_STORE {
            self.change_store(MAIN_STORE).await?;
        }
        Ok(())
    }
}

/// Fails unless the bridge answered the push in time with an answer that WeChat accepts.
pub(super) fn accepted(pushed: &Pushed) -> Result<(), Missed> {
    let expected = "the push to be answered within a second";
    match pushed.tries.last() {
        Some(made) if made.error.is_none() && made.took <= ANSWER => Ok(()),
        Some(made) => {
            let error = made.error.clone().unwrap_or_else(|| format!("an answer after {:?}", made.took));
            Err(Missed::new(expected, error))
        }
        None => Err(Missed::new(expected, "WeChat made no push")),
    }
}

/// Fails with `expected` and `seen` unless the condition is fulfilled.
pub(super) fn expect(fulfilled: bool, expected: &str, seen: impl FnOnce() -> String) -> Result<(), Missed> {
    if fulfilled { Ok(()) } else { Err(Missed::new(expected, seen())) }
}

fn exactly_once(what: &str, times: usize) -> Result<(), Missed> {
    expect(times == 1, &format!("{what}, exactly once"), || format!("{times} times"))
}

/// The bridge did not start again.
pub(super) fn lost(failed: &child::Failed) -> Missed {
    Missed::new("the bridge to come back", failed.to_string())
}

/// The named values of a drill that passed.
pub(super) fn values<const N: usize>(values: [(&str, Value); N]) -> Values {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A duration as JSON, in milliseconds.
pub(super) fn millis(duration: Duration) -> Value {
    Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
