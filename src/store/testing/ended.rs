//! Calls about conversations that are over, for the comparison of the engines.

use crate::model::{Ending, Millis, OpenId};
use crate::store::{Silence, StoreError, Tx};

const DAY_MS: i64 = 86_400_000;

/// Makes one of the calls and returns its answer.
pub(super) fn apply(tx: &Tx<'_>, openid: &OpenId, b: u8, c: u8) -> Result<String, StoreError> {
    let now = tx.now();
    if !b.is_multiple_of(2) {
        let silence =
            Silence { from: Millis(0), before: now.plus(-i64::from(b)), again: !c.is_multiple_of(2) };
        let (found, next) = tx.silent_conversations(silence, 0, 3)?;
        for facts in &found {
            tx.record_ended(facts, Ending::Silence, !c.is_multiple_of(3))?;
        }
        return Ok(format!("{found:?} {next:?}"));
    }
    let (ended, _) = tx.ended_conversations((now.plus(-DAY_MS), 0), 9)?;
    match tx.customer(openid)? {
        Some(customer) if !c.is_multiple_of(2) => tx.end_conversation(&customer, Ending::Agent)?,
        _ => tx.prune_ended(now.plus(-i64::from(c) * DAY_MS))?,
    }
    Ok(format!("{ended:?} {}", tx.count_ended(u32::from(b % 4))?.len()))
}
