//! A customer needs an agent: gets one, or joins the line.

use super::PushHandler;
use crate::bridge::assignment::{Among, Assigned, Assignment, must_wait};
use crate::bridge::line::NO_AGENT;
use crate::model::{MessageId, Millis};
use crate::store::{Customer, NewMessage, StoreError, Tx};

impl PushHandler {
    /// Whether the customer's session is over.
    pub(super) fn is_idle(&self, customer: &Customer, now: Millis) -> bool {
        now.since(customer.active_at) >= self.inner.settings.session_idle_ms
    }

    /// Whether a message of the customer may need an agent.
    pub(super) fn may_need_agent(&self, found: Option<&Customer>, now: Millis) -> bool {
        found.is_none_or(|customer| {
            !customer.known || !self.has_agent(customer) || self.is_idle(customer, now)
        })
    }

    /// Whether the conversation has an agent who is still configured.
    pub(super) fn has_agent(&self, customer: &Customer) -> bool {
        customer.agent.as_ref().is_some_and(|agent| self.inner.settings.is_staff(agent))
    }

    /// Whether messages of the customer wait for an agent.
    pub(super) fn is_waiting(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        let parked = tx.parked(&self.push.from)?;
        Ok(parked.has_queued || parked.has_deferred)
    }

    /// The assignment that the push causes.
    pub(super) fn assignment(&self) -> Assignment<'_> {
        Assignment {
            settings: &self.inner.settings,
            source: self.push.dedup_key.as_str(),
            random: self.hand_over_random,
        }
    }

    /// Gives a customer without an agent, or with a new session, an agent, and stores the customer if the conversation
    /// changes hands. If no agent is free, others wait for those who are, or the desk is closed, the customer has none
    /// afterwards.
    /// `is_waiting`: earlier messages wait for an agent. Returns whether the lane to IM has work.
    pub(super) fn assign_agent(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        is_waiting: bool,
    ) -> Result<bool, StoreError> {
        if must_wait(tx, &self.inner.settings, customer)? {
            customer.agent = None;
            return Ok(false);
        }
        let assigned = self.assignment().assign(tx, customer, Among::Free)?;
        if is_waiting && let Some(agent) = &customer.agent {
            // They were written before.
            tx.release_queued(&customer.openid, agent)?;
        }
        Ok(assigned == Assigned::HandedOver)
    }

    /// Stores a message that waits until an agent is free.
    pub(super) fn queue(tx: &Tx<'_>, message: &NewMessage) -> Result<MessageId, StoreError> {
        let id = tx.add_queued(message, NO_AGENT)?;
        tx.record_step(&message.openid, Some(id), "queued", NO_AGENT, None)?;
        Ok(id)
    }
}
