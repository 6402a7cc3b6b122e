//! The configured agents whom IM does not know. The bridge never creates an agent's account: a mistyped UserID would
//! become an account into which nobody ever signs in. The messages of their customers wait instead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{ImUserId, Millis};
use crate::upstream::Degraded;

/// How long the answer that IM does not know an agent is believed. All lanes of the agent share it.
const BELIEVED_FOR: Duration = Duration::from_secs(2);
/// An agent for whom no message has been tried this long is not reported any more. A waiting message is tried at least
/// once a minute.
const REPORTED_FOR: Duration = Duration::from_mins(5);

/// The agents, in memory: a restart learns them again with the next message. Bounded by the number of agents that
/// customers were ever assigned to.
#[derive(Debug, Default)]
pub struct UnknownAgents(Mutex<BTreeMap<ImUserId, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    since: Millis,
    checked_at: Instant,
    tried_at: Instant,
}

impl UnknownAgents {
    /// Records that IM does not know `agent`. Returns whether that is new.
    pub(super) fn record(&self, agent: &ImUserId, now: Millis) -> bool {
        let mut agents = self.0.lock();
        let at = Instant::now();
        let since = agents.get(agent).map(|seen| seen.since);
        agents.insert(agent.clone(), Seen { since: since.unwrap_or(now), checked_at: at, tried_at: at });
        since.is_none()
    }

    /// Records that IM knows `agent`. Returns whether it did not before.
    pub(super) fn clear(&self, agent: &ImUserId) -> bool {
        self.0.lock().remove(agent).is_some()
    }

    /// Whether a message to `agent` must wait: `None` if nothing speaks against the agent, else whether the answer is
    /// too old to be believed.
    pub(super) fn needs_check(&self, agent: &ImUserId) -> Option<bool> {
        let mut agents = self.0.lock();
        let seen = agents.get_mut(agent)?;
        seen.tried_at = Instant::now();
        Some(seen.checked_at.elapsed() >= BELIEVED_FOR)
    }

    /// The agents for `/readyz`; `None` if IM knows all.
    pub(super) fn status(&self) -> Option<Degraded> {
        let mut agents = self.0.lock();
        agents.retain(|_, seen| seen.tried_at.elapsed() < REPORTED_FOR);
        let since = agents.values().map(|seen| seen.since).min()?;
        let names: Vec<&str> = agents.keys().map(ImUserId::as_str).collect();
        let names = names.join(", ");
        let why = format!("IM does not know {names}");
        Some(Degraded { api: "agents", since, why, advice: advice(&names) })
    }
}

/// What the operator should do about `agents`.
pub(super) fn advice(agents: &str) -> String {
    format!(
        "IM has no account {agents}, so the messages for it wait: correct im.agents, or create the account under \
         Account management in the IM console"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_agent_is_reported_until_it_is_known() {
        let agents = UnknownAgents::default();
        let (anna, ben) = (ImUserId::new("anna").unwrap(), ImUserId::new("ben").unwrap());
        assert_eq!((agents.status(), agents.needs_check(&anna)), (None, None));
        assert!(agents.record(&anna, Millis(7)));
        assert!(!agents.record(&anna, Millis(8)), "known to be unknown");
        assert!(agents.record(&ben, Millis(9)));
        assert_eq!(agents.needs_check(&anna), Some(false), "one answer serves all lanes");
        let degraded = agents.status().unwrap();
        assert_eq!(degraded.since, Millis(7));
        assert!(degraded.advice.contains("no account anna, ben"), "{degraded:?}");
        assert!(agents.clear(&anna) && !agents.clear(&anna));
        assert!(!agents.status().unwrap().advice.contains("anna"));
    }
}
