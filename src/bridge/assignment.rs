//! Gives a customer an agent: reads what the decision of `desk` needs, and lets the conversation change hands if it was
//! another's.
//!
//! Where there is a choice or a limit, the transaction's scope must include the desk, or two customers who come at once
//! could get the same last place.

use super::desk::{Agents, is_recent};
use super::hand_over::{Cause, HandOver};
use super::{Settings, presence};
use crate::config::Group;
use crate::model::{ImUserId, Millis, OpenId};
use crate::store::{Customer, StoreError, Tx, Waiting};

/// The `kv` key with the agent who got the last new conversation of customers without a group. That of a group has its
/// name behind it.
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
    /// An agent who is there and has room, and for whom nobody waits who came earlier.
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

    /// The agent who gets the customer, one of those who serve the customer's group.
    fn choose(&self, tx: &Tx<'_>, customer: &Customer, among: Among) -> Result<Option<ImUserId>, StoreError> {
        let Settings { agents, desk, session_idle_ms, .. } = self.settings;
        if !self.settings.has_choice() {
            return Ok(agents.first().cloned());
        }
        let group = self.settings.group(customer.group.as_deref());
        let members = group.map_or(agents.as_slice(), |group| group.agents.as_slice());
        let preferred =
            customer.served_by.as_ref().filter(|_| is_recent(customer.served_at, tx.now(), desk.sticky_ms));
        let mut away = if self.settings.needs_presence() { presence::absent(tx)? } else { Vec::new() };
        if among == Among::Free {
            away.extend(promised(tx, self.settings, customer)?);
        }
        let is_there =
            |agent: &&ImUserId| members.contains(agent) && !away.iter().any(|away| away == agent.as_str());
        if desk.capacity.is_none()
            && let Some(preferred) = preferred.filter(is_there)
        {
            return Ok(Some(preferred.clone()));
        }
        let open = tx.conversations_by_agent(tx.now().plus(-session_idle_ms))?;
        let last_key = group.map_or_else(
            || LAST_ASSIGNED_KEY.to_owned(),
            |group| format!("{LAST_ASSIGNED_KEY}:{}", group.name),
        );
        let last = tx.kv(&last_key)?;
        let known = Agents {
            all: members,
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
            tx.put_kv(&last_key, agent.as_str())?;
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

/// Whether the customer gets no agent now, free or not: the desk is closed, or it has just opened and others wrote before.
pub(super) fn must_wait(tx: &Tx<'_>, settings: &Settings, customer: &Customer) -> Result<bool, StoreError> {
    if !settings.has_line() {
        return Ok(false);
    }
    // Who is there at the opening, and how busy they are then, is not known yet.
    if settings.deferred_until(tx.now()).is_some() {
        return Ok(true);
    }
    if tx.line_head()?.is_some_and(|(first, _)| first == customer.openid) {
        return Ok(false);
    }
    // When the desk has just opened, whoever wrote at night comes first.
    Ok(settings.hours.is_some() && tx.have_others_deferred(&customer.openid)?)
}

/// The agent of a group to whom an agent hands a customer over: one who is there and has room, or else one who is there.
/// Nobody of the line is asked first. `None`: nobody but the customer's agent is there.
pub(super) fn best_of(
    tx: &Tx<'_>,
    settings: &Settings,
    group: &Group,
    customer: &Customer,
) -> Result<Option<ImUserId>, StoreError> {
    let others: Vec<ImUserId> =
        group.agents.iter().filter(|agent| Some(*agent) != customer.agent.as_ref()).cloned().collect();
    let absent = if settings.needs_presence() { presence::absent(tx)? } else { Vec::new() };
    let open = tx.conversations_by_agent(tx.now().plus(-settings.session_idle_ms))?;
    let is_recent = is_recent(customer.served_at, tx.now(), settings.desk.sticky_ms);
    let preferred = customer.served_by.as_ref().filter(|_| is_recent);
    let capacity = settings.desk.capacity;
    let known = Agents { all: &others, absent: &absent, capacity, open: &open, last: None };
    let with_room = known.choose(preferred);
    Ok(with_room.or_else(|| Agents { capacity: None, ..known }.choose(preferred)).cloned())
}

/// The first customer in the line for each group of agents, whoever has waited for longest first, and since when.
pub(super) fn line_heads(tx: &Tx<'_>, settings: &Settings) -> Result<Vec<(OpenId, Millis)>, StoreError> {
    if settings.desk.groups.is_empty() {
        return Ok(tx.line_head()?.into_iter().collect());
    }
    Ok(tx.line_by_group(None)?.into_iter().map(|waiting| (waiting.head, waiting.since)).collect())
}

/// The agents for whom customers wait who came before this one.
fn promised(tx: &Tx<'_>, settings: &Settings, customer: &Customer) -> Result<Vec<String>, StoreError> {
    let names = |agents: &[ImUserId]| agents.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !settings.has_line() {
        return Ok(Vec::new());
    }
    if settings.desk.groups.is_empty() {
        let is_behind = tx.line_head()?.is_some_and(|(openid, _)| openid != customer.openid);
        return Ok(if is_behind { names(&settings.agents) } else { Vec::new() });
    }
    let earlier = tx.line_by_group(Some(&customer.openid))?;
    Ok(earlier.iter().flat_map(|waiting| names(settings.members(waiting.group.as_deref()))).collect())
}

/// How many customers in the line are ahead of one who is in it, and wait for agents for whom this one waits too.
pub(super) fn ahead(tx: &Tx<'_>, settings: &Settings, customer: &Customer) -> Result<u32, StoreError> {
    if settings.desk.groups.is_empty() {
        return Ok(tx.line()?.length.saturating_sub(1));
    }
    let own = settings.members(customer.group.as_deref());
    let shares_agents = |waiting: &&Waiting| {
        settings.members(waiting.group.as_deref()).iter().any(|agent| own.contains(agent))
    };
    let earlier = tx.line_by_group(Some(&customer.openid))?;
    Ok(earlier.iter().filter(shares_agents).map(|waiting| waiting.length).sum())
}
