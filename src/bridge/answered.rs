//! Accepts an agent's message. One transaction detects a repeat and stores the calls that the
//! message needs.

use std::sync::Arc;

use fail::fail_point;
use rand::RngExt as _;

use super::command::effect::Effect;
use super::command::{self, Command};
use super::{Bridge, Inner, to_wechat};
use crate::model::{
    Answer, Direction, ImUserId, Lane, MediaName, MediaOrigin, MessageKind, OpenId, OutboundCall,
};
use crate::store::{Customer, NewMessage, StoreError, Tx};

/// The outcome of accepting an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is on disk and will be processed.
    Accepted,
    /// It has no effect.
    Ignored(Ignored),
}

/// Why an agent's message has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// It was accepted before.
    Repeat,
    /// The receiver is not a customer that the bridge knows.
    NotACustomer,
    /// The sender is not one of the agents.
    NotAnAgent,
    /// It contains nothing to deliver.
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

/// How the bridge learned of an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// By a callback from IM.
    ByCallback,
    /// From the conversation's history, by a backfill.
    FromHistory,
}

impl Bridge {
    /// Accepts an agent's message from a callback. `Ok` means that it is on disk, or that there is
    /// nothing to keep.
    pub async fn answered(&self, answer: Answer) -> Result<Answered, StoreError> {
        let started = std::time::Instant::now();
        fail_point!("callback.received");
        let outcome = self.take(answer, Came::ByCallback).await?;
        fail_point!("callback.committed");
        if outcome == Answered::Accepted {
            self.0.metrics.record_answer(started.elapsed());
        }
        Ok(outcome)
    }

    /// Accepts an agent's message that a backfill found in the history, unless its callback has
    /// arrived. A callback that arrives later counts as the repeat.
    pub async fn recovered(&self, answer: Answer) -> Result<Answered, StoreError> {
        let outcome = self.take(answer, Came::FromHistory).await?;
        if outcome == Answered::Accepted {
            self.0.metrics.record_backfilled();
        }
        Ok(outcome)
    }

    /// Records a callback's message that must not be forwarded, so that a backfill does not forward
    /// it either.
    pub async fn passed_over(&self, answer: Answer) -> Result<(), StoreError> {
        let pass_over = move |tx: &Tx<'_>| match customer_of(tx, &answer.to)? {
            Some(_) => Marks::of(&answer).make(tx, Came::ByCallback),
            None => Ok(()),
        };
        self.0.store.write(pass_over).await
    }

    async fn take(&self, answer: Answer, came: Came) -> Result<Answered, StoreError> {
        let inner = &self.0;
        if !inner.settings.agents.contains(&answer.from) {
            return Ok(Answered::Ignored(Ignored::NotAnAgent));
        }
        let (parts, locale) = (&answer.parts, inner.settings.texts.locale);
        let orders = || to_wechat::orders(parts, locale, || MediaName::of_bits(rand::random()));
        let what = command::parse(parts).map_or_else(|| Said::Message(orders()), Said::Command);
        // The reply to a command goes to the agent who sent it.
        let direction = if matches!(what, Said::Command(_)) { Direction::ToIm } else { Direction::ToWechat };
        let taking = Taking { inner: Arc::clone(inner), answer, came, what, random: rand::rng().random() };
        // Do not await anything before this write, or a later message could overtake this one.
        Ok(match inner.store.write(move |tx| taking.decide(tx)).await? {
            Ok(customer) => {
                inner.bell.ring(Lane { direction, customer });
                Answered::Accepted
            }
            Err(why) => Answered::Ignored(why),
        })
    }
}

/// Returns the known customer whose current IM account is `user`.
fn customer_of(tx: &Tx<'_>, user: &ImUserId) -> Result<Option<Customer>, StoreError> {
    let is_present = |customer: &Customer| {
        let account = ImUserId::of_customer(&customer.openid, customer.number);
        customer.known && account.is_ok_and(|account| account == *user)
    };
    for openid in user.possible_openids() {
        let found = tx.customer(&openid)?.filter(is_present);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The content of an agent's message.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Message(Vec<OutboundCall>),
    Command(Command),
}

struct Taking {
    inner: Arc<Inner>,
    answer: Answer,
    came: Came,
    what: Said,
    random: [u32; 3],
}

impl Taking {
    /// Stores the message. Returns the customer whose conversation it belongs to, or why it is
    /// ignored.
    fn decide(&self, tx: &Tx<'_>) -> Result<Result<OpenId, Ignored>, StoreError> {
        let Some(customer) = customer_of(tx, &self.answer.to)? else {
            return Ok(Err(Ignored::NotACustomer));
        };
        if self.what == Said::Message(Vec::new()) {
            return Ok(Err(Ignored::Empty));
        }
        let marks = Marks::of(&self.answer);
        if marks.are_made(tx, self.came)? {
            return Ok(Err(Ignored::Repeat));
        }
        let openid = customer.openid.clone();
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
                    let OutboundCall::MediaToCustomer(attachment) = order else { continue };
                    for name in attachment.names() {
                        tx.add_medium(name, &openid, MediaOrigin::Agent)?;
                    }
                }
                let unlooked = self.inner.is_unlooked(tx, &openid)?;
                let id = tx.add(&NewMessage {
                    direction: Direction::ToWechat,
                    kind: MessageKind::Message,
                    openid: openid.clone(),
                    agent: Some(self.answer.from.clone()),
                    calls: orders.clone(),
                    msg_seq: self.answer.msg_seq,
                    msg_random: self.answer.msg_random,
                    source: source.clone(),
                    erase: false,
                })?;
                let Answer { msg_time, msg_seq, .. } = self.answer;
                tx.set_sent_at(id, msg_time, unlooked)?;
                // Callbacks may overtake one another. Callbacks of the same second keep their order
                // of arrival, because no document says that every client counts `MsgSeq` up.
                let place = if self.came == Came::ByCallback { u32::MAX } else { msg_seq };
                tx.insert_by_time(&openid, id, (msg_time, place))?;
                Some(id)
            }
        };
        if self.came == Came::FromHistory {
            tx.record_step(&openid, message, "recovered", "its callback did not arrive", None)?;
        }
        Ok(Ok(openid))
    }
}

