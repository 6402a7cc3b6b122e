//! A customer writes outside the working hours: the message is deferred until the desk opens, and the customer is told,
//! once in a session. In hours, the customer is told that an agent comes.

use super::PushHandler;
use crate::bridge::assignment::ahead;
use crate::clock::calendar::rfc3339;
use crate::config::Acknowledge;
use crate::model::{MessageId, Millis};
use crate::store::{Customer, NewMessage, StoreError, Tx};

/// In the place of an opening: the customer waits in line and has not read so yet.
const LINE_UNTOLD: Millis = Millis(1);

impl PushHandler {
    /// Stores a message that waits for the opening.
    pub(super) fn defer(tx: &Tx<'_>, message: &NewMessage, opening: Millis) -> Result<MessageId, StoreError> {
        let why = format!("outside the working hours; leaves at {}", rfc3339(opening.seconds()));
        let id = tx.add_deferred(message, &why)?;
        tx.record_step(&message.openid, Some(id), "deferred", &why, None)?;
        Ok(id)
    }

    /// The text for a customer whose message has been stored, if no agent's answer takes its place. `was_waiting`: earlier
    /// messages wait for an agent too.
    pub(super) fn acknowledgement(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        is_new_session: bool,
        was_waiting: bool,
    ) -> Result<Option<String>, StoreError> {
        let (settings, now) = (&self.inner.settings, tx.now());
        let told = std::mem::replace(&mut customer.away_until, Millis(0));
        if let Some(opening) = settings.closed_until(now) {
            customer.away_until = opening;
            let is_told = !is_new_session && told == opening;
            return Ok(if is_told { None } else { settings.away_text(now, opening) });
        }
        if customer.agent.is_none() {
            let is_told = was_waiting && told == Millis(0);
            return Ok(if is_told { None } else { settings.texts.queued(ahead(tx, settings, customer)?) });
        }
        let is_due = match settings.acknowledge {
            Acknowledge::Always => true,
            // In a session that began before the opening it has not been said yet.
            Acknowledge::Session => is_new_session || told > Millis(0),
            Acknowledge::Never => false,
        };
        Ok(is_due.then(|| settings.texts.transferring.clone()))
    }

    /// An answer takes the place of the text. A customer who has just joined the line reads so with the next reply.
    pub(super) fn postpone_acknowledgement(&self, customer: &mut Customer, was_waiting: bool, now: Millis) {
        let joins_line = customer.agent.is_none() && !was_waiting;
        if joins_line && self.inner.settings.closed_until(now).is_none() {
            customer.away_until = LINE_UNTOLD;
        }
    }
}
