//! A customer follows the account: gets the welcome text and an IM account.

use super::{PushDecision, PushHandler, release_held};
use crate::bridge::passive_reply::{AFTER_REPLY_MS, HELD_READ};
use crate::model::{Event, MessageKind, OutboundCall};
use crate::store::{StoreError, Tx};

impl PushHandler {
    /// Imports the customer's account, and welcomes the customer.
    pub(super) fn on_subscribe(
        &self,
        tx: &Tx<'_>,
        event: &Event,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        let mut customer = self.customer(tx)?;
        self.inner.settings.limits.open_event_window(&mut customer, tx.now());
        // The passive reply is the welcome text, so held answers can only be pushed.
        if self.inner.may_push(tx.now()) && !tx.has_attached(&customer.openid)? {
            release_held(tx, &customer, &tx.held(&customer.openid, HELD_READ)?, decision)?;
        }
        self.enqueue(tx, &mut customer, MessageKind::Account, vec![OutboundCall::ImportAccount], decision)?;
        self.note_action(tx, customer, event, false, decision)?;
        self.ask_for_group(tx, decision)?;
        tx.set_push_not_before(&self.push.from, tx.now().plus(AFTER_REPLY_MS))?;
        tx.record_step(&self.push.from, None, "subscribe", "event", None)?;
        decision.text = Some(self.inner.settings.texts.welcome.clone());
        Ok(())
    }
}
