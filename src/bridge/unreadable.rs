//! Accepts a signed push that could not be read: keeps its bytes, and tells the agent of its customer.

use fail::fail_point;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use super::send_policy::enqueue_notice;
use super::{Bridge, notice};
use crate::model::{Direction, Lane, UnreadablePush};
use crate::store::{StoreError, Tx, UnreadableRow};

impl Bridge {
    /// Accepts a push that could not be read. `Ok` means that its bytes are on disk; the same bytes are kept once and
    /// cause one notice.
    pub async fn accept_unreadable(&self, push: UnreadablePush) -> Result<(), StoreError> {
        let (sender, locale) = (push.sender.clone(), self.locale());
        let random = rand::rng().random();
        let hash = hex::encode(Sha256::digest(&push.bytes));
        let row = UnreadableRow { hash, openid: push.sender, agent: None, why: push.why, body: push.bytes };
        let keep = move |tx: &Tx<'_>| {
            let mut row = row.clone();
            let customer = row.openid.as_ref().map(|openid| tx.customer(openid)).transpose()?.flatten();
            let known = customer.filter(|customer| customer.known);
            row.agent = known.as_ref().and_then(|customer| customer.agent.clone());
            if !tx.keep_unreadable(&row)? {
                return Ok(false);
            }
            let Some(customer) = known else { return Ok(false) };
            tx.record_step(&customer.openid, None, "unreadable push", &row.why, None)?;
            let Some(agent) = row.agent else { return Ok(false) };
            let text = notice::unreadable(locale);
            enqueue_notice(tx, &customer.openid, &agent, &text, &format!("unreadable:{}", row.hash), random)
        };
        fail_point!("push.received");
        let has_notice = self.0.store.write(keep).await?;
        if let (true, Some(customer)) = (has_notice, sender) {
            self.0.work_signal.notify(Lane { direction: Direction::ToIm, customer });
        }
        Ok(())
    }
}
