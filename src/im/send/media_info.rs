//! The details of a customer's medium for an agent's client: its size, if the file arrives soon
//! enough.
//!
//! The file usually arrives a moment after its message. The message waits for it only that long,
//! and not at all if many messages wait already: the sizes only improve the layout of a client's
//! list.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::im::element::MediaDetails;
use crate::media::{Media, Scale};
use crate::model::{MediaInfo, MediaInfoKind, Millis};
use crate::store::Store;

/// How long after its acceptance a message may wait for its file, milliseconds.
const WAIT_MS: i64 = 300;
/// How many messages may wait at once: half of the calls in flight, so that texts are not blocked.
const MAX_WAITING: usize = 64;

/// Reads the details of customers' media.
#[derive(Debug)]
pub struct MediaInspector {
    media: Media,
    store: Store,
    waiting: Semaphore,
}

impl MediaInspector {
    /// Reads from the files of `media`.
    pub fn new(media: Media, store: Store) -> Self {
        Self { media, store, waiting: Semaphore::new(MAX_WAITING) }
    }

    /// Waits until the file arrives, or until [`WAIT_MS`] have passed since `accepted_at`.
    pub(super) async fn wait_for_file(&self, info: &MediaInfo, accepted_at: Millis, now: Millis) {
        // If the clock was set back, wait the whole time but never longer.
        let left_ms = (WAIT_MS - now.since(accepted_at).max(0)).max(0);
        let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return };
        let Ok(_permit) = self.waiting.try_acquire() else { return };
        let within = Duration::from_millis(left_ms);
        if let Err(error) = self.media.fetch_events.wait(&self.store, &info.name, within).await {
            tracing::debug!(%error, "cannot wait for a message's file; sending the message without its size");
        }
    }

    /// Returns the details that are known now.
    pub(super) async fn details(&self, info: &MediaInfo, accepted_at: Millis) -> MediaDetails {
        let link = |scale: Scale| self.media.links.link_to(&info.name, scale.extension(), accepted_at);
        let mut details = MediaDetails {
            file: self.media.measure(&self.store, &info.name).await,
            ..MediaDetails::default()
        };
        match &info.kind {
            MediaInfoKind::Image => {
                (details.large_link, details.thumb_link) = (link(Scale::Large), link(Scale::Thumb));
            }
            MediaInfoKind::Video { thumb, .. } => {
                details.thumb = self.media.measure(&self.store, thumb).await;
            }
            MediaInfoKind::Sound { .. } => {}
        }
        details
    }
}
