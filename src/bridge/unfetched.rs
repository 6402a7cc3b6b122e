//! A customer's medium that will never come: the agent, who has the message already, is told.

use super::sending::owe_note;
use super::showing::{self, Unshown};
use super::{Bridge, note};
use crate::store::{Fetch, StoreError, Tx};

impl Bridge {
    /// Owes the agent a note that `fetch` will never come. Whether there is a note to send.
    pub fn unfetched(
        &self,
        tx: &Tx<'_>,
        fetch: &Fetch,
        unshown: Unshown,
        random: u32,
    ) -> Result<bool, StoreError> {
        let locale = self.texts().locale;
        let Some(what) = note::medium(locale, fetch.wanted.what) else { return Ok(false) };
        // Whoever has the conversation now: it may have changed hands meanwhile.
        let Some(agent) = tx.customer(&fetch.openid)?.and_then(|customer| customer.agent) else {
            return Ok(false);
        };
        let text = note::unfetched(locale, what, showing::why(locale, unshown));
        owe_note(tx, &fetch.openid, &agent, &text, &format!("media:{}", fetch.name.as_str()), random)
    }
}
