//! What the writes that are made most often will probably ask. A wrong guess costs time and changes nothing.

use super::{PendingCall, Tx};
use crate::model::{DedupKey, Direction, Lane, OpenId};

impl Tx<'_> {
    /// Asks what the acceptance of a customer's message asks in most cases. Answers are not there yet.
    pub fn foresee_push(&self, key: &DedupKey, openid: &OpenId, may_claim: bool) {
        let _ = self.first_copy(key);
        let _ = self.customer(openid);
        let _ = self.parked(openid);
        if may_claim {
            let _ = self.head_id(&Lane { direction: Direction::ToIm, customer: openid.clone() });
        }
        let _ = self.session.draw_id("message");
        // Used only if a conversation begins. An id that is not used is lost, and costs less than asking for it later.
        let _ = self.session.draw_id("conversation");
    }

    /// Asks what the claim of a lane's head asks.
    pub fn foresee_claim(&self, lane: &Lane) {
        let _ = self.head(lane);
    }

    /// Asks what the record of a delivery asks.
    pub fn foresee_outcome(&self, pending: &PendingCall) {
        let _ = self.current(pending);
        let _ = self.has_other_pending(pending);
        let _ = self.before_settling(pending.id);
    }
}
