//! Carries out an agent's command within the transaction that accepts it.

use super::Command;
use super::help;
use super::words::{self, CommandReply};
use crate::bridge::send_policy::enqueue_notice;
use crate::bridge::translate::NOTICE_PREFIX;
use crate::bridge::{Inner, quota};
use crate::config::Locale;
use crate::model::{Direction, HoldReason, ImUserId, MessageKind, OutboundCall};
use crate::store::{Customer, NewMessage, PastMessage, StoreError, Tx};

/// The most past messages shown to an agent who takes over a conversation.
const PAST_MESSAGES: u32 = 20;
/// The same limit in calls: a long message needs several.
const PAST_CALLS: usize = 50;

/// A command with everything needed to carry it out.
pub(in crate::bridge) struct Effect<'a> {
    /// The bridge.
    pub inner: &'a Inner,
    /// The command.
    pub command: &'a Command,
    /// The agent who sent it.
    pub sender: &'a ImUserId,
    /// The dedup key of the command.
    pub source: &'a str,
    /// Random numbers for the messages that the command causes: the transfer, the notice to the
    /// sender, and the notice to another agent.
    pub random: [u32; 3],
}

impl Effect<'_> {
    /// Carries out the command for a known customer and enqueues the reply to the agent.
    pub fn apply(&self, tx: &Tx<'_>, customer: Customer) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        let detail = match self.command {
            Command::Who => "/who",
            Command::To(_) => "/to",
            Command::Close => "/close",
            Command::Note(_) => "/note",
            Command::Replies | Command::Reply(_) => "/r",
            Command::History => "/history",
            Command::Retry => "/retry",
            Command::Drop => "/drop",
            Command::Help => "/help",
            Command::Unknown { .. } => "an unknown command",
        };
        tx.record_step(&customer.openid, None, "command", detail, None)?;
        match self.command {
            Command::Help => self.reply(tx, &customer, &help::text(self.locale(), &settings.agents)),
            Command::Note(words) => self.keep_note(tx, &customer, words),
            Command::Replies => self.list_replies(tx, &customer),
            Command::Reply(name) => self.reject_reply(tx, &customer, name),
            Command::History => self.show_history(tx, customer),
            Command::Retry => self.retry(tx, &customer),
            Command::Drop => self.drop_held(tx, &customer),
            Command::Unknown { name, nearest } => {
                self.notify_agent(tx, &customer, self.sender, CommandReply::NoSuchCommand { name, nearest })
            }
            Command::Who => {
                let now = tx.now();
                let budget = if self.inner.may_push(now) {
                    quota::budget(&customer, now).map_err(words::hold_reason)
                } else {
                    Err(HoldReason::NotAllowed)
                };
                let held = tx.count_held(&customer.openid)?;
                let reply = CommandReply::Who { agent: customer.agent.as_ref(), budget, held, now };
                self.notify_agent(tx, &customer, self.sender, reply)
            }
            Command::Close => {
                let customer = Customer { agent: None, ..customer };
                tx.put_customer(&customer)?;
                self.notify_agent(tx, &customer, self.sender, CommandReply::Closed)
            }
            Command::To(agent) => match agent.as_ref().filter(|agent| settings.agents.contains(agent)) {
                None => self.notify_agent(
                    tx,
                    &customer,
                    self.sender,
                    CommandReply::NoSuchAgent { agents: &settings.agents },
                ),
                Some(agent) if customer.agent.as_ref() == Some(agent) => {
                    self.notify_agent(tx, &customer, self.sender, CommandReply::AlreadyAssigned { agent })
                }
                Some(agent) => self.hand_over(tx, customer, agent),
            },
        }
    }

    /// Sends the agent the past messages first, then the notice of the transfer, then every waiting
    /// message. The transfer goes ahead of everything else in the lane.
    fn hand_over(&self, tx: &Tx<'_>, mut customer: Customer, agent: &ImUserId) -> Result<(), StoreError> {
        let previous = customer.agent.replace(agent.clone());
        let mut calls = replay(self.locale(), &tx.past_messages(&customer.openid, agent, PAST_MESSAGES)?);
        calls.drain(..calls.len().saturating_sub(PAST_CALLS));
        let notice =
            words::text(self.inner.settings.texts.locale, CommandReply::Assigned { by: self.sender });
        calls.push(OutboundCall::TextToAgent(notice));
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        tx.add(&NewMessage {
            direction: Direction::ToIm,
            kind: MessageKind::Transfer,
            openid: customer.openid.clone(),
            agent: Some(agent.clone()),
            calls,
            msg_seq: customer.next_seq,
            msg_random: self.random[0],
            source: self.source.to_owned(),
            erase: false,
        })?;
        let next_seq = customer.next_seq.wrapping_add(count);
        customer.next_seq = tx.reassign_pending(&customer.openid, agent, next_seq)?;
        tx.put_customer(&customer)?;
        let reply = CommandReply::HandedOver { agent };
        // The new agent already has the notice that is part of the transfer.
        if let Some(previous) = previous.as_ref().filter(|before| *before != self.sender) {
            self.notify_agent(tx, &customer, previous, reply)?;
        }
        if self.sender == agent { Ok(()) } else { self.notify_agent(tx, &customer, self.sender, reply) }
    }

    /// The language of the replies.
    pub(super) fn locale(&self) -> Locale {
        self.inner.settings.texts.locale
    }

    /// Enqueues a notice to the agent who sent the command.
    pub(super) fn reply(&self, tx: &Tx<'_>, customer: &Customer, text: &str) -> Result<(), StoreError> {
        enqueue_notice(tx, &customer.openid, self.sender, text, self.source, self.random[1]).map(drop)
    }

    fn notify_agent(
        &self,
        tx: &Tx<'_>,
        customer: &Customer,
        agent: &ImUserId,
        reply: CommandReply<'_>,
    ) -> Result<(), StoreError> {
        let text = words::text(self.inner.settings.texts.locale, reply);
        let random = if agent == self.sender { self.random[1] } else { self.random[2] };
        enqueue_notice(tx, &customer.openid, agent, &text, self.source, random).map(drop)
    }
}

