//! The notice to the agent, who already has the message, that a customer's medium cannot be
//! fetched.

use super::media_link::{self, MediaUnavailable};
use super::send_policy::enqueue_notice;
use super::{Bridge, notice};
use crate::store::{MediaFetch, StoreError, Tx};

impl Bridge {
    /// Enqueues a notice to the agent that `fetch` has failed for good. Returns whether there is a
    /// notice to send.
    pub fn notify_media_unavailable(
        &self,
        tx: &Tx<'_>,
        fetch: &MediaFetch,
        unavailable: MediaUnavailable,
        random: u32,
    ) -> Result<bool, StoreError> {
        let locale = self.texts().locale;
        let Some(label) = notice::media_label(locale, fetch.request.kind) else { return Ok(false) };
        // The conversation may have been handed over since, so notify its current agent.
        let Some(agent) = tx.customer(&fetch.openid)?.and_then(|customer| customer.agent) else {
            return Ok(false);
        };
        let text =
            notice::media_unavailable(locale, label, media_link::unavailable_reason(locale, unavailable));
        enqueue_notice(tx, &fetch.openid, &agent, &text, &format!("media:{}", fetch.name.as_str()), random)
    }
}
