//! Whose customer is it? Pure: decides by what the store says of the agents, and changes nothing.

use crate::model::{ImUserId, Millis};

/// Which agent gets a customer.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeskSettings {
    /// A customer who comes back within this goes to the agent who served last, milliseconds; `None`: never.
    pub sticky_ms: Option<i64>,
}

/// What is known of the agents when a customer needs one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agents<'a> {
    /// Those who are configured, in their order.
    pub all: &'a [ImUserId],
    /// How many open conversations each of them has; none, if an agent is not listed.
    pub open: &'a [(String, i64)],
    /// The agent who got the last new conversation.
    pub last: Option<&'a str>,
}

impl<'a> Agents<'a> {
    /// The agent who gets a customer: `preferred`, or else the one with the fewest open conversations; on a tie, the next
    /// one after the agent who got the last new conversation. `None`: there is no agent.
    pub fn choose(&self, preferred: Option<&ImUserId>) -> Option<&'a ImUserId> {
        if let Some(preferred) = self.all.iter().find(|agent| Some(*agent) == preferred) {
            return Some(preferred);
        }
        let fewest = self.all.iter().map(|agent| self.load(agent)).min()?;
        let last = self.all.iter().position(|agent| self.last == Some(agent.as_str()));
        let rotation = self.all.iter().cycle().skip(last.map_or(0, |last| last + 1)).take(self.all.len());
        { rotation }.find(|agent| self.load(agent) == fewest)
    }

    fn load(&self, agent: &ImUserId) -> i64 {
        self.open.iter().find(|(name, _)| name == agent.as_str()).map_or(0, |(_, count)| *count)
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
        ) {
            let all = agents(count);
            let open: Vec<(String, i64)> =
                all.iter().zip(&loads).map(|(agent, load)| (agent.to_string(), *load)).collect();
            let name = format!("user{last}");
            let preferred = ImUserId::new(format!("user{preferred}")).unwrap();
            let known = Agents { all: &all, open: &open, last: Some(&name) };
            let chosen = known.choose(None);
            prop_assert_eq!(chosen.is_none(), count == 0);
            if let Some(chosen) = chosen {
                let load = |agent: &ImUserId| loads[all.iter().position(|a| a == agent).unwrap()];
                prop_assert!(all.iter().all(|agent| load(agent) >= load(chosen)));
                let distance = |agent: &ImUserId| {
                    let at = all.iter().position(|a| a == agent).unwrap();
                    let first = if last < count { last + 1 } else { 0 };
                    (at + count - first % count) % count
                };
                let passed_over = |agent: &&ImUserId| distance(agent) < distance(chosen);
                prop_assert!(all.iter().filter(passed_over).all(|agent| load(agent) > load(chosen)));
            }
            let back = known.choose(Some(&preferred));
            prop_assert_eq!(back, if all.contains(&preferred) { Some(&preferred) } else { chosen });
        }
    }
}
