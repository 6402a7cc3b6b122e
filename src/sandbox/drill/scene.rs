//! The customers and agents of a drill, and the actions and checks that a drill can use. Every
//! check waits for a condition with a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::Measurements;
use crate::clock::Clock;
use crate::model::hours::WorkingHours;
use crate::sandbox::child::{self, Apply};
use crate::sandbox::conditions::{
    self, Checked, Mismatch, NOTICE_PREFIX, await_entry, expect, expect_webhook,
};
use crate::sandbox::im::{AgentClient, SendRecord, SentMessage};
use crate::sandbox::instance::Instance;
use crate::sandbox::session::{Change, DRILL_CUSTOMER, Session};
use crate::sandbox::stores::MAIN_STORE;
use crate::sandbox::wechat::{Phone, PushResult, ScreenEntry, tiny_png};

const NEIGHBOUR: &str = "oSandboxDrillNeighbour000001";
/// The deadline for everything that happens without delay, even on a loaded machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);
/// The contract: the bridge answers a push within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The surroundings of one drill.
pub(super) struct Scene {
    /// The sandbox session that the drill runs in.
    pub session: Arc<Session>,
    /// The customer, who already follows the account.
    pub customer: Phone,
    /// Marks this drill's texts, to distinguish them from those of an earlier drill.
    mark: i64,
}

impl Scene {
    /// A scene with a customer who follows the account.
    pub fn new(session: Arc<Session>) -> Self {
        let customer = session.stage.wechat.customer(DRILL_CUSTOMER);
        session.set_name(DRILL_CUSTOMER, "Drills".to_owned());
        customer.set_following(true);
        let mark = Clock::system().now().0 / 100 % 1_000_000;
        Self { session, customer, mark }
    }

    /// A second customer, who follows the account too.
    pub fn neighbour(&self) -> Phone {
        let neighbour = self.session.stage.wechat.customer(NEIGHBOUR);
        self.session.set_name(NEIGHBOUR, "Drills, another".to_owned());
        neighbour.set_following(true);
        neighbour
    }

    /// `words` with the mark of this drill, so that the text is unique.
    pub fn marked_text(&self, words: &str) -> String {
        format!("{words} (drill {})", self.mark)
    }

    /// A picture that no other drill has sent, so that the bridge has not uploaded it before.
    pub fn marked_picture(&self) -> Bytes {
        [&tiny_png()[..], &self.mark.to_be_bytes()].concat().into()
    }

    /// The customer sends `words`. Fails if the bridge does not answer the push in time.
    pub async fn say(&self, phone: &Phone, words: &str) -> Checked<PushResult> {
        let pushed = phone.say(words).await;
        expect_in_time(&pushed)?;
        Ok(pushed)
    }

    /// Signs in the agents who are signed out.
    pub async fn sign_everybody_in(&self) {
        for desk in self.session.stage.agents().iter().filter(|desk| !desk.is_signed_in()) {
            desk.sign_in().await;
        }
    }

    /// The customer opens a conversation. Returns the agent who receives the message and has the
    /// conversation from then on.
    pub async fn open_conversation(&self) -> Checked<AgentClient> {
        let words = self.marked_text("Hello, is anyone there?");
        self.say(&self.customer, &words).await?;
        self.await_arrival(&words, DEADLINE).await
    }

