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
        let within = remaining_wait(accepted_at, now);
        if within.is_zero() {
            return;
        }
        let Ok(_permit) = self.waiting.try_acquire() else { return };
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

/// How much longer a message may wait for its file. The wait counts from the message's acceptance, so that several
/// messages in a row wait at the same time.
fn remaining_wait(accepted_at: Millis, now: Millis) -> Duration {
    // If the clock was set back, wait the whole time but never longer.
    let left_ms = WAIT_MS - now.since(accepted_at).max(0);
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_a_row_wait_at_the_same_time() {
        let wait_ms = |accepted_at, now| remaining_wait(Millis(accepted_at), Millis(now)).as_millis();
        assert_eq!(wait_ms(1_000, 1_000), 300);
        assert_eq!(wait_ms(1_000, 1_299), 1);
        assert_eq!(wait_ms(1_000, 1_300), 0, "the first one of the row has waited for this one too");
        assert_eq!(wait_ms(1_000, 5_000), 0);
        assert_eq!(wait_ms(1_000, 0), 300, "the clock was set back");
    }
}