/// The dedup keys of an agent's message. A callback and the history may spell the message's key
/// differently, so the numbers that are equal in both count too. They count only between a callback
/// and the history; two callbacks are told apart by the key alone.
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
        Ok(tx.first_reply(&self.key)?.is_some() || tx.first_reply(other)?.is_some())
    }

    fn make(&self, tx: &Tx<'_>, came: Came) -> Result<(), StoreError> {
        let other = match came {
            Came::ByCallback => &self.numbers,
            Came::FromHistory => &self.found(),
        };
        for key in [&self.key, other] {
            if tx.first_reply(key)?.is_none() {
                tx.record_dedup(key, None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::tests::over;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{AnswerPart, Move};
    use crate::store::{Head, Settlement, Store, StoreLocation};

    /// Creates a bridge over a store in which `oAnna` is a customer.
    async fn annas(store: &Store, clock: &Clock, folder: &std::path::Path) -> Bridge {
        let customer = Customer { known: true, ..Customer::new(OpenId::new("oAnna").unwrap()) };
        store.write(move |tx| tx.put_customer(&customer)).await.unwrap();
        over(store, clock, folder).await
    }

    fn said(bridge: &Bridge, msg_time: i64, msg_seq: u32) -> Answer {
        Answer {
            from: bridge.agents()[0].clone(),
            to: ImUserId::new("oAnna").unwrap(),
            msg_key: format!("{msg_seq}_2_{msg_time}"),
            msg_time,
            msg_seq,
            msg_random: 2,
            parts: vec![AnswerPart::Text(format!("{msg_seq} at {msg_time}"))],
        }
    }

    /// A read may take long. If one answer waited for a read, the next one, which need not wait,
    /// would overtake it.
    #[tokio::test]
    async fn an_answer_waits_for_no_read() {
        let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
        let place = StoreLocation::File(folder.path().join("bridge.db"));
        let (store, closing) = Store::open(&place, clock.clone(), Metrics::default()).unwrap();
        let bridge = annas(&store, &clock, folder.path()).await;
        let (begun, reading) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let mut begun = Some(begun);
        let other = store.clone();
        let long = tokio::spawn(async move {
            let read = move |_: &Tx<'_>| {
                begun.take().unwrap().send(()).unwrap();
                ended.recv().map_err(|_| StoreError::Closed)
            };
            other.read(read).await
        });
        reading.await.unwrap();
        let taken = bridge.answered(said(&bridge, 3, 1));
        let taken = tokio::time::timeout(std::time::Duration::from_secs(10), taken).await;
        end.send(()).unwrap();
        long.await.unwrap().unwrap();
        assert_eq!(taken.unwrap().unwrap(), Answered::Accepted);
        closing.close();
    }

    #[tokio::test]
    async fn callbacks_keep_their_order_within_a_second_and_are_put_in_order_beyond() {
        let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
        let (store, closing) =
            Store::open(&StoreLocation::Memory, clock.clone(), Metrics::default()).unwrap();
        let bridge = annas(&store, &clock, folder.path()).await;
        for (msg_time, msg_seq) in [(20, 7), (20, 3), (30, 1), (10, 9), (20, 5)] {
            bridge.answered(said(&bridge, msg_time, msg_seq)).await.unwrap();
        }
        let lane = Lane { direction: Direction::ToWechat, customer: OpenId::new("oAnna").unwrap() };
        let leave = move |tx: &Tx<'_>| {
            let mut left = Vec::new();
            while let Head::Ready(owed) = tx.head(&lane)? {
                left.push(owed.call);
                tx.settle(owed.id, Move::Refuse, &Settlement::default())?;
            }
            Ok(left)
        };
        let in_order = ["9 at 10", "7 at 20", "3 at 20", "5 at 20", "1 at 30"];
        let in_order = in_order.map(|text| OutboundCall::TextToCustomer(text.to_owned()));
        assert_eq!(store.write(leave).await.unwrap(), in_order);
        closing.close();
    }
}
