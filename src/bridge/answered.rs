//! An agent's message: one transaction finds out whether it is a repeat and writes down what is owed for it.

use std::sync::Arc;

use fail::fail_point;
use rand::RngExt as _;

use super::command::effect::Effect;
use super::command::{self, Command};
use super::{Bridge, Inner, to_wechat};
use crate::model::{Answer, Direction, Kind, Lane, MediaName, OpenId, Order, Origin};
use crate::store::{NewMessage, StoreError, Tx};

/// What became of an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is on disk and will be carried out.
    Accepted,
    /// It moves nothing.
    Ignored(Ignored),
}

/// Why an agent's message moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// It was accepted before.
    Repeat,
    /// The receiver is no customer the bridge knows.
    NotACustomer,
    /// The sender is none of the agents.
    NotAnAgent,
    /// There is nothing in it to deliver.
    Empty,
}

impl Ignored {
    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::NotACustomer => "not_a_customer",
            Self::NotAnAgent => "not_an_agent",
            Self::Empty => "empty",
        }
    }
}

/// How the bridge learnt of an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// IM called.
    ByCallback,
    /// It was found in the history.
    FromHistory,
}

impl Bridge {
    /// Accepts an agent's message. `Ok` means: on disk, or nothing to keep.
    pub async fn answered(&self, answer: Answer) -> Result<Answered, StoreError> {
        let started = std::time::Instant::now();
        fail_point!("callback.received");
        let outcome = self.take(answer, Came::ByCallback).await?;
        fail_point!("callback.committed");
        if outcome == Answered::Accepted {
            self.0.metrics.accepted_answer(started.elapsed());
        }
        Ok(outcome)
    }

    /// Accepts an agent's message that was found in the history, unless its callback has come: from then on it is
    /// the callback that comes too late.
    pub async fn recovered(&self, answer: Answer) -> Result<Answered, StoreError> {
        let outcome = self.take(answer, Came::FromHistory).await?;
        if outcome == Answered::Accepted {
            self.0.metrics.recovered();
        }
        Ok(outcome)
    }

    /// A callback told of a message that is not to be moved: neither is it when it is found in the history.
    pub async fn passed_over(&self, answer: Answer) -> Result<(), StoreError> {
        if self.0.accounts.customer_of(&answer.to).await?.is_some() {
            self.0.store.write(move |tx| Marks::of(&answer).make(tx, Came::ByCallback)).await?;
        }
        Ok(())
    }

    async fn take(&self, answer: Answer, came: Came) -> Result<Answered, StoreError> {
        let inner = &self.0;
        if !inner.settings.agents.contains(&answer.from) {
            return Ok(Answered::Ignored(Ignored::NotAnAgent));
        }
        let Some(customer) = inner.accounts.customer_of(&answer.to).await? else {
            return Ok(Answered::Ignored(Ignored::NotACustomer));
        };
        let (parts, locale) = (&answer.parts, inner.settings.texts.locale);
        let orders = || to_wechat::orders(parts, locale, || MediaName::of_bits(rand::random()));
        let what = command::parse(parts).map_or_else(|| Said::Message(orders()), Said::Command);
        if what == Said::Message(Vec::new()) {
            return Ok(Answered::Ignored(Ignored::Empty));
        }
        // A command is answered where it was given.
        let direction = if matches!(what, Said::Command(_)) { Direction::ToIm } else { Direction::ToWechat };
        let lane = Lane { direction, customer: customer.clone() };
        let taking =
            Taking { inner: Arc::clone(inner), customer, answer, came, what, random: rand::rng().random() };
        let outcome = inner.store.write(move |tx| taking.decide(tx)).await?;
        if outcome == Answered::Accepted {
            inner.bell.ring(lane);
        }
        Ok(outcome)
    }
}

/// What an agent's message is.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Message(Vec<Order>),
    Command(Command),
}

struct Taking {
    inner: Arc<Inner>,
    customer: OpenId,
    answer: Answer,
    came: Came,
    what: Said,
    random: [u32; 3],
}

impl Taking {
    fn decide(&self, tx: &Tx<'_>) -> Result<Answered, StoreError> {
        let marks = Marks::of(&self.answer);
        if marks.are_made(tx, self.came)? {
            return Ok(Answered::Ignored(Ignored::Repeat));
        }
        // The customer may have left since the map was asked.
        let Some(customer) = tx.customer(&self.customer)?.filter(|customer| customer.known) else {
            return Ok(Answered::Ignored(Ignored::NotACustomer));
        };
        marks.make(tx, self.came)?;
        let source = &marks.key;
        let message = match &self.what {
            Said::Command(command) => {
                let (inner, by) = (&*self.inner, &self.answer.from);
                Effect { inner, command, by, source, random: self.random }.carry_out(tx, customer)?;
                None
            }
            Said::Message(orders) => {
                for order in orders {
                    let Order::MediaToCustomer(attachment) = order else { continue };
                    for name in attachment.names() {
                        tx.add_medium(name, &self.customer, Origin::Agent)?;
                    }
                }
                let unlooked = self.inner.is_unlooked(tx, &self.customer)?;
                let id = tx.add(&NewMessage {
                    direction: Direction::ToWechat,
                    kind: Kind::Message,
                    openid: self.customer.clone(),
                    agent: Some(self.answer.from.clone()),
                    orders: orders.clone(),
                    msg_seq: self.answer.msg_seq,
                    msg_random: self.answer.msg_random,
                    source: source.clone(),
                    erase: false,
                })?;
                let Answer { msg_time, msg_seq, .. } = self.answer;
                tx.said(id, msg_time, unlooked)?;
                if self.came == Came::FromHistory {
                    tx.take_turn(&self.customer, id, (msg_time, msg_seq))?;
                }
                Some(id)
            }
        };
        if self.came == Came::FromHistory {
            tx.step(&self.customer, message, "recovered", "its callback had not come", None)?;
        }
        Ok(Answered::Accepted)
    }
}

/// The seen-marks of an agent's message. A callback and the history may write its key in different ways, so the
/// numbers that are the same in both count too, but only between the two: what tells one callback from another is
/// the key.
struct Marks {
    key: String,
    numbers: String,
}

impl Marks {
    fn of(answer: &Answer) -> Self {
        let Answer { from, to, msg_key, msg_time, msg_seq, msg_random, .. } = answer;
        let of = |key: &str| format!("c:{from}:{to}:{key}");
        Self { key: of(msg_key), numbers: of(&format!("{msg_seq}_{msg_random}_{msg_time}")) }
    }

    fn found(&self) -> String {
        format!("found:{}", self.numbers)
    }

    fn are_made(&self, tx: &Tx<'_>, came: Came) -> Result<bool, StoreError> {
        let other = match came {
            Came::ByCallback => &self.found(),
            Came::FromHistory => &self.numbers,
        };
        Ok(tx.first_answer(&self.key)?.is_some() || tx.first_answer(other)?.is_some())
    }

    fn make(&self, tx: &Tx<'_>, came: Came) -> Result<(), StoreError> {
        let other = match came {
            Came::ByCallback => &self.numbers,
            Came::FromHistory => &self.found(),
        };
        for key in [&self.key, other] {
            if tx.first_answer(key)?.is_none() {
                tx.mark_seen(key, None)?;
            }
        }
        Ok(())
    }
}
