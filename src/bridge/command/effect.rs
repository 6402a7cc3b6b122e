//! Carries out an agent's command within the transaction that accepts it.

use super::Command;
use super::help;
use super::words::{self, CommandReply};
use crate::bridge::send_policy::enqueue_notice;
use crate::bridge::{Inner, first_line, quota};
use crate::config::Locale;
use crate::model::{HoldReason, ImUserId, Millis};
use crate::store::{Customer, StoreError, Tx};

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
            Command::Help => {
                self.reply(tx, &customer, &help::text(self.locale(), &settings.agents, &settings.desk.groups))
            }
            Command::Note(words) => self.keep_note(tx, &customer, words),
            Command::Replies => self.list_replies(tx, &customer),
            Command::Reply(name) => self.reject_reply(tx, &customer, name),
            Command::History => self.show_history(tx, customer),
            Command::Retry => self.retry(tx, &customer),
            Command::Drop => self.drop_held(tx, &customer),
            Command::Unknown { name, nearest } => {
                self.notify_agent(tx, &customer, CommandReply::NoSuchCommand { name, nearest })
            }
            Command::Who => {
                let now = tx.now();
                let budget = if self.inner.may_push(now) {
                    quota::budget(&customer, now).map_err(words::hold_reason)
                } else {
                    Err(HoldReason::NotAllowed)
                };
                let held = tx.count_held(&customer.openid)?;
                let (agent, line) = (customer.agent.as_ref(), tx.line()?);
                let reply = CommandReply::Who { agent, budget, held, line, now };
                let about = self.about(tx, &customer)?;
                let state = words::text(self.locale(), reply);
                let lines = [state.as_str(), about.trim_start()];
                self.reply(tx, &customer, lines.join("\n").trim_end())
            }
            Command::Close => self.close(tx, customer),
            Command::To(name) => self.give_to(tx, customer, name),
        }
    }

    /// What the bridge knows of the customer, as sentences that follow others.
    fn about(&self, tx: &Tx<'_>, customer: &Customer) -> Result<String, StoreError> {
        let since = Some(customer.known_since).filter(|since| *since > Millis(0));
        let profile = tx.profile(&customer.openid)?;
        let group = self.inner.settings.group(customer.group.as_deref()).map(|group| group.name.as_str());
        Ok(first_line::about_customer(self.locale(), since, group, &customer.visit, profile.as_ref()))
    }

    /// The language of the replies.
    pub(super) fn locale(&self) -> Locale {
        self.inner.settings.texts.locale
    }

    /// Enqueues a notice to the agent who sent the command.
    pub(super) fn reply(&self, tx: &Tx<'_>, customer: &Customer, text: &str) -> Result<(), StoreError> {
        enqueue_notice(tx, &customer.openid, self.sender, text, self.source, self.random[1]).map(drop)
    }

    pub(super) fn notify_agent(
        &self,
        tx: &Tx<'_>,
        customer: &Customer,
        reply: CommandReply<'_>,
    ) -> Result<(), StoreError> {
        self.reply(tx, customer, &words::text(self.locale(), reply))
    }
}
