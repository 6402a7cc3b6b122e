//! A customer leaves: unfollows the account, withdraws an authorization, or closes the WeChat account. The bridge tells
//! the agent who has the conversation, and erases what it knows of the customer.

use super::{PushDecision, PushHandler, save_customer};
use crate::bridge::from_agent::farewell;
use crate::bridge::line::release_to_anybody;
use crate::bridge::notice;
use crate::config::OnUnsubscribe;
use crate::model::{Direction, Ending, MessageKind, OutboundCall};
use crate::store::{Customer, StoreError, Tx};

impl PushHandler {
    /// Erases the customer. What must still reach the agent goes out first, then the account is deleted if the
    /// settings say so.
    pub(super) fn on_departure(&self, tx: &Tx<'_>, decision: &mut PushDecision) -> Result<(), StoreError> {
        let mut customer = self.customer(tx)?;
        tx.put_customer(&customer)?;
        tx.end_conversation(&customer, Ending::Left)?;
        // What waits for an agent or for the hours reaches somebody now: the account is about to be deleted.
        release_to_anybody(tx, &self.assignment(), &mut customer)?;
        let dropped = tx.forget_customer(&customer.openid)?;
        let agent = customer.agent.clone();
        let Customer { openid, number, imported, next_seq, conversation, .. } = customer;
        let known = false;
        let mut former =
            Customer { known, number, imported, next_seq, conversation, ..Customer::new(openid) };
        // Without an account the agent has no conversation that could show the notice.
        if let Some(agent) = agent.filter(|_| former.imported) {
            let text = notice::customer_left(self.inner.settings.texts.locale, dropped);
            tx.add(&farewell(&former, &agent, &text, self.random))?;
            former.next_seq = former.next_seq.wrapping_add(1);
            decision.notify.push(Direction::ToIm);
        }
        if self.inner.settings.on_unsubscribe == OnUnsubscribe::Delete {
            self.enqueue(tx, &mut former, MessageKind::Account, vec![OutboundCall::DeleteAccount], decision)?;
            return save_customer(tx, &former, decision);
        }
        save_customer(tx, &former, decision)?;
        tx.set_account(&former.openid, former.number, former.imported)
    }
}
