//! What a customer does beside writing: menu taps and scans. Within a conversation its agent reads each at once; between
//! two they are kept for the line that precedes the first message of the next.

use super::{PushDecision, PushHandler};
use crate::bridge::first_line::{self, LastTime};
use crate::bridge::send_policy::enqueue_notice;
use crate::model::{Direction, Event, EventKind, Millis, OutboundCall, VisitAction};
use crate::store::{Customer, StoreError, Tx};

impl PushHandler {
    /// Puts the customer into the group that the action leads to, and tells the agent what the customer did, or keeps it. `has_deferred`: the conversation has not reached the agent yet.
    /// Stores the customer.
    pub(super) fn note_action(
        &self,
        tx: &Tx<'_>,
        mut customer: Customer,
        event: &Event,
        has_deferred: bool,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        let action = action_of(event);
        if let Some(action) = &action {
            self.join_by_action(tx, &mut customer, action, decision)?;
        }
        self.note_visit(tx, customer, action.as_ref(), has_deferred, decision)
    }

    /// The same for an action that leads to no group; `None`: nothing happened that an agent reads.
    pub(super) fn note_visit(
        &self,
        tx: &Tx<'_>,
        mut customer: Customer,
        action: Option<&VisitAction>,
        has_deferred: bool,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        let Some(action) = action else { return super::save_customer(tx, &customer, decision) };
        let is_idle = tx.now().since(customer.active_at) >= self.inner.settings.session_idle_ms;
        let agent = customer.agent.clone().filter(|_| !is_idle && !has_deferred);
        let Some(agent) = agent else {
            customer.visit.add(action);
            return super::save_customer(tx, &customer, decision);
        };
        super::save_customer(tx, &customer, decision)?;
        let text = first_line::action(self.inner.settings.texts.locale, action);
        let source = self.push.dedup_key.as_str();
        if enqueue_notice(tx, &customer.openid, &agent, &text, source, self.random)? {
            decision.notify.push(Direction::ToIm);
        }
        Ok(())
    }

    /// The call that precedes the first message of a conversation. `last`: the conversation before.
    pub(super) fn first_line(&self, customer: &mut Customer, last: Option<&LastTime>) -> OutboundCall {
        let (settings, visit) = (&self.inner.settings, std::mem::take(&mut customer.visit));
        let group = settings.group(customer.group.as_deref()).map(|group| group.name.as_str());
        OutboundCall::FirstLineToAgent(first_line::first_line(settings.texts.locale, last, group, &visit))
    }
}

/// The customer's last conversation; `None` if there was none.
pub(super) fn last_time(customer: &Customer) -> Option<LastTime> {
    if customer.served_at > Millis(0) {
        return Some(LastTime { agent: customer.served_by.clone(), at: customer.served_at });
    }
    let has_written = customer.active_at > Millis(0);
    has_written.then_some(LastTime { agent: None, at: customer.active_at })
}

/// What an event tells an agent; `None`: nothing.
fn action_of(event: &Event) -> Option<VisitAction> {
    let word = |word: &Option<String>| word.clone().filter(|word| !word.trim().is_empty());
    match event.kind {
        EventKind::Subscribe | EventKind::Scan => word(&event.details.scene).map(VisitAction::Scan),
        EventKind::MenuClick => word(&event.details.key).map(VisitAction::Tap),
        EventKind::Unsubscribe | EventKind::Other => None,
    }
}
