//! The notice to the agent, who already has the message, that a customer's medium cannot be
//! fetched.

use super::sending::owe_note;
use super::showing::{self, Unshown};
use super::{Bridge, note};
use crate::store::{MediaFetch, StoreError, Tx};

impl Bridge {
    /// Enqueues a notice to the agent that `fetch` has failed for good. Returns whether there is a
    /// notice to send.
    pub fn unfetched(
        &self,
        tx: &Tx<'_>,
        fetch: &MediaFetch,
        unshown: Unshown,
        random: u32,
    ) -> Result<bool, StoreError> {
        let locale = self.texts().locale;
        let Some(what) = note::medium(locale, fetch.request.kind) else { return Ok(false) };
        // The conversation may have been handed over since, so notify its current agent.
        let Some(agent) = tx.customer(&fetch.openid)?.and_then(|customer| customer.agent) else {
            return Ok(false);
        };
        let text = note::unfetched(locale, what, showing::why(locale, unshown));
        owe_note(tx, &fetch.openid, &agent, &text, &format!("media:{}", fetch.name.as_str()), random)
    }
}
