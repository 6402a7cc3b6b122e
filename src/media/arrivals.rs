//! Who wants what is told: the fetcher, that there is something to fetch; whoever waits, that something has come.
//!
//! Losing word costs time, never a medium: the store is the truth.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast};

use crate::model::{MediaHash, MediaName};
use crate::store::{Store, StoreError};

/// Those who may wait at once; others are turned away.
const WAITING: usize = 256;
/// Arrivals that one who waits may be behind by.
const BEHIND: usize = 256;
/// After word was lost, the store is looked into again within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The word. Clones spread the same.
#[derive(Clone, Debug)]
pub struct Arrivals {
    wanted: Arc<Notify>,
    settled: broadcast::Sender<MediaName>,
    waiting: Arc<Semaphore>,
}

/// What came of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The medium's file.
    Here(MediaHash),
    /// There is no such medium, or it will never come.
    Never,
    /// It has not come in time, or too many wait.
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
    /// There is something to fetch.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until there is, unless there has been since the last time.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A medium has come, or never will.
    pub fn settled(&self, name: &MediaName) {
        // Nobody may be waiting.
        let _ = self.settled.send(name.clone());
    }

    /// The file of `name`, which is fetched now and waited for up to `within`.
    pub async fn file(
        &self,
        store: &Store,
        name: &MediaName,
        within: Duration,
    ) -> Result<Awaited, StoreError> {
        // Listened to before the store is asked, so that nothing comes unnoticed in between.
        let mut settled = self.settled.subscribe();
        if let Some(found) = look(store, name).await? {
            return Ok(found);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(Awaited::NotYet) };
        let hurried = name.clone();
        store.write(move |tx| tx.hurry_fetch(&hurried)).await?;
        self.want();
        Self::until(&mut settled, store, name, within).await
    }

    /// The same, while its fetch takes its own pace. Who asks bounds how many wait.
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

/// What is known of `name`; `None` while it is being fetched.
async fn look(store: &Store, name: &MediaName) -> Result<Option<Awaited>, StoreError> {
    let name = name.clone();
    let found = move |tx: &crate::store::Tx<'_>| {
        let Some(medium) = tx.medium(&name)? else { return Ok(Some(Awaited::Never)) };
        if let Some(file) = medium.file {
            return Ok(Some(Awaited::Here(file.hash)));
        }
        Ok(if tx.is_wanted(&name)? { None } else { Some(Awaited::Never) })
    };
    store.read(found).await
}
