//! Carries out an agent's command within the transaction that accepts it.

use super::Command;
use super::words::{self, Told};
use crate::bridge::sending::owe_note;
use crate::bridge::to_im::NOTE_PREFIX;
use crate::bridge::{Inner, quota};
use crate::model::{Direction, HoldReason, ImUserId, MessageKind, OutboundCall};
use crate::store::{Customer, NewMessage, PastMessage, StoreError, Tx};

/// The most past messages shown to an agent who takes over a conversation.
const PAST_MESSAGES: u32 = 20;
/// The same limit in calls: a long message needs several.
const PAST_ORDERS: usize = 50;

/// A command with everything needed to carry it out.
pub(in crate::bridge) struct Effect<'a> {
    /// The bridge.
    pub inner: &'a Inner,
    /// The command.
    pub command: &'a Command,
    /// The agent who sent it.
    pub by: &'a ImUserId,
    /// The dedup key of the command.
    pub source: &'a str,
    /// Random numbers for the messages that the command causes: the transfer, the notice to the
    /// sender, and the notice to another agent.
    pub random: [u32; 3],
}

impl Effect<'_> {
    /// Carries out the command for a known customer and enqueues the reply to the agent.
    pub fn carry_out(&self, tx: &Tx<'_>, customer: Customer) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        let detail = match self.command {
            Command::Who => "/who",
            Command::To(_) => "/to",
            Command::Close => "/close",
            Command::Help => "/help",
        };
        tx.record_step(&customer.openid, None, "command", detail, None)?;
        match self.command {
            Command::Help => self.tell(tx, &customer, self.by, Told::Help { agents: &settings.agents }),
            Command::Who => {
                let now = tx.now();
                let left = if self.inner.may_push(now) {
                    quota::left(&customer, now).map_err(words::because)
                } else {
                    Err(HoldReason::NotAllowed)
                };
                let held = tx.count_held(&customer.openid)?;
                let told = Told::Who { agent: customer.agent.as_ref(), left, held, now };
                self.tell(tx, &customer, self.by, told)
            }
            Command::Close => {
                let customer = Customer { agent: None, ..customer };
                tx.put_customer(&customer)?;
                self.tell(tx, &customer, self.by, Told::Closed)
            }
            Command::To(agent) => match agent.as_ref().filter(|agent| settings.agents.contains(agent)) {
                None => self.tell(tx, &customer, self.by, Told::Nobody { agents: &settings.agents }),
                Some(agent) if customer.agent.as_ref() == Some(agent) => {
                    self.tell(tx, &customer, self.by, Told::Already { agent })
                }
                Some(agent) => self.hand_over(tx, customer, agent),
            },
        }
    }

    /// Sends the agent the past messages first, then the notice of the transfer, then every waiting
    /// message. The transfer goes ahead of everything else in the lane.
    fn hand_over(&self, tx: &Tx<'_>, mut customer: Customer, agent: &ImUserId) -> Result<(), StoreError> {
        let before = customer.agent.replace(agent.clone());
        let mut orders = retold(&tx.past_messages(&customer.openid, agent, PAST_MESSAGES)?);
        orders.drain(..orders.len().saturating_sub(PAST_ORDERS));
        let yours = words::text(self.inner.settings.texts.locale, Told::Yours { by: self.by });
        orders.push(OutboundCall::TextToAgent(yours));
        let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
        tx.add(&NewMessage {
            direction: Direction::ToIm,
            kind: MessageKind::Transfer,
            openid: customer.openid.clone(),
            agent: Some(agent.clone()),
            calls: orders,
            msg_seq: customer.next_seq,
            msg_random: self.random[0],
            source: self.source.to_owned(),
            erase: false,
        })?;
        let next_seq = customer.next_seq.wrapping_add(count);
        customer.next_seq = tx.reassign_pending(&customer.openid, agent, next_seq)?;
        tx.put_customer(&customer)?;
        let told = Told::HandedOver { agent };
        // The new agent already has the notice that is part of the transfer.
        if let Some(before) = before.as_ref().filter(|before| *before != self.by) {
            self.tell(tx, &customer, before, told)?;
        }
        if self.by == agent { Ok(()) } else { self.tell(tx, &customer, self.by, told) }
    }

    fn tell(
        &self,
        tx: &Tx<'_>,
        customer: &Customer,
        agent: &ImUserId,
        told: Told<'_>,
    ) -> Result<(), StoreError> {
        let text = words::text(self.inner.settings.texts.locale, told);
        let random = if agent == self.by { self.random[1] } else { self.random[2] };
        owe_note(tx, &customer.openid, agent, &text, self.source, random).map(drop)
    }
}

/// The past messages as sent from the customer's account: the customer's words unchanged, an
/// agent's words with the agent's name and a prefix that no customer's text can imitate.
fn retold(past: &[PastMessage]) -> Vec<OutboundCall> {
    let mut at_s = 0;
    let mut retold = Vec::new();
    for said in past {
        // IM orders by the second, then by the number. A clock that was set back must not mix
        // messages up.
        at_s = at_s.max(said.accepted_at.seconds());
        for order in &said.calls {
            let text = match order {
                OutboundCall::TextToAgent(text) | OutboundCall::CardToAgent { text, .. } => text.clone(),
                OutboundCall::LocationToAgent { latitude, longitude, description } => {
                    format!("{description}\n{latitude},{longitude}")
                }
                OutboundCall::MediaToAgent(shown) => shown.as_text(),
                OutboundCall::TextToCustomer(text) => by_agent(said, text),
                OutboundCall::MediaToCustomer(attachment) => {
                    by_agent(said, &attachment.as_text(&attachment.url))
                }
                OutboundCall::ImportAccount
                | OutboundCall::DeleteAccount
                | OutboundCall::EarlierMessageToAgent { .. } => continue,
            };
            retold.push(OutboundCall::EarlierMessageToAgent { text, at_s });
        }
    }
    retold
}

fn by_agent(said: &PastMessage, text: &str) -> String {
    let name = said.agent.as_ref().map_or("", ImUserId::as_str);
    format!("{NOTE_PREFIX}{name}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn what_was_said_keeps_its_order_and_says_who_said_it() {
        let said = |direction, order, at| PastMessage {
            direction,
            agent: ImUserId::new("user1").ok(),
            calls: vec![order],
            accepted_at: Millis(at),
        };
        let place =
            OutboundCall::LocationToAgent { latitude: 22.5, longitude: 114.0, description: "Here".into() };
        let past = [
            said(Direction::ToIm, OutboundCall::TextToAgent("Q: size M?".into()), 5_000),
            said(Direction::ToWechat, OutboundCall::TextToCustomer("Yes.".into()), 4_000),
            said(Direction::ToIm, place, 7_000),
        ];
        let told = |text: &str, at_s| OutboundCall::EarlierMessageToAgent { text: text.into(), at_s };
        assert_eq!(
            retold(&past),
            [told("Q: size M?", 5), told("[bridge] user1: Yes.", 5), told("Here\n22.5,114", 7)]
        );
    }
}
