//! The media of a customer's message, which are fetched from WeChat in the background.

use crate::model::{MediaName, MediaOrigin, MediaRequest};
use crate::store::{Customer, StoreError, Tx};

/// Enqueues the fetches of a message's media and adds a row for each file.
pub(super) fn enqueue(
    tx: &Tx<'_>,
    customer: &Customer,
    requests: &[(MediaName, MediaRequest)],
) -> Result<(), StoreError> {
    for (name, request) in requests {
        for file in std::iter::once(name).chain(&request.mp3) {
            tx.add_medium(file, &customer.openid, MediaOrigin::Customer)?;
        }
        tx.enqueue_fetch(name, &customer.openid, request)?;
    }
    Ok(())
}
