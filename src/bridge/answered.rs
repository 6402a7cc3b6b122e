//! An agent's message: one transaction finds out whether it is a repeat and writes down what is owed for it.

use fail::fail_point;

use super::{Bridge, to_wechat};
use crate::model::{Answer, Direction, Kind, Lane, MediaName, Order, Origin};
use crate::store::{NewMessage, StoreError};

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

impl Bridge {
    /// Accepts an agent's message. `Ok` means: on disk, or nothing to keep.
    pub async fn answered(&self, answer: Answer) -> Result<Answered, StoreError> {
        let inner = &self.0;
        if !inner.settings.agents.contains(&answer.from) {
            return Ok(Answered::Ignored(Ignored::NotAnAgent));
        }
        let Some(customer) = inner.accounts.customer_of(&answer.to).await? else {
            return Ok(Answered::Ignored(Ignored::NotACustomer));
        };
        let locale = inner.settings.texts.locale;
        let orders = to_wechat::orders(&answer.parts, locale, || MediaName::of_bits(rand::random()));
        if orders.is_empty() {
            return Ok(Answered::Ignored(Ignored::Empty));
        }
        let key = format!("c:{}:{}:{}", answer.from, answer.to, answer.msg_key);
        let message = NewMessage {
            direction: Direction::ToWechat,
            kind: Kind::Message,
            openid: customer.clone(),
            agent: Some(answer.from),
            orders,
            msg_seq: answer.msg_seq,
            msg_random: 0,
            source: key.clone(),
            erase: false,
        };
        let started = std::time::Instant::now();
        fail_point!("callback.received");
        let outcome = inner
            .store
            .write(move |tx| {
                if tx.first_answer(&key)?.is_some() {
                    return Ok(Answered::Ignored(Ignored::Repeat));
                }
                // The customer may have left since the map was asked.
                if !tx.customer(&message.openid)?.is_some_and(|customer| customer.known) {
                    return Ok(Answered::Ignored(Ignored::NotACustomer));
                }
                tx.mark_seen(&key, None)?;
                tx.add(&message)?;
                for order in &message.orders {
                    let Order::MediaToCustomer(attachment) = order else { continue };
                    for name in attachment.names() {
                        tx.add_medium(name, &message.openid, Origin::Agent)?;
                    }
                }
                Ok(Answered::Accepted)
            })
            .await?;
        fail_point!("callback.committed");
        if outcome == Answered::Accepted {
            inner.metrics.accepted_answer(started.elapsed());
            inner.bell.ring(Lane { direction: Direction::ToWechat, customer });
        }
        Ok(outcome)
    }
}
