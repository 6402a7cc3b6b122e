//! Which agent gets a customer's conversation.

use super::PushHandler;
use crate::model::ImUserId;
use crate::store::{Customer, StoreError, Tx};

/// The `kv` key with the agent who got the last new conversation.
const LAST_ASSIGNED_KEY: &str = "assigned_last";

impl PushHandler {
    /// Assigns the conversation's agent. The agent stays while the session lasts and the agent is
    /// configured. Otherwise the agent with the fewest open conversations gets it; on a tie, the
    /// next one after the agent who got the last conversation.
    pub(super) fn assign_agent(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        is_new_session: bool,
    ) -> Result<(), StoreError> {
        let agents = &self.inner.settings.agents;
        let is_kept = !is_new_session && customer.agent.as_ref().is_some_and(|agent| agents.contains(agent));
        if is_kept {
            return Ok(());
        }
        if let [only] = agents.as_slice() {
            customer.agent = Some(only.clone());
            return Ok(());
        }
        let since = tx.now().plus(-self.inner.settings.session_idle_ms);
        let open = tx.conversations_by_agent(since)?;
        let busy = |agent: &ImUserId| {
            open.iter().find(|(name, _)| name == agent.as_str()).map_or(0, |(_, count)| *count)
        };
        let fewest = agents.iter().map(busy).min().unwrap_or(0);
        let last = tx.kv(LAST_ASSIGNED_KEY)?;
        let last_index = agents.iter().position(|agent| last.as_deref() == Some(agent.as_str()));
        let rotation = agents.iter().cycle().skip(last_index.map_or(0, |last| last + 1)).take(agents.len());
        customer.agent = { rotation }.find(|agent| busy(agent) == fewest).cloned();
        customer.agent.as_ref().map_or(Ok(()), |agent| tx.put_kv(LAST_ASSIGNED_KEY, agent.as_str()))
    }
}
