//! Whose customer is it? Pure: decides by what the store says of the agents, and changes nothing.

use std::collections::BTreeMap;

use super::Settings;
use crate::config::Group;
use crate::model::{ImUserId, Millis};

/// Which agent gets a customer.
#[derive(Clone, Debug, Default)]
pub struct DeskSettings {
    /// A customer who comes back within this goes to the agent who served last, milliseconds; `None`: never.
    pub sticky_ms: Option<i64>,
    /// Customers go only to agents who are there.
    pub presence: bool,
    /// The most open conversations of one agent; `None`: no limit.
    pub capacity: Option<u32>,
    /// The groups of agents.
    pub groups: Vec<Group>,
    /// The names of the groups among which a new follower is asked to choose; none: nobody is asked.
    pub asked: Vec<String>,
    /// Whether a customer is asked for a rating when the conversation is closed.
    pub rating: bool,
    /// The agents' accounts of WeChat's customer service.
    pub kf_accounts: BTreeMap<ImUserId, String>,
    /// Whether an agent's first answer begins with the agent's name.
    pub signature: bool,
    /// The agents' names, as customers read them.
    pub names: BTreeMap<ImUserId, String>,
}

impl DeskSettings {
    /// The name with which an agent signs; `None`: the agent does not.
    pub(super) fn signature<'a>(&'a self, agent: &'a ImUserId) -> Option<&'a str> {
        let is_signed = self.signature && !self.kf_accounts.contains_key(agent);
        is_signed.then(|| self.names.get(agent).map_or(agent.as_str(), String::as_str))
    }
}

/// What is known of the agents when a customer needs one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agents<'a> {
    /// Those who are configured, in their order.
    pub all: &'a [ImUserId],
    /// Those who are not there.
    pub absent: &'a [String],
    /// The most open conversations of one agent; `None`: no limit.
    pub capacity: Option<u32>,
    /// How many open conversations each of them has; none, if an agent is not listed.
    pub open: &'a [(String, i64)],
    /// The agent who got the last new conversation.
    pub last: Option<&'a str>,
}

impl<'a> Agents<'a> {
    /// The agent who gets a customer, of those who are there and have room: `preferred`, or else the one with the fewest open
    /// conversations; on a tie, the next one after the agent who got the last new conversation. `None`: no agent is
    /// free.
    pub fn choose(&self, preferred: Option<&ImUserId>) -> Option<&'a ImUserId> {
        if let Some(preferred) =
            self.all.iter().find(|agent| Some(*agent) == preferred && self.may_get(agent))
        {
            return Some(preferred);
        }
        let fewest =
            self.all.iter().filter(|agent| self.may_get(agent)).map(|agent| self.load(agent)).min()?;
        let last = self.all.iter().position(|agent| self.last == Some(agent.as_str()));
        let rotation = self.all.iter().cycle().skip(last.map_or(0, |last| last + 1)).take(self.all.len());
        { rotation }.find(|agent| self.may_get(agent) && self.load(agent) == fewest)
    }

    fn may_get(&self, agent: &ImUserId) -> bool {
        let has_room = self.capacity.is_none_or(|capacity| self.load(agent) < i64::from(capacity));
        has_room && self.absent.iter().all(|absent| absent != agent.as_str())
    }

    fn load(&self, agent: &ImUserId) -> i64 {
        self.open.iter().find(|(name, _)| name == agent.as_str()).map_or(0, |(_, count)| *count)
    }
}

impl Settings {
    /// Whether it matters which agents are there: with one there is nothing to choose.
    pub(super) fn needs_presence(&self) -> bool {
        self.desk.presence && self.agents.len() > 1
    }
}

/// Whether the time since an agent's last answer is short enough for the customer to go back to the agent.
pub(super) fn is_recent(served_at: Millis, now: Millis, sticky_ms: Option<i64>) -> bool {
    sticky_ms.is_some_and(|sticky_ms| now.since(served_at) <= sticky_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agents(count: usize) -> Vec<ImUserId> {
        (0..count).map(|n| ImUserId::new(format!("user{n}")).unwrap()).collect()
    }

    #[test]
    fn a_customer_goes_back_while_the_time_is_short() {
        for (served_at, sticky_ms, expected) in [
            (Millis(1_000), Some(9_000), true),
            (Millis(999), Some(9_000), false),
            (Millis(20_000), Some(9_000), true),
            (Millis(10_000), None, false),
        ] {
            assert_eq!(is_recent(served_at, Millis(10_000), sticky_ms), expected, "{served_at:?}");
        }
    }

    proptest! {
        #[test]
        fn the_preferred_agent_or_one_of_the_least_busy_gets_the_customer(
            count in 0_usize..6,
            loads in prop::collection::vec(0_i64..4, 6),
            last in 0_usize..8,
            preferred in 0_usize..8,
            away in 0_u8..64,
            capacity in prop::option::of(1_u32..4),
        ) {
            let all = agents(count);
            let open: Vec<(String, i64)> =
                all.iter().zip(&loads).map(|(agent, load)| (agent.to_string(), *load)).collect();
            let name = format!("user{last}");
            let preferred = ImUserId::new(format!("user{preferred}")).unwrap();
            let is_away = |agent: &ImUserId| away & (1 << all.iter().position(|a| a == agent).unwrap()) > 0;
            let absent: Vec<String> = all.iter().filter(|agent| is_away(agent)).map(ToString::to_string).collect();
            let is_full = |agent: &ImUserId| {
                let load = loads[all.iter().position(|a| a == agent).unwrap()];
                capacity.is_some_and(|capacity| load >= i64::from(capacity))
            };
            let is_free = |agent: &ImUserId| !is_away(agent) && !is_full(agent);
            let known = Agents { all: &all, absent: &absent, capacity, open: &open, last: Some(&name) };
            let chosen = known.choose(None);
            prop_assert_eq!(chosen.is_none(), !all.iter().any(is_free), "nobody waits while an agent is free");
            if let Some(chosen) = chosen {
                let load = |agent: &ImUserId| loads[all.iter().position(|a| a == agent).unwrap()];
                prop_assert!(is_free(chosen));
                let free = || all.iter().filter(|agent| is_free(agent));
                prop_assert!(free().all(|agent| load(agent) >= load(chosen)));
                let distance = |agent: &ImUserId| {
                    let at = all.iter().position(|a| a == agent).unwrap();
                    let first = if last < count { last + 1 } else { 0 };
                    (at + count - first % count) % count
                };
                let passed_over = |agent: &&ImUserId| distance(agent) < distance(chosen);
                prop_assert!(free().filter(passed_over).all(|agent| load(agent) > load(chosen)));
            }
            let back = known.choose(Some(&preferred));
            let may_return = all.contains(&preferred) && is_free(&preferred);
            prop_assert_eq!(back, if may_return { Some(&preferred) } else { chosen });
        }
    }
}
