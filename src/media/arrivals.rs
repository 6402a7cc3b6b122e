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
const WAITING: usize = 256;
/// How many events a waiting request may lag behind.
const BEHIND: usize = 256;
/// The store is read again after this long, in case an event was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The signals. Clones share them.
#[derive(Clone, Debug)]
pub struct Arrivals {
    wanted: Arc<Notify>,
    settled: broadcast::Sender<MediaName>,
    waiting: Arc<Semaphore>,
}

/// The outcome of waiting for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The medium's file is here.
    Here(MediaHash),
    /// There is no such medium, or it cannot be fetched.
    Never,
    /// It was not fetched in time, or too many requests wait.
    NotYet,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            wanted: Arc::default(),
            settled: broadcast::Sender::new(BEHIND),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Arrivals {
    /// Signals that there is something to fetch.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits for a signal. Returns at once if one arrived since the last call.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Signals that a medium was fetched or has failed for good.
    pub fn settled(&self, name: &MediaName) {
        // An error only means that no request is waiting.
        let _ = self.settled.send(name.clone());
    }

    /// Fetches the file of `name` at once and waits for it, at most for `within`.
    pub async fn file(
        &self,
        store: &Store,
        name: &MediaName,
        within: Duration,
    ) -> Result<Awaited, StoreError> {
        // Subscribe before reading the store, so that no event is missed in between.
        let mut settled = self.settled.subscribe();
        if let Some(found) = look(store, name).await? {
            return Ok(found);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(Awaited::NotYet) };
        let hurried = name.clone();
        store.write(move |tx| tx.make_fetch_due(&hurried)).await?;
        self.want();
        Self::until(&mut settled, store, name, within).await
    }

    /// Waits in the same way, but leaves the fetch at its normal pace. The caller bounds how many
    /// wait.
    pub async fn unhurried(
        &self,
        store: &Store,
        name: &MediaName,
        within: Duration,
    ) -> Result<Awaited, StoreError> {
        let mut settled = self.settled.subscribe();
        match look(store, name).await? {
            Some(found) => Ok(found),
            None => Self::until(&mut settled, store, name, within).await,
        }
    }

    async fn until(
        settled: &mut broadcast::Receiver<MediaName>,
        store: &Store,
        name: &MediaName,
        within: Duration,
    ) -> Result<Awaited, StoreError> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let word = async { while settled.recv().await.is_ok_and(|word| word != *name) {} };
            let asked = tokio::time::timeout(LOOK_AGAIN, word);
            if tokio::time::timeout_at(until, asked).await.is_err() {
                return Ok(Awaited::NotYet);
            }
            if let Some(found) = look(store, name).await? {
                return Ok(found);
            }
        }
    }
}

/// Returns the outcome for `name` from the store; `None` while it is being fetched.
async fn look(store: &Store, name: &MediaName) -> Result<Option<Awaited>, StoreError> {
    let name = name.clone();
    let found = move |tx: &crate::store::Tx<'_>| {
        let Some(medium) = tx.medium(&name)? else { return Ok(Some(Awaited::Never)) };
        if let Some(file) = medium.file {
            return Ok(Some(Awaited::Here(file.hash)));
        }
        Ok(if tx.is_fetch_pending(&name)? { None } else { Some(Awaited::Never) })
    };
    store.read(found).await
}