    /// Waits until `words` reach an agent, and returns that agent.
    pub async fn await_arrival(&self, words: &str, limit: Duration) -> Checked<AgentClient> {
        let desks = self.session.stage.agents();
        let mut changes = self.session.stage.im.changes();
        let arrival = async {
            loop {
                changes.mark_unchanged();
                let has = |desk: &&AgentClient| desk.inbox().iter().any(|seen| seen.text().contains(words));
                if let Some(desk) = desks.iter().find(has) {
                    return desk.clone();
                }
                // The platform outlives its drills, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        conditions::within(limit, format!("{words:?} at an agent"), arrival).await
    }

    /// How often `words` reached an agent.
    pub fn count_arrivals(&self, words: &str) -> usize {
        self.session.stage.im.ledger().deliveries().filter(|send| send.text().contains(words)).count()
    }

    /// Fails unless `words` reached an agent exactly once.
    pub fn expect_once_at_agent(&self, words: &str) -> Checked {
        expect_once(&format!("{words:?} at the agent"), self.count_arrivals(words))
    }

    /// The agent answers. Fails if the bridge does not accept the webhook.
    pub async fn answer(&self, desk: &AgentClient, words: &str) -> Checked<SentMessage> {
        let (sent, _) = expect_webhook(desk.say(self.customer.openid(), words).await)?;
        Ok(sent)
    }

    /// The agent answers with a picture. Fails if the bridge does not accept the webhook.
    pub async fn answer_with_picture(&self, desk: &AgentClient, picture: &Bytes) -> Checked {
        let sent = desk.send_image(self.customer.openid(), "answer.png", picture.clone()).await;
        expect_webhook(sent).map(drop)
    }

    /// Waits until the customer's phone shows the picture.
    pub async fn await_picture(&self, picture: &Bytes, limit: Duration) -> Checked {
        let find = |screen: &[ScreenEntry]| screen.iter().find(|shown| shows(shown, picture)).cloned();
        await_entry(&self.customer, limit, "the picture on the phone", find).await.map(drop)
    }

    /// Fails unless the customer's phone shows the picture exactly once, before `words`.
    pub fn expect_picture_once_before(&self, picture: &Bytes, words: &str) -> Checked {
        let screen = self.customer.screen();
        expect_once("the picture on the phone", screen.iter().filter(|shown| shows(shown, picture)).count())?;
        let picture_at = screen.iter().position(|shown| shows(shown, picture));
        let words_at = screen.iter().position(|shown| shown.text.contains(words));
        expect(picture_at < words_at, format!("the picture before {words:?}"), || {
            format!("{picture_at:?}, {words_at:?}")
        })
    }

    /// Waits until the customer's phone shows `words`.
    pub async fn await_on_screen(&self, words: &str, limit: Duration) -> Checked {
        let find = |screen: &[ScreenEntry]| screen.iter().find(|shown| shown.text.contains(words)).cloned();
        await_entry(&self.customer, limit, &format!("{words:?} on the phone"), find).await.map(drop)
    }

    /// Fails unless the customer's phone shows `words` exactly once.
    pub fn expect_once_on_screen(&self, words: &str) -> Checked {
        let screen = self.customer.screen();
        let times = screen.iter().map(|shown| shown.text.matches(words).count()).sum();
        expect_once(&format!("{words:?} on the phone"), times)
    }

    /// Fails if the customer's phone shows the `answers` in another order.
    pub fn expect_in_order(&self, answers: &[String]) -> Checked {
        let texts = self.customer.texts().join("\n");
        let positions: Vec<_> = answers.iter().map(|answer| texts.find(answer.as_str())).collect();
        expect(positions.is_sorted(), "the answers in their order", || format!("{positions:?}"))
    }

    /// Fails if the `questions` reached the agents in another order.
    pub fn expect_arrived_in_order(&self, questions: &[String]) -> Checked {
        let ledger = self.session.stage.im.ledger();
        let texts: Vec<String> = ledger.deliveries().map(SendRecord::text).collect();
        let arrived = |question: &String| texts.iter().position(|text| text.contains(question));
        let positions: Vec<_> = questions.iter().map(arrived).collect();
        expect(positions.is_sorted(), "the questions in their order", || format!("{positions:?}"))
    }

    /// Waits until the call that sent `words` to an agent has ended. Returns which of several bridges made it.
    pub async fn await_sender(&self, words: &str) -> Checked<Instance> {
        let log = &self.session.event_log;
        let mut changes = log.subscribe();
        let sender = async {
            loop {
                changes.mark_unchanged();
                if let Some(instance) =
                    log.find_call(|call| call.delivers(words)).and_then(|call| call.instance)
                {
                    return instance;
                }
                // The log outlives its drills, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        conditions::within(DEADLINE, format!("the call that sends {words:?}"), sender).await
    }

    /// The number of notices from the bridge that the agent has in this conversation.
    pub fn count_notices(&self, desk: &AgentClient) -> usize {
        self.notice_texts(desk).len()
    }

    fn notice_texts(&self, desk: &AgentClient) -> Vec<String> {
        let inbox = desk.inbox();
        let mine = inbox.iter().filter(|seen| seen.from.starts_with(self.customer.openid()));
        mine.map(|seen| seen.text()).filter(|text| text.starts_with(NOTICE_PREFIX)).collect()
    }

    /// Waits for a notice to the agent after the first `before` notices, and returns its text.
    pub async fn await_notice(&self, desk: &AgentClient, before: usize) -> Checked<String> {
        self.await_notice_with(desk, before, "").await
    }

    /// The same for a notice that contains `part`.
    pub async fn await_notice_with(&self, desk: &AgentClient, before: usize, part: &str) -> Checked<String> {
        let find = || {
            let new = self.notice_texts(desk).into_iter().skip(before);
            new.rev().find(|text| text.contains(part))
        };
        let awaited = desk.wait_for(|_| find().is_some(), DEADLINE).await;
        let missed = Mismatch::late("a notice to the agent", DEADLINE);
        awaited.map_err(|_| missed.clone())?;
        find().ok_or(missed)
    }

    /// The number of calls about this customer that WeChat refused with `code`.
    pub fn count_refusals(&self, code: i64) -> usize {
        let ledger = self.session.stage.wechat.ledger();
        let about_me = |openid: &Option<String>| openid.as_deref() == Some(self.customer.openid());
        ledger.refusals.iter().filter(|one| one.code == code && about_me(&one.openid)).count()
    }

    /// Waits until WeChat has refused more than `more_than` calls about this customer with `code`.
    pub async fn await_refusal(&self, code: i64, more_than: usize) -> Checked {
        let openid = self.customer.openid().to_owned();
        let refused = self.session.stage.wechat.wait_until(DEADLINE, |ledger| {
            let about_me = |one: &&Arc<crate::sandbox::wechat::Refusal>| {
                one.code == code && one.openid.as_deref() == Some(openid.as_str())
            };
            ledger.refusals.iter().filter(about_me).count() > more_than
        });
        if refused.await {
            return Ok(());
        }
        Err(Mismatch::late(format!("WeChat to refuse a send with {code}"), DEADLINE))
    }

    /// Moves WeChat's clock and no other. `millis` may be negative.
    pub fn move_clock(&self, millis: i64) {
        self.session.clock.advance(millis);
        self.session.event_log.add_change(Change::Clock);
        // Every customer's window has changed.
        for phone in self.session.stage.wechat.phones() {
            self.session.event_log.add_change(Change::Customer(phone.openid().into()));
        }
    }

    /// Sets whether the account is a personal one, which has no customer-service messages.
    pub fn set_personal(&self, personal: bool) {
        self.session.stage.wechat.set_personal(personal);
        self.session.event_log.add_change(Change::Account);
    }

    /// Distinguishes this drill from others.
    pub fn mark(&self) -> i64 {
        self.mark
    }

    /// Restarts the bridge with another store.
    pub async fn change_store(&self, name: &'static str) -> Checked {
        let changed = self.session.bridges.change_store(name).await;
        changed.map(drop).map_err(|failed| restart_failed(&failed))
    }

    /// Gives the bridge these working hours, with the lines of its configuration that say so, or those that it began with.
    pub async fn set_hours(&self, hours: Option<(String, WorkingHours)>, apply: Apply) -> Checked {
        let (lines, hours) = hours.map_or_else(Default::default, |(lines, hours)| (lines, Some(hours)));
        let configured = self.session.bridges.configure(&lines, apply).await;
        self.session.set_hours(hours);
        configured.map_err(|failed| restart_failed(&failed))
    }

    /// Removes every fault and restores clock, account type and store.
    pub async fn repair(&self) -> Checked {
        let (wechat, im) = (&self.session.stage.wechat, &self.session.stage.im);
        self.session.bridges.repair().await.map_err(|failed| restart_failed(&failed))?;
        wechat.faults().clear();
        im.faults().clear();
        im.lose_next_callbacks(0);
        self.sign_everybody_in().await;
        if self.session.are_hours_changed() {
            self.set_hours(None, Apply::Restart).await?;
        }
        if wechat.settings().personal {
            self.set_personal(false);
        }
        let ahead = self.session.clock.now().since(Clock::system().now());
        if ahead.abs() > 1_000 {
            self.move_clock(-ahead);
        }
        if !self.session.bridges.are_on(MAIN_STORE) {
            self.change_store(MAIN_STORE).await?;
        }
        Ok(())
    }
}

/// Fails unless the bridge answered the push in time with an answer that WeChat accepts.
pub(super) fn expect_in_time(pushed: &PushResult) -> Checked {
    let expected = "the push to be answered within a second";
    let made = conditions::expect_accepted(pushed, expected)?;
    expect(made.took <= ANSWER_LIMIT, expected, || format!("an answer after {:?}", made.took))
}

fn shows(entry: &ScreenEntry, picture: &Bytes) -> bool {
    entry.media.as_ref().is_some_and(|media| media.bytes == *picture)
}

fn expect_once(subject: &str, times: usize) -> Checked {
    expect(times == 1, format!("{subject}, exactly once"), || format!("{times} times"))
}

/// The bridge did not start again.
pub(super) fn restart_failed(failed: &child::ChildError) -> Mismatch {
    Mismatch::new("the bridge to come back", failed.to_string())
}

/// The named values of a drill that passed.
pub(super) fn values<const N: usize>(values: [(&str, Value); N]) -> Measurements {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A duration as JSON, in milliseconds.
pub(super) fn millis(duration: Duration) -> Value {
    Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
