//! Gives a customer an agent: reads what the decision of `desk` needs, and lets the conversation change hands if it was
//! another's.
//!
//! Where there is a choice or a limit, the transaction's scope must include the desk, or two customers who come at once
//! could get the same last place.

use super::desk::{Agents, is_recent};
use super::hand_over::{Cause, HandOver};
use super::{Settings, presence};
use crate::model::{ImUserId, Millis};
use crate::store::{Customer, StoreError, Tx};

/// The `kv` key with the agent who got the last new conversation.
const LAST_ASSIGNED_KEY: &str = "assigned_last";

/// An assignment within a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// What caused it: a dedup key, or a name that no push or callback has.
    pub source: &'a str,
    /// Random numbers for the messages by which the conversation changes hands.
    pub random: [u32; 3],
}

/// What became of a customer who needs an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assigned {
    /// The customer has an agent now.
    New,
    /// The customer has another's agent now, and the lane to IM has work.
    HandedOver,
    /// No agent is there, or none has room: the customer has none.
    NoAgent,
}

/// Who may get a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// An agent who is there and has room.
    Free,
    /// If no agent is free, any.
    All,
}

impl Assignment<'_> {
    /// Gives the customer an agent, the one who served last if that was not long ago, and stores the customer if the
    /// conversation changes hands.
    pub fn assign(&self, tx: &Tx<'_>, customer: &mut Customer, among: Among) -> Result<Assigned, StoreError> {
        let Some(agent) = self.choose(tx, customer, among)? else {
            customer.agent = None;
            return Ok(Assigned::NoAgent);
        };
        let former = match &customer.agent {
            None if customer.active_at > Millis(0) => tx.last_agent(&customer.openid)?,
            agent => agent.clone(),
        };
        let former = former.or_else(|| customer.served_by.clone());
        let Some(former) = former.filter(|former| *former != agent) else {
            customer.agent = Some(agent);
            return Ok(Assigned::New);
        };
        let hand_over = HandOver {
            locale: self.settings.texts.locale,
            agents: &self.settings.agents,
            agent: &agent,
            cause: Cause::Return,
            source: self.source,
            random: self.random,
        };
        hand_over.apply(tx, customer, Some(&former))?;
        Ok(Assigned::HandedOver)
    }

    /// The agent who gets the customer.
    fn choose(&self, tx: &Tx<'_>, customer: &Customer, among: Among) -> Result<Option<ImUserId>, StoreError> {
        let Settings { agents, desk, session_idle_ms, .. } = self.settings;
        if !self.settings.has_choice() {
            return Ok(agents.first().cloned());
        }
        let preferred =
            customer.served_by.as_ref().filter(|_| is_recent(customer.served_at, tx.now(), desk.sticky_ms));
        let away = if self.settings.needs_presence() { presence::absent(tx)? } else { Vec::new() };
        let is_there =
            |agent: &&ImUserId| agents.contains(agent) && !away.iter().any(|away| away == agent.as_str());
        if desk.capacity.is_none()
            && let Some(preferred) = preferred.filter(is_there)
        {
            return Ok(Some(preferred.clone()));
        }
        let open = tx.conversations_by_agent(tx.now().plus(-session_idle_ms))?;
        let last = tx.kv(LAST_ASSIGNED_KEY)?;
        let known = Agents {
            all: agents,
            absent: &away,
            capacity: desk.capacity,
            open: &open,
            last: last.as_deref(),
        };
        let chosen = known.choose(preferred).or_else(|| {
            let all = Agents { absent: &[], capacity: None, ..known };
            (among == Among::All).then(|| all.choose(preferred)).flatten()
        });
        if let Some(agent) = chosen.filter(|agent| Some(*agent) != preferred) {
            tx.put_kv(LAST_ASSIGNED_KEY, agent.as_str())?;
        }
        Ok(chosen.cloned())
    }
}

impl Settings {
    /// Whether it matters how busy the agents are.
    pub(super) fn has_choice(&self) -> bool {
        self.agents.len() > 1 || self.desk.capacity.is_some()
    }

    /// Whether a customer may have to wait for an agent.
    pub(super) fn has_line(&self) -> bool {
        self.needs_presence() || self.desk.capacity.is_some()
    }
}

/// Whether the customer gets no agent now, free or not: the desk is closed, or others have waited for longer.
pub(super) fn must_wait(tx: &Tx<'_>, settings: &Settings, customer: &Customer) -> Result<bool, StoreError> {
    if !settings.has_line() {
        return Ok(false);
    }
    // Who is there at the opening, and how busy they are then, is not known yet.
    if settings.deferred_until(tx.now()).is_some() {
        return Ok(true);
    }
    if let Some((first, _)) = tx.line_head()? {
        return Ok(first != customer.openid);
    }
    // When the desk has just opened, whoever wrote at night comes first.
    Ok(settings.hours.is_some() && tx.have_others_deferred(&customer.openid)?)
}
