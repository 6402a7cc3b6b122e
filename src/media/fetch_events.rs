//! Signals to the fetcher that there is something to fetch, and to waiting requests that a fetch is
//! done.
//!
//! A lost signal costs time, never a medium: the store is the source of truth.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast};

use crate::model::{MediaHash, MediaName};
use crate::store::{Store, StoreError};

/// The most requests that wait at once; others are turned away.
const MAX_WAITING: usize = 256;
/// How many events a waiting request may lag behind.
const EVENT_CAPACITY: usize = 256;
/// The store is read again after this long, in case an event was lost.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The signals. Clones share them.
#[derive(Clone, Debug)]
pub struct FetchEvents {
    requested: Arc<Notify>,
    settled: broadcast::Sender<MediaName>,
    waiting: Arc<Semaphore>,
}

/// The outcome of waiting for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The medium's file is here.
    Ready(MediaHash),
    /// There is no such medium, or it cannot be fetched.
    Unavailable,
    /// It was not fetched in time, or too many requests wait.
    Pending,
}

impl Default for FetchEvents {
    fn default() -> Self {
        Self {
            requested: Arc::default(),
            settled: broadcast::Sender::new(EVENT_CAPACITY),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }
}

impl FetchEvents {
    /// Signals that there is something to fetch.
    pub fn request_fetch(&self) {
        self.requested.notify_one();
    }

    /// Waits for a signal. Returns at once if one arrived since the last call.
    pub async fn fetch_requested(&self) {
        self.requested.notified().await;
    }

    /// Signals that a medium was fetched or has failed for good.
    pub fn notify_settled(&self, name: &MediaName) {
        // An error only means that no request is waiting.
        let _ = self.settled.send(name.clone());
    }

    /// Fetches the file of `name` at once and waits for it, at most for `within`.
    pub async fn wait_urgent(
        &self,
        store: &Store,
        name: &MediaName,
        timeout: Duration,
    ) -> Result<WaitOutcome, StoreError> {
        // Subscribe before reading the store, so that no event is missed in between.
        let mut settled = self.settled.subscribe();
        if let Some(found) = lookup(store, name).await? {
            return Ok(found);
        }
        let Ok(_permit) = self.waiting.try_acquire() else { return Ok(WaitOutcome::Pending) };
        let requested = name.clone();
        store.write(move |tx| tx.make_fetch_due(&requested)).await?;
        self.request_fetch();
        Self::wait_until(&mut settled, store, name, timeout).await
    }

    /// Waits in the same way, but leaves the fetch at its normal pace. The caller bounds how many
    /// wait.
    pub async fn wait(
        &self,
        store: &Store,
        name: &MediaName,
        timeout: Duration,
    ) -> Result<WaitOutcome, StoreError> {
        let mut settled = self.settled.subscribe();
        match lookup(store, name).await? {
            Some(found) => Ok(found),
            None => Self::wait_until(&mut settled, store, name, timeout).await,
        }
    }

    async fn wait_until(
        settled: &mut broadcast::Receiver<MediaName>,
        store: &Store,
        name: &MediaName,
        timeout: Duration,
    ) -> Result<WaitOutcome, StoreError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let event = async { while settled.recv().await.is_ok_and(|word| word != *name) {} };
            let woken = tokio::time::timeout(RECHECK_INTERVAL, event);
            if tokio::time::timeout_at(deadline, woken).await.is_err() {
                return Ok(WaitOutcome::Pending);
            }
            if let Some(found) = lookup(store, name).await? {
                return Ok(found);
            }
        }
    }
}

/// Returns the outcome for `name` from the store; `None` while it is being fetched.
async fn lookup(store: &Store, name: &MediaName) -> Result<Option<WaitOutcome>, StoreError> {
    let name = name.clone();
    let read = move |tx: &crate::store::Tx<'_>| {
        let Some(medium) = tx.medium(&name)? else { return Ok(Some(WaitOutcome::Unavailable)) };
        if let Some(file) = medium.file {
            return Ok(Some(WaitOutcome::Ready(file.hash)));
        }
        Ok(if tx.is_fetch_pending(&name)? { None } else { Some(WaitOutcome::Unavailable) })
    };
    store.read(read).await
}
