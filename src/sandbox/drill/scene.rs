//! Who plays in a drill, and what a drill may ask of them. Whatever must happen is awaited as a condition, with a
//! deadline.

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
/// What the bridge's own words to an agent begin with.
const NOTE: &str = "[bridge] ";
/// For whatever happens without delay, on a loaded machine.
pub(super) const SOON: Duration = Duration::from_secs(15);
/// The contract: a push is answered within this time.
const ANSWER: Duration = Duration::from_secs(1);

/// One drill's surroundings.
pub(super) struct Scene {
    pub live: Arc<Live>,
    /// Follows the account from before.
    pub customer: Phone,
    /// Marks this drill's words, so that they are told from those of the one before.
    mark: i64,
}

impl Scene {
    pub fn new(live: Arc<Live>) -> Self {
        let customer = live.stage.wechat.customer(CUSTOMER);
        live.call(CUSTOMER, "Drills".to_owned());
        customer.set_following(true);
        let mark = Clock::system().now().0 / 100 % 1_000_000;
        Self { live, customer, mark }
    }

    /// Another customer than the drill's.
    pub fn neighbour(&self) -> Phone {
        let neighbour = self.live.stage.wechat.customer(NEIGHBOUR);
        self.live.call(NEIGHBOUR, "Drills, another".to_owned());
        neighbour.set_following(true);
        neighbour
    }

    /// Words of this drill.
    pub fn words(&self, words: &str) -> String {
        format!("{words} (drill {})", self.mark)
    }

    /// The customer writes, and the bridge must answer in time.
    pub async fn say(&self, phone: &Phone, words: &str) -> Result<Pushed, Missed> {
        let pushed = phone.say(words).await;
        accepted(&pushed)?;
        Ok(pushed)
    }

    /// The customer writes, and it must reach an agent: who has the conversation from then on.
    pub async fn open(&self) -> Result<Desk, Missed> {
        let words = self.words("Hello, is somebody there?");
        self.say(&self.customer, &words).await?;
        self.arrives(&words, SOON).await
    }

    /// The words must reach an agent.
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
                // The platform outlives its drills.
                let _ = changes.changed().await;
            }
        };
        let missed = |_| Missed::new(format!("{words:?} at an agent"), format!("nothing within {within:?}"));
        tokio::time::timeout(within, found).await.map_err(missed)
    }

    /// How often the words reached an agent.
    pub fn arrivals(&self, words: &str) -> usize {
        self.live.stage.im.ledger().delivered().filter(|send| send.text().contains(words)).count()
    }

    /// The words must have reached an agent exactly once.
    pub fn once_at_agent(&self, words: &str) -> Result<(), Missed> {
        exactly_once(&format!("{words:?} at the agent"), self.arrivals(words))
    }

    /// The agent answers, and the bridge must take it.
    pub async fn answer(&self, desk: &Desk, words: &str) -> Result<Sent, Missed> {
        let expected = "the bridge to take the agent's message";
        let sent = desk.say(self.customer.openid(), words).await;
        let sent = sent.map_err(|refused| Missed::new(expected, refused.to_string()))?;
        match sent.callback.as_ref().map(|answer| &answer.error) {
            Some(None) => Ok(sent),
            Some(Some(error)) => Err(Missed::new(expected, error.to_string())),
            None => Err(Missed::new(expected, "it was not told of it")),
        }
    }

    /// The customer must be shown the words.
    pub async fn shown(&self, words: &str, within: Duration) -> Result<(), Missed> {
        let has = |screen: &[Shown]| screen.iter().any(|shown| shown.text.contains(words));
        let shown = self.customer.wait_for(within, has).await;
        let missed = |_| Missed::new(format!("{words:?} on the phone"), format!("nothing within {within:?}"));
        shown.map(drop).map_err(missed)
    }

    /// The customer must have been shown the words exactly once.
    pub fn once_at_customer(&self, words: &str) -> Result<(), Missed> {
        let screen = self.customer.screen();
        let times = screen.iter().map(|shown| shown.text.matches(words).count()).sum();
        exactly_once(&format!("{words:?} on the phone"), times)
    }

    /// How many notes of the bridge the agent has in this conversation.
    pub fn notes(&self, desk: &Desk) -> usize {
        self.noted(desk).len()
    }

    fn noted(&self, desk: &Desk) -> Vec<String> {
        let inbox = desk.inbox();
        let mine = inbox.iter().filter(|seen| seen.from.starts_with(self.customer.openid()));
        mine.map(|seen| seen.text()).filter(|text| text.starts_with(NOTE)).collect()
    }

    /// The agent must get a note after the first `before`: its words.
    pub async fn note(&self, desk: &Desk, before: usize) -> Result<String, Missed> {
        let noted = desk.wait_for(|_| self.notes(desk) > before, SOON).await;
        let missed = Missed::new("a note to the agent", format!("none within {SOON:?}"));
        noted.map_err(|_| missed.clone())?;
        self.noted(desk).into_iter().next_back().ok_or(missed)
    }

    /// Calls of WeChat's about this customer that were refused with the code.
    pub fn refusals(&self, code: i64) -> usize {
        let ledger = self.live.stage.wechat.ledger();
        let about_me = |openid: &Option<String>| openid.as_deref() == Some(self.customer.openid());
        ledger.refusals.iter().filter(|one| one.code == code && about_me(&one.openid)).count()
    }

    /// WeChat must refuse calls about this customer with the code, more than `before`.
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

    /// Moves WeChat's clock, and nobody else's.
    pub fn move_clock(&self, millis: i64) {
        self.live.clock.advance(millis);
        self.live.book.change(Change::Clock);
        // Every window is another now.
        for phone in self.live.stage.wechat.phones() {
            self.live.book.change(Change::Customer(phone.openid().into()));
        }
    }

    /// Makes the account one that may not send by itself, or one that may.
    pub fn set_personal(&self, personal: bool) {
        self.live.stage.wechat.set_personal(personal);
        self.live.book.change(Change::Account);
    }

    /// The bridge goes on with another store.
    pub async fn change_store(&self, name: &'static str) -> Result<(), Missed> {
        let changed = self.live.child.change_store(name).await;
        changed.map(drop).map_err(|failed| lost(&failed))
    }

    /// No fault is left.
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

/// The push must have been answered in time, with something that WeChat takes.
pub(super) fn accepted(pushed: &Pushed) -> Result<(), Missed> {
    let expected = "the push to be answered within a second";
    match pushed.tries.last() {
        Some(made) if made.error.is_none() && made.took <= ANSWER => Ok(()),
        Some(made) => {
            let error = made.error.clone().unwrap_or_else(|| format!("an answer after {:?}", made.took));
            Err(Missed::new(expected, error))
        }
        None => Err(Missed::new(expected, "WeChat pushes no more")),
    }
}

pub(super) fn expect(fulfilled: bool, expected: &str, seen: impl FnOnce() -> String) -> Result<(), Missed> {
    if fulfilled { Ok(()) } else { Err(Missed::new(expected, seen())) }
}

fn exactly_once(what: &str, times: usize) -> Result<(), Missed> {
    expect(times == 1, &format!("{what}, exactly once"), || format!("{times} times"))
}

pub(super) fn lost(failed: &child::Failed) -> Missed {
    Missed::new("the bridge to come back", failed.to_string())
}

/// What a drill has to tell.
pub(super) fn values<const N: usize>(values: [(&str, Value); N]) -> Values {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn millis(duration: Duration) -> Value {
    Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
