//! `/close`: ends the conversation, and asks the customer for a rating where the settings say so.

use super::effect::Effect;
use super::words::CommandReply;
use crate::bridge::{quota, rating};
use crate::model::{Direction, Ending, MessageKind};
use crate::store::{Customer, NewMessage, StoreError, Tx};

impl Effect<'_> {
    /// Ends the conversation.
    pub(super) fn close(&self, tx: &Tx<'_>, customer: Customer) -> Result<(), StoreError> {
        tx.end_conversation(&customer, Ending::Agent)?;
        let customer = Customer { agent: None, ..customer };
        tx.put_customer(&customer)?;
        tx.answer_question(&customer.openid)?;
        if self.may_ask_for_rating(tx, &customer)? {
            self.ask_for_rating(tx, &customer)?;
        }
        self.notify_agent(tx, &customer, CommandReply::Closed)
    }

    /// Whether WeChat allows a send now that nothing else needs, and the customer was not asked lately.
    fn may_ask_for_rating(&self, tx: &Tx<'_>, customer: &Customer) -> Result<bool, StoreError> {
        let now = tx.now();
        let may_send = self.inner.may_push(now) && quota::budget(customer, now).is_ok();
        if !self.inner.settings.desk.rating || !may_send {
            return Ok(false);
        }
        let since = now.plus(1 - rating::ASK_INTERVAL_MS);
        Ok(!tx.parked(&customer.openid)?.has_held && !tx.was_asked_for_rating(&customer.openid, since)?)
    }

    /// Enqueues the menu behind the agents' messages.
    fn ask_for_rating(&self, tx: &Tx<'_>, customer: &Customer) -> Result<(), StoreError> {
        let agent = customer.served_by.as_ref().unwrap_or(self.sender);
        let id = tx.ask_rating(&customer.openid, agent)?;
        tx.add(&NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::Rating,
            openid: customer.openid.clone(),
            agent: Some(agent.clone()),
            calls: vec![rating::menu(self.locale(), id)],
            msg_seq: 0,
            msg_random: 0,
            source: format!("rating:{}", id.0),
            erase: false,
        })?;
        Ok(())
    }
}
