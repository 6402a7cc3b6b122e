//! `/to`: gives the conversation to another agent, or to one of a group.

use super::effect::Effect;
use super::words::CommandReply;
use crate::bridge::assignment::best_of;
use crate::bridge::hand_over::{Cause, HandOver};
use crate::model::ImUserId;
use crate::store::{Customer, StoreError, Tx};

impl Effect<'_> {
    /// Gives the conversation to the agent of this name, or else to an agent of the group of this name who is there.
    pub(super) fn give_to(&self, tx: &Tx<'_>, mut customer: Customer, name: &str) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        if let Some(agent) = settings.agents.iter().find(|agent| agent.as_str() == name) {
            if customer.agent.as_ref() == Some(agent) {
                return self.notify_agent(tx, &customer, CommandReply::AlreadyAssigned { agent });
            }
            customer.group = settings.group_after_hand_over(customer.group, agent);
            return self.hand_over(tx, customer, agent);
        }
        let Some(group) = settings.group_named(name) else {
            let reply = CommandReply::NoSuchAgent { agents: &settings.agents, groups: &settings.desk.groups };
            return self.notify_agent(tx, &customer, reply);
        };
        match best_of(tx, settings, group, &customer)? {
            Some(agent) => {
                customer.group = Some(group.name.clone());
                self.hand_over(tx, customer, &agent)
            }
            None => self.notify_agent(tx, &customer, CommandReply::NobodyThere { group: &group.name }),
        }
    }

    fn hand_over(&self, tx: &Tx<'_>, mut customer: Customer, agent: &ImUserId) -> Result<(), StoreError> {
        let former = customer.agent.clone();
        let hand_over = HandOver {
            locale: self.locale(),
            agents: &self.inner.settings.agents,
            agent,
            cause: Cause::Command { by: self.sender },
            source: self.source,
            random: self.random,
        };
        hand_over.apply(tx, &mut customer, former.as_ref())
    }
}
