//! Shows in IM what WeChat tells of a customer.
//!
//! Best effort, beside the lanes: no message waits for it. What failed is tried again with the customer's next
//! conversation.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ImCourier;
use crate::im::send::Api;
use crate::im::send::portrait::Portrait;
use crate::model::OpenId;
use crate::store::{Scope, StoreError};

/// Calls in progress at the same time.
const MAX_CALLS: usize = 8;

/// Carries out the requests until `stop`.
pub async fn show_portraits(
    courier: Arc<ImCourier>,
    mut requests: mpsc::Receiver<OpenId>,
    stop: CancellationToken,
) {
    let mut calls = JoinSet::new();
    loop {
        let customer = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = calls.join_next() => continue,
            request = requests.recv(), if calls.len() < MAX_CALLS => match request {
                Some(customer) => customer,
                None => return,
            },
        };
        let courier = Arc::clone(&courier);
        calls.spawn(async move {
            if let Err(error) = courier.show(&customer).await {
                tracing::debug!(%error, "cannot read or record what IM shows of a customer");
            }
        });
    }
}

impl ImCourier {
    async fn show(&self, customer: &OpenId) -> Result<(), StoreError> {
        let openid = customer.clone();
        let read = self.bridge.store().read(move |tx| Ok((tx.profile(&openid)?, tx.shown(&openid)?)));
        let (profile, shown) = read.await?;
        let portrait = Portrait::of(customer, profile.as_ref());
        let Ok((user, account)) = self.account(customer).await else { return Ok(()) };
        if !account.imported || shown.is_none_or(|shown| shown == portrait.shown) {
            return Ok(());
        }
        if let Err(failure) =
            self.rate_limited(Api::PortraitSet, self.client.portrait_set(&user, &portrait)).await
        {
            tracing::debug!(%failure, "IM does not take a customer's nickname or picture");
            return Ok(());
        }
        self.record_shown(customer, &portrait).await
    }

    /// Records what IM's account of the customer shows.
    pub(super) async fn record_shown(
        &self,
        customer: &OpenId,
        portrait: &Portrait,
    ) -> Result<(), StoreError> {
        let (openid, shown) = (customer.clone(), portrait.shown.clone());
        let scope = Scope::customer(customer).in_background();
        self.bridge.store().write_for(scope, move |tx| tx.set_shown(&openid, &shown)).await
    }
}
