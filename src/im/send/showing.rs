//! What an agent's client is told of a customer's medium: its size, if the file comes soon enough.
//!
//! The file is mostly here a moment after its message. The message waits for it that long and no longer, and not at
//! all where many wait already: the sizes make a client's list look right, nothing more.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::im::element::Known;
use crate::media::{Media, Scale};
use crate::model::{Millis, Shown, ShownKind};
use crate::store::Store;

/// How long after it was accepted a message may still wait for its file, milliseconds.
const WAIT_MS: i64 = 300;
/// Messages that wait at once: half of the calls in flight, so that texts find a place.
const WAITING: usize = 64;

/// Finds it out.
#[derive(Debug)]
pub struct Showing {
    media: Media,
    store: Store,
    waiting: Semaphore,
}

impl Showing {
    /// Of the files of `media`.
    pub fn new(media: Media, store: Store) -> Self {
        Self { media, store, waiting: Semaphore::new(WAITING) }
    }

    /// Waits until the file is here, or the time since `accepted_at` is up.
    pub(super) async fn wait(&self, shown: &Shown, accepted_at: Millis, now: Millis) {
        // After a step back of the clock the whole time, never more.
        let left_ms = (WAIT_MS - now.since(accepted_at).max(0)).max(0);
        let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return };
        let Ok(_place) = self.waiting.try_acquire() else { return };
        let within = Duration::from_millis(left_ms);
        if let Err(error) = self.media.arrivals.unhurried(&self.store, &shown.name, within).await {
            tracing::debug!(%error, "a message does not wait for its file");
        }
    }

    /// What is known now.
    pub(super) async fn known(&self, shown: &Shown, accepted_at: Millis) -> Known {
        let link = |scale: Scale| self.media.links.to(&shown.name, scale.extension(), accepted_at);
        let mut known =
            Known { file: self.media.measure(&self.store, &shown.name).await, ..Known::default() };
        match &shown.kind {
            ShownKind::Image => {
                (known.large_link, known.thumb_link) = (link(Scale::Large), link(Scale::Thumb));
            }
            ShownKind::Video { thumb, .. } => known.thumb = self.media.measure(&self.store, thumb).await,
            ShownKind::Sound { .. } => {}
        }
        known
    }
}
