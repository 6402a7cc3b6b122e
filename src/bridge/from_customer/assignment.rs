//! Which agent gets a customer's conversation, and what an agent gets who takes another's over.

use super::PushHandler;
use crate::bridge::desk::{Agents, is_recent};
use crate::bridge::hand_over::{Cause, HandOver};
use crate::bridge::presence;
use crate::model::ImUserId;
use crate::store::{Customer, StoreError, Tx};

/// The `kv` key with the agent who got the last new conversation.
const LAST_ASSIGNED_KEY: &str = "assigned_last";

impl PushHandler {
    /// Assigns the conversation's agent, and stores the customer if it changes hands. The agent stays while the session
    /// lasts and the agent is configured. A customer who comes back goes to the agent who served last. Returns whether
    /// the conversation has changed hands, so that the lane has work.
    pub(super) fn assign_agent(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        is_new_session: bool,
    ) -> Result<bool, StoreError> {
        let agents = &self.inner.settings.agents;
        let is_kept = !is_new_session
            && customer.agent.as_ref().is_some_and(|agent| self.inner.settings.is_staff(agent));
        if is_kept {
            return Ok(false);
        }
        let Some(agent) = self.choose_agent(tx, customer)? else { return Ok(false) };
        let former = customer.agent.as_ref().or(customer.served_by.as_ref()).cloned();
        let Some(former) = former.filter(|former| *former != agent) else {
            customer.agent = Some(agent);
            return Ok(false);
        };
        let hand_over = HandOver {
            locale: self.inner.settings.texts.locale,
            agents,
            agent: &agent,
            cause: Cause::Return,
            source: self.push.dedup_key.as_str(),
            random: self.hand_over_random,
        };
        hand_over.apply(tx, customer, Some(&former))?;
        Ok(true)
    }

    /// The agent who gets the customer's new conversation.
    fn choose_agent(&self, tx: &Tx<'_>, customer: &Customer) -> Result<Option<ImUserId>, StoreError> {
        let settings = &self.inner.settings;
        let agents = &settings.agents;
        if let [only] = agents.as_slice() {
            return Ok(Some(only.clone()));
        }
        let served_by = customer.served_by.as_ref();
        let preferred = served_by.filter(|agent| {
            agents.contains(agent) && is_recent(customer.served_at, tx.now(), settings.desk.sticky_ms)
        });
        let absent = if settings.needs_presence() { presence::absent(tx)? } else { Vec::new() };
        if let Some(preferred) =
            preferred.filter(|agent| !absent.iter().any(|absent| absent == agent.as_str()))
        {
            return Ok(Some(preferred.clone()));
        }
        let open = tx.conversations_by_agent(tx.now().plus(-settings.session_idle_ms))?;
        let last = tx.kv(LAST_ASSIGNED_KEY)?;
        let known = Agents { all: agents, absent: &absent, open: &open, last: last.as_deref() };
        // With nobody there, the message waits at the agent's client.
        let chosen = known.choose(None).or_else(|| Agents { absent: &[], ..known }.choose(preferred));
        chosen.map_or(Ok(()), |agent| tx.put_kv(LAST_ASSIGNED_KEY, agent.as_str()))?;
        Ok(chosen.cloned())
    }
}