/// The past messages as sent from the customer's account: the customer's words unchanged, an
/// agent's words and notes with the agent's name and a prefix that no customer's text can imitate.
fn replay(locale: Locale, past: &[PastMessage]) -> Vec<OutboundCall> {
    let mut at_s = 0;
    let mut calls = Vec::new();
    for message in past {
        // IM orders by the second, then by the number. A clock that was set back must not mix
        // messages up.
        at_s = at_s.max(message.accepted_at.seconds());
        for call in &message.calls {
            let text = match call {
                OutboundCall::TextToAgent(text) | OutboundCall::CardToAgent { text, .. } => text.clone(),
                OutboundCall::LocationToAgent { latitude, longitude, description } => {
                    format!("{description}\n{latitude},{longitude}")
                }
                OutboundCall::MediaToAgent(info) => info.as_text(),
                OutboundCall::TextToCustomer(text) => agent_text(message, text),
                OutboundCall::MediaToCustomer(attachment) => {
                    agent_text(message, &attachment.as_text(&attachment.url))
                }
                OutboundCall::Note(words) => {
                    let author = message.agent.as_ref().map_or("", ImUserId::as_str);
                    format!("{NOTICE_PREFIX}{}", words::note_by(locale, author, words))
                }
                OutboundCall::ImportAccount
                | OutboundCall::DeleteAccount
                | OutboundCall::EarlierMessageToAgent { .. } => continue,
            };
            calls.push(OutboundCall::EarlierMessageToAgent { text, at_s });
        }
    }
    calls
}

fn agent_text(message: &PastMessage, text: &str) -> String {
    let name = message.agent.as_ref().map_or("", ImUserId::as_str);
    format!("{NOTICE_PREFIX}{name}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn past_messages_keep_their_order_and_name_the_agent() {
        let past_message = |direction, call, at| PastMessage {
            kind: MessageKind::Message,
            direction,
            agent: ImUserId::new("user1").ok(),
            calls: vec![call],
            accepted_at: Millis(at),
        };
        let location =
            OutboundCall::LocationToAgent { latitude: 22.5, longitude: 114.0, description: "Here".into() };
        let past = [
            past_message(Direction::ToIm, OutboundCall::TextToAgent("Q: size M?".into()), 5_000),
            past_message(Direction::ToWechat, OutboundCall::TextToCustomer("Yes.".into()), 4_000),
            past_message(Direction::ToIm, location, 7_000),
            PastMessage {
                kind: MessageKind::Note,
                ..past_message(Direction::ToIm, OutboundCall::Note("pays late".into()), 7_500)
            },
        ];
        let expected = |text: &str, at_s| OutboundCall::EarlierMessageToAgent { text: text.into(), at_s };
        assert_eq!(
            replay(Locale::En, &past),
            [
                expected("Q: size M?", 5),
                expected("[bridge] user1: Yes.", 5),
                expected("Here\n22.5,114", 7),
                expected("[bridge] note by user1: pays late", 7)
            ]
        );
    }
}
