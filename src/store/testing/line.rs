//! Calls about the line, for the comparison of the engines.

use super::message;
use crate::model::{Direction, ImUserId, OpenId, OutboundCall};
use crate::store::{NewMessage, StoreError, Tx};

/// Makes some of the calls and returns their answers. `said`: what the message consists of, why it waits, and who gets it
/// in the end.
pub(super) fn apply(
    tx: &Tx<'_>,
    openid: &OpenId,
    (calls, why, agent): (Vec<OutboundCall>, &str, ImUserId),
    b: u8,
) -> Result<String, StoreError> {
    let call = OutboundCall::TextToAgent(why.to_owned());
    let message = NewMessage { calls, ..message(Direction::ToIm, openid, call) };
    let added = match b % 4 {
        0 => None,
        1 => Some(tx.add_deferred(&message, why)?),
        _ => Some(tx.add_queued(&message, why)?),
    };
    let (line, head) = (tx.line()?, tx.line_head()?);
    let released = match b / 4 % 4 {
        0 => tx.release_queued(openid, &agent)?,
        1 => tx.queue_deferred(openid, why).map(|()| 0)?,
        2 => usize::try_from(tx.reassign_pending(openid, &agent, u32::from(b))?).unwrap_or(0),
        _ => 0,
    };
    Ok(format!("{added:?} {line:?} {head:?} {released} {:?} {:?}", tx.line_head()?, tx.parked(openid)?))
}
