//! Searches IM's history for attempts whose outcome is unknown. Each search holds up its conversation, while a backfill
//! of the same history may wait: after the end of an instance there are many of both, and they share one rate.

use std::time::Duration;

use tokio::sync::watch;

use super::ImCourier;
use crate::im::send::history::HistoryPages;
use crate::im::send::{Api, Failure, History, PastMessage};
use crate::model::{FailureClass, Resolution};

/// The pause before a history that was too long is searched again.
const TOO_LONG_PAUSE: Duration = Duration::from_mins(1);
/// The name by which the rate limit knows the pages of backfills, beside those of their API.
const BACKFILL_PAGES: &str = "admin_getroammsg for backfills";

/// How long a backfill waits for searches at most, before each page.
const PATIENCE: Duration = Duration::from_secs(2);

/// The searches under way. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Searches(watch::Sender<usize>);

/// A search under way, until it is dropped.
#[derive(Debug)]
struct Search<'a>(&'a Searches);

impl Searches {
    /// A search begins.
    fn begin(&self) -> Search<'_> {
        self.0.send_modify(|count| *count += 1);
        Search(self)
    }

    /// Waits until there is none, but only for a while: a backfill must go on too.
    async fn none(&self) {
        let mut count = self.0.subscribe();
        let _ = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl ImCourier {
    /// Searches the history for a message with these numbers.
    pub(super) async fn find_in_history(
        &self,
        history: History<'_>,
        msg_seq: u32,
        msg_random: u32,
    ) -> Result<Resolution, Failure> {
        let _search = self.searches.begin();
        let mut pages = HistoryPages::new(history);
        let matches =
            |past: &PastMessage| (past.message.msg_seq, past.message.msg_random) == (msg_seq, msg_random);
        while let Some(messages) = self.next_page(&mut pages).await? {
            if messages.iter().any(matches) {
                return Ok(Resolution::Delivered);
            }
        }
        if pages.is_exhausted() {
            return Ok(Resolution::NotDelivered);
        }
        // We stopped before the end of the history, so absence proves nothing.
        let why = "the conversation's history is too long to search".to_owned();
        Ok(Resolution::AskLater { class: FailureClass::Busy, pause: Some(TOO_LONG_PAUSE), why })
    }

    /// Reads the messages of a history's next page; `None` if there is none.
    pub(in crate::im::send) async fn next_page(
        &self,
        pages: &mut HistoryPages<'_>,
    ) -> Result<Option<Vec<PastMessage>>, Failure> {
        let Some(history) = pages.next() else { return Ok(None) };
        let page = self.rate_limited(Api::GetRoamMsg, self.client.admin_getroammsg(history)).await?;
        pages.accept_page(page).map(Some)
    }

    /// The same for a backfill, which lets all searches go first. Its pages come one after another, at the rate of the API:
    /// those that wait there for their turn could not be overtaken.
    pub(in crate::im::send) async fn next_page_of_backfill(
        &self,
        pages: &mut HistoryPages<'_>,
    ) -> Result<Option<Vec<PastMessage>>, Failure> {
        if pages.next().is_none() {
            return Ok(None);
        }
        self.rate_limiter.until_ready(BACKFILL_PAGES).await;
        self.searches.none().await;
        self.next_page(pages).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backfill_waits_for_searches_but_not_for_ever() {
        let searches = Searches::default();
        assert_eq!(searches.none().now_or_never(), Some(()));
        let (first, second) = (searches.begin(), searches.clone());
        let second = second.begin();
        let mut waiting = Box::pin(searches.none());
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(first);
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(second);
        assert_eq!((&mut waiting).now_or_never(), Some(()));
        let _endless = searches.begin();
        let started = tokio::time::Instant::now();
        searches.none().await;
        assert_eq!(started.elapsed(), PATIENCE);
    }
}
