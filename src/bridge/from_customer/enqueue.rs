//! Stores what a push causes as a message.

use super::{PushDecision, PushHandler};
use crate::model::{Direction, Lane, MessageKind, OutboundCall};
use crate::store::{Customer, NewMessage, StoreError, Tx};

impl PushHandler {
    /// Stores the calls of a push as a message: for the lane, for the opening, or for the line.
    pub(super) fn enqueue(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        kind: MessageKind,
        calls: Vec<OutboundCall>,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        if calls.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let is_ready =
            kind == MessageKind::Message && calls.first().is_some_and(|call| !call.needs_preparation());
        let message = NewMessage {
            direction: Direction::ToIm,
            kind,
            openid: customer.openid.clone(),
            agent: customer.agent.clone(),
            calls,
            msg_seq: customer.next_seq,
            msg_random: self.random,
            source: self.push.dedup_key.as_str().to_owned(),
            erase: self.push.is_unsubscribe(),
        };
        let lane = Lane { direction: message.direction, customer: message.openid.clone() };
        customer.next_seq = customer.next_seq.wrapping_add(count);
        if kind == MessageKind::Message
            && let Some(opening) = self.inner.settings.deferred_until(tx.now())
        {
            decision.message = Some(Self::defer(tx, &message, opening)?);
            return Ok(());
        }
        if kind == MessageKind::Message && message.agent.is_none() {
            decision.message = Some(Self::queue(tx, &message)?);
            return Ok(());
        }
        if self.has_place && is_ready && tx.head_id(&lane)?.is_none() {
            let pending = tx.add_claimed(message)?;
            decision.message = Some(pending.id);
            decision.direct = Some(pending);
        } else {
            decision.message = Some(tx.add(&message)?);
        }
        decision.notify.push(Direction::ToIm);
        Ok(())
    }
}
