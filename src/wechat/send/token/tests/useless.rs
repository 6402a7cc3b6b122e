//! A store that is of no use to a holder.

use futures_util::future::{BoxFuture, FutureExt as _, pending, ready};

use super::*;

/// A store that never answers, or always that another holder is fetching.
enum Useless {
    Hangs,
    IsBusy,
}

impl TokenStore for Useless {
    fn claim(&self, _: HolderId, _: Wanted) -> BoxFuture<'_, Result<Claim, StoreError>> {
        match self {
            Self::Hangs => pending().boxed(),
            Self::IsBusy => ready(Ok(Claim::Busy)).boxed(),
        }
    }

    fn spend_forced(&self, _: HolderId, _: ForcedLimits) -> BoxFuture<'_, Result<Spent, StoreError>> {
        pending().boxed()
    }

    fn save(&self, _: HolderId, _: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        pending().boxed()
    }

    fn release(&self, _: HolderId) -> BoxFuture<'_, Result<(), StoreError>> {
        pending().boxed()
    }
}

#[tokio::test]
async fn a_store_that_hangs_keeps_no_token_back() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let settings = Settings { store_timeout: Duration::from_millis(20), ..Settings::default() };
    let holder = fake.holder_with(&clock, Arc::new(Useless::Hangs), settings);
    soon(holder.current()).await.unwrap();
    assert_eq!(value(&soon(holder.replace_rejected(1)).await.unwrap()), "77_token_2");
}

// Nothing but a timer is waited for, so the time may be paused.
#[tokio::test(start_paused = true)]
async fn the_wait_for_other_holders_is_bounded() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let holder = fake.holder(&clock, Arc::new(Useless::IsBusy));
    let start = tokio::time::Instant::now();
    let end = tokio::time::timeout(Duration::from_mins(1), holder.current()).await;
    assert_eq!(end.unwrap().unwrap_err(), TokenError::Claimed);
    assert_eq!(start.elapsed().as_secs(), 24);
    assert_eq!(fake.fetches(), (0, 0));
}
