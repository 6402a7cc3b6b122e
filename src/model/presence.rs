//! Whether agents are there.

use super::ImUserId;

/// IM says that an agent has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The agent.
    pub agent: ImUserId,
    /// Whether the agent is signed in now.
    pub is_present: bool,
    /// IM's time of the change, in Unix milliseconds: callbacks may overtake one another.
    pub at_ms: i64,
}
