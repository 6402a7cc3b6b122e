//! The line of customers who wait for an agent: whoever has waited for longest gets the first agent who is free, with all
//! that was written meanwhile, in order.

use rand::RngExt as _;
use tokio::sync::Notify;

use super::assignment::{Among, Assigned, Assignment, line_heads};
use super::group::members;
use super::{Bridge, Inner};
use crate::config::Group;
use crate::model::{Direction, ImUserId, Lane, OpenId};
use crate::store::{Customer, Scope, StoreError, Tx};

/// After this long in the line a customer gets an agent even if none is free, milliseconds: WeChat lets an agent answer
/// within 48 hours.
const MAX_WAIT_MS: i64 = 24 * 3600 * 1000;

/// When the desk opens, the line is not served before all who wrote at night have joined it, or whoever is first has waited
/// for this long, milliseconds.
const OPENING_MS: i64 = 5_000;

/// Why a message is queued, for operators.
pub(super) const NO_AGENT: &str = "no agent is there and has room; leaves when one is free";
/// The source of what a hand-over from the line sends.
const SOURCE: &str = "line";

/// Tells the task that serves the line that an agent may be free.
#[derive(Debug, Default)]
pub(super) struct LineSignal(Notify);

impl LineSignal {
    /// An agent may be free, or somebody has joined the line.
    pub fn notify(&self) {
        self.0.notify_one();
    }
}

/// What became of an attempt to serve the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A customer has an agent now.
    One,
    /// Another customer is first now.
    Changed,
    /// No agent is free, or others are about to join the line who have waited for longer.
    NotYet,
    /// Nobody waits.
    Empty,
}

impl Bridge {
    /// Whether customers may have to wait for an agent, by the present settings.
    pub fn has_line(&self) -> bool {
        self.0.live.get().has_line()
    }

    /// Waits until an agent may be free.
    pub async fn line_signalled(&self) {
        self.0.line_signal.0.notified().await;
    }

    /// The scope of a write that gives the customer an agent.
    pub fn assignment_scope(&self, openid: &OpenId) -> Scope {
        let scope = Scope::customer(openid).in_background();
        if self.0.live.get().has_choice() { scope.with_desk() } else { scope }
    }

    /// The desk is open: what the customer has written before leaves, or waits in the line if the customer has no agent.
    pub async fn open_for(&self, openid: OpenId) -> Result<(), StoreError> {
        let scope = Scope::customer(&openid).in_background();
        let work = move |tx: &Tx<'_>| {
            let customer = tx.customer(&openid)?;
            if let Some(customer) = customer.as_ref().filter(|customer| customer.agent.is_some()) {
                // It counts as open again from now on.
                tx.put_customer(&Customer { active_at: tx.now(), ..customer.clone() })?;
            }
            release_after_hours(tx, &openid, customer.and_then(|customer| customer.agent).as_ref())
        };
        self.0.store.write_for(scope, work).await?;
        self.0.line_signal.notify();
        Ok(())
    }

    /// Gives one customer in the line an agent who is free: whoever has waited for longest of those for whom there is one.
    pub async fn serve_line(&self) -> Result<Served, StoreError> {
        let settings = self.0.live.get();
        let heads = self.0.store.read(move |tx| line_heads(tx, &settings)).await?;
        if heads.is_empty() {
            return Ok(Served::Empty);
        }
        for (openid, _) in heads {
            let (inner, customer) = (self.inner(), openid.clone());
            let random = rand::rng().random();
            let scope = self.assignment_scope(&openid);
            let served = self.0.store.write_for(scope, move |tx| inner.serve(tx, &customer, random)).await?;
            if served == Served::One {
                self.0.work_signal.notify(Lane { direction: Direction::ToIm, customer: openid });
            }
            if served != Served::NotYet {
                return Ok(served);
            }
        }
        Ok(Served::NotYet)
    }
}

impl Inner {
    /// Gives this customer an agent, if the customer is the first in the line for the agents of a group and one is free.
    fn serve(&self, tx: &Tx<'_>, openid: &OpenId, random: [u32; 3]) -> Result<Served, StoreError> {
        let heads = line_heads(tx, &self.settings)?;
        let Some(since) = heads.into_iter().find_map(|(first, since)| (first == *openid).then_some(since))
        else {
            return Ok(Served::Changed);
        };
        let is_opening = self.settings.hours.is_some() && tx.now().since(since) < OPENING_MS;
        if is_opening
            && self.settings.deferred_until(tx.now()).is_none()
            && tx.have_others_deferred(openid)?
        {
            return Ok(Served::NotYet);
        }
        let among = if tx.now().since(since) >= MAX_WAIT_MS { Among::All } else { Among::Free };
        let Some(mut customer) = tx.customer(openid)? else { return Ok(Served::Changed) };
        let assignment = Assignment { settings: &self.settings, source: SOURCE, random };
        if assignment.assign(tx, &mut customer, among)? == Assigned::NoAgent {
            return Ok(Served::NotYet);
        }
        // The conversation begins now, not when the customer last wrote.
        customer.active_at = tx.now();
        tx.put_customer(&customer)?;
        if let Some(agent) = &customer.agent {
            tx.release_queued(openid, agent)?;
        }
        Ok(Served::One)
    }
}

/// The desk is open: what was written before leaves, or waits in the line for an agent.
pub(super) fn release_after_hours(
    tx: &Tx<'_>,
    openid: &OpenId,
    agent: Option<&ImUserId>,
) -> Result<(), StoreError> {
    match agent {
        Some(agent) => tx.release_deferred(openid, agent).map(drop),
        None => tx.queue_deferred(openid, NO_AGENT),
    }
}

/// Gives the customer's messages that wait for an agent to somebody, free or not: the customer's agent if there is one.
pub(super) fn release_to_anybody(
    tx: &Tx<'_>,
    assignment: &Assignment<'_>,
    customer: &mut Customer,
) -> Result<(), StoreError> {
    let parked = tx.parked(&customer.openid)?;
    if !parked.has_deferred && !parked.has_queued {
        return Ok(());
    }
    if customer.agent.is_none() {
        assignment.assign(tx, customer, Among::All)?;
        tx.put_customer(customer)?;
    }
    let Some(agent) = &customer.agent else { return Ok(()) };
    tx.release_deferred(&customer.openid, agent)?;
    tx.release_queued(&customer.openid, agent)?;
    Ok(())
}

/// Gives a customer whom an operator's command concerns to the least busy of `agents`, or of those of the customer's
/// group, free or not, with all that waits for an agent. Needs no running bridge. `session_idle_ms`: how long a conversation counts as open.
pub fn give_to_anybody(
    tx: &Tx<'_>,
    openid: &OpenId,
    agents: &[ImUserId],
    groups: &[Group],
    session_idle_ms: i64,
) -> Result<(), StoreError> {
    let Some(mut customer) = tx.customer(openid)? else { return Ok(()) };
    if customer.agent.is_none() {
        let open = tx.conversations_by_agent(tx.now().plus(-session_idle_ms))?;
        let all = members(agents, groups, customer.group.as_deref());
        let known = super::desk::Agents { all, absent: &[], capacity: None, open: &open, last: None };
        customer.agent = known.choose(customer.served_by.as_ref()).cloned();
    }
    let Some(agent) = customer.agent.clone() else { return Ok(()) };
    customer.next_seq = tx.reassign_pending(openid, &agent, customer.next_seq)?;
    customer.active_at = customer.active_at.max(tx.now());
    tx.put_customer(&customer)?;
    tx.release_queued(openid, &agent).map(drop)
}

#[cfg(test)]
mod tests;
