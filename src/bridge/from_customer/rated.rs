//! A customer taps an item of the menu that asks for a rating.

use super::{PushDecision, PushHandler, WindowOpener, save_customer};
use crate::bridge::rating;
use crate::bridge::send_policy::enqueue_notice;
use crate::model::{Content, Direction, RatingId};
use crate::store::{StoreError, Tx};

impl PushHandler {
    /// Takes a tap on the menu that asked this customer for a rating. It is no question: it begins no conversation and
    /// reaches nobody as a message. The first tap counts. Returns whether it was such a tap.
    pub(super) fn on_rating(
        &self,
        tx: &Tx<'_>,
        content: &Content,
        decision: &mut PushDecision,
    ) -> Result<bool, StoreError> {
        let Content::Text { menu_id: Some(menu_id), .. } = content else { return Ok(false) };
        let Some((id, rating)) = RatingId::of_menu_id(menu_id) else { return Ok(false) };
        let Some((agent, is_rated)) = tx.asked_rating(&self.push.from, id)? else { return Ok(false) };
        let mut customer = self.customer(tx)?;
        self.on_action(tx, &mut customer, WindowOpener::Event, decision)?;
        save_customer(tx, &customer, decision)?;
        let locale = self.inner.settings.texts.locale;
        if !is_rated {
            tx.rate(id, rating)?;
            decision.rating = Some(rating);
            tx.record_step(&self.push.from, None, "rating", rating.name(), None)?;
            let (text, source) = (rating::line(locale, rating), self.push.dedup_key.as_str());
            if enqueue_notice(tx, &self.push.from, &agent, &text, source, self.random)? {
                decision.notify.push(Direction::ToIm);
            }
        }
        if decision.text.is_none() {
            decision.text = Some(rating::thanks(locale).to_owned());
        }
        Ok(true)
    }
}
