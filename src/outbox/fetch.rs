//! Downloads customers' media in the background, before the platform deletes them.
//!
//! The message with the link to a medium has been sent long before; only the file is still missing.
//! An attempt may be repeated freely, because it changes no state elsewhere. A file and the end of
//! its fetch are committed together, so that a process killed in between fetches again, and the
//! agent gets at most one notice of a failure.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::panics::{MAX_PANICS, Panics};
use crate::bridge::{Bridge, MediaUnavailable, WorkSignal};
use crate::clock::Clock;
use crate::media::{Files, Media, StoredFile};
use crate::metrics::Metrics;
use crate::model::{Direction, Lane, MediaName, MediaRequest, Millis};
use crate::store::{MediaFetch, MediumFile, Membership, Scope, Store, StoreError, Tx};
use crate::upstream::delay_ms;

/// The most fetches at once.
const MAX_RUNNING: usize = 16;
/// Who claims a download where there is only one instance.
const ALONE: i64 = 1;
/// What only this task changes: which downloads are claimed.
const CLAIM: &str = "claim of downloads";
/// How long the platform keeps a medium, milliseconds.
const MEDIA_LIFETIME_MS: i64 = 3 * 24 * 3600 * 1000;
/// From this attempt on the pauses are five times as long.
const SLOW_AFTER_ATTEMPTS: u32 = 10;
/// The most media whose panics are remembered; at the limit, all are forgotten.
const MAX_PANICKED: usize = 4_096;
/// A lost signal is noticed within this time.
const TICK: Duration = Duration::from_secs(1);

/// Why a download failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Another attempt may succeed.
    Retry {
        /// The reason, from the platform or from us; no secrets.
        why: String,
    },
    /// No attempt will succeed.
    Permanent {
        /// The reason as the agent reads it.
        reason: MediaUnavailable,
        /// The reason, from the platform or from us; no secrets.
        why: String,
    },
}

/// A platform that media are downloaded from.
pub trait Provider: std::fmt::Debug + Send + Sync {
    /// Makes one attempt to download the medium of `request` into `files`, with a time limit of its
    /// own.
    fn fetch<'a>(
        &'a self,
        request: &'a MediaRequest,
        files: &'a Files,
        max_bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<StoredFile, FetchError>> + Send + 'a>>;
}

/// The fetcher. Clones share its state.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Holds the pending fetches.
    pub store: Store,
    /// Enqueues the notices to agents.
    pub bridge: Bridge,
    /// The media files, and the clients that wait for them.
    pub media: Media,
    /// Downloads the files.
    pub provider: Arc<dyn Provider>,
    /// Signals new notices to the outbox.
    pub work_signal: WorkSignal,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// Where panics are counted.
    pub panics: Panics,
    /// The panics over the media that are still to be fetched. At most [`MAX_PANICKED`].
    pub panic_counts: Arc<Mutex<HashMap<MediaName, u32>>>,
    /// The largest accepted file, in bytes.
    pub max_bytes: u64,
}

impl Fetcher {
    /// Runs until stopped. Fetches that are running then are cancelled and start again with the
    /// next start of the bridge.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut has_released = false;
        loop {
            let pause = match self.start_due(&mut running, &mut has_released).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(
                        %error,
                        "cannot read the pending media fetches; trying again within a second"
                    );
                    TICK
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.media.fetch_events.fetch_requested() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        running.shutdown().await;
    }

    /// Starts due fetches as far as there is room. Returns how long to wait before the next check.
    async fn start_due(
        &self,
        running: &mut JoinSet<()>,
        has_released: &mut bool,
    ) -> Result<Duration, StoreError> {
        if !*has_released {
            let is_alone = self.work_signal.fleet().is_alone();
            self.store.write(move |tx| tx.release_fetches(Millis(0), is_alone)).await?;
            *has_released = true;
        }
        let room = MAX_RUNNING.saturating_sub(running.len());
        if room == 0 {
            return Ok(TICK);
        }
        // Read first, because a claim is a commit.
        let wait = self.store.read(|tx| Ok(tx.next_fetch_at()?.map(|due| due.since(tx.now())))).await?;
        let Some(wait_ms) = wait else { return Ok(TICK) };
        if wait_ms <= 0 {
            let owner = self.store.membership().map_or(ALONE, Membership::id);
            let claim = move |tx: &Tx<'_>| tx.claim_fetches(room, owner);
            for fetch in self.store.write_for(Scope::task(CLAIM), claim).await? {
                let fetcher = self.clone();
                running.spawn(async move { fetcher.attempt_or_panic(fetch).await });
            }
        }
        Ok(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).clamp(Duration::from_millis(10), TICK))
    }

    /// Makes an attempt. After a panic the fetch is tried again, at most [`MAX_PANICS`] times.
    async fn attempt_or_panic(&self, fetch: MediaFetch) {
        let attempt = AssertUnwindSafe(self.attempt(fetch.clone()));
        if attempt.catch_unwind().await.is_ok() {
            self.panic_counts.lock().remove(&fetch.name);
            return;
        }
        self.panics.record(&self.metrics, "fetch", self.clock.now());
        let count = {
            let mut counts = self.panic_counts.lock();
            if counts.len() >= MAX_PANICKED {
                counts.clear();
            }
            let count = counts.entry(fetch.name.clone()).or_default();
            *count += 1;
            *count
        };
        tracing::error!(
            openid.hash = %fetch.openid.log_hash(),
            count,
            "a media fetch panicked, which is a bug; after three panics the file is given up"
        );
        let why = "the fetch panicked";
        let settled = if count >= MAX_PANICS {
            self.panic_counts.lock().remove(&fetch.name);
            self.give_up(&fetch, MediaUnavailable::InternalError, why).await
        } else {
            self.reschedule(&fetch, why).await
        };
        if settled.is_err() {
            self.release(&fetch.name).await;
        }
        for name in std::iter::once(&fetch.name).chain(&fetch.request.mp3) {
            self.media.fetch_events.notify_settled(name);
        }
    }

    async fn attempt(&self, fetch: MediaFetch) {
        let outcome = self.provider.fetch(&fetch.request, &self.media.files, self.max_bytes).await;
        let outcome = match outcome {
            Err(FetchError::Retry { why })
                if self.clock.is_trusted()
                    && self.clock.now().since(fetch.created_at) >= MEDIA_LIFETIME_MS =>
            {
                Err(FetchError::Permanent { reason: MediaUnavailable::Expired, why })
            }
            outcome => outcome,
        };
        fail_point!("media.fetched");
        let settled = match outcome {
            Ok(stored) => self.store_file(&fetch, stored).await,
            Err(FetchError::Retry { why }) => self.reschedule(&fetch, &why).await,
            Err(FetchError::Permanent { reason, why }) => self.give_up(&fetch, reason, &why).await,
        };
        if let Err(error) = settled {
            // The fetch stays claimed until the store recovers. The health of the store is reported
            // elsewhere, so this is not a warning.
            tracing::debug!(
                openid.hash = %fetch.openid.log_hash(),
                %error,
                "cannot record the outcome of a media fetch; it is fetched again when the store recovers"
            );
            self.release(&fetch.name).await;
        }
        fail_point!("media.settled");
        for name in std::iter::once(&fetch.name).chain(&fetch.request.mp3) {
            self.media.fetch_events.notify_settled(name);
        }
    }

    async fn store_file(&self, fetch: &MediaFetch, stored: StoredFile) -> Result<(), StoreError> {
        let copy = match (&fetch.request.mp3, &self.media.ffmpeg) {
            (Some(_), Some(ffmpeg)) => {
                match ffmpeg.to_mp3(&self.media.files, &stored, self.max_bytes).await {
                    Ok(copy) => Some(copy),
                    Err(why) => {
                        tracing::info!(
                            openid.hash = %fetch.openid.log_hash(),
                            %why,
                            "could not convert a recording to MP3; the original is served instead"
                        );
                        None
                    }
                }
            }
            _ => None,
        };
        let file = |stored: &StoredFile| MediumFile { hash: stored.hash.clone(), size: stored.size };
        let mut files = vec![(fetch.name.clone(), file(&stored))];
        // Without a copy the original is served in its place.
        files.extend(fetch.request.mp3.clone().map(|name| (name, file(copy.as_ref().unwrap_or(&stored)))));
        let (name, openid) = (fetch.name.clone(), fetch.openid.clone());
        let detail = format!("{} of {} bytes", stored.kind.mime(), stored.size);
        let scope = Scope::customer(&fetch.openid).in_background();
        let was_pending = self.store.write_for(scope, move |tx| {
            for (name, file) in &files {
                tx.set_medium_file(name, file)?;
            }
            let was_pending = tx.finish_fetch(&name)?;
            tx.record_step(&openid, None, "media fetched", &detail, None)?;
            Ok(was_pending)
        });
        let was_pending = was_pending.await?;
        let size = stored.size;
        // From here on a row references the file, or the sweeper removes it.
        drop((stored, copy));
        if !was_pending {
            self.media.sweeper.wake();
        }
        self.metrics.customer_media(if was_pending { "fetched" } else { "unwanted" });
        self.metrics.media_bytes("fetched", size);
        Ok(())
    }

    async fn reschedule(&self, fetch: &MediaFetch, why: &str) -> Result<(), StoreError> {
        let factor = if fetch.attempts < SLOW_AFTER_ATTEMPTS { 1 } else { 5 };
        let pause_ms = delay_ms(fetch.attempts, rand::rng().random()) * factor;
        let (name, openid, detail) = (fetch.name.clone(), fetch.openid.clone(), why.to_owned());
        tracing::debug!(
            openid.hash = %fetch.openid.log_hash(),
            attempt = fetch.attempts,
            pause_ms,
            why,
            "could not fetch a customer's media file; it will be retried"
        );
        let scope = Scope::customer(&fetch.openid).in_background();
        self.store
            .write_for(scope, move |tx| {
                tx.record_step(&openid, None, "media not fetched yet", &detail, None)?;
                tx.reschedule_fetch(&name, tx.now().plus(pause_ms))
            })
            .await?;
        self.metrics.customer_media("retry");
        Ok(())
    }

    async fn give_up(
        &self,
        fetch: &MediaFetch,
        reason: MediaUnavailable,
        why: &str,
    ) -> Result<(), StoreError> {
        let (bridge, random, owned_fetch) = (self.bridge.clone(), rand::rng().random(), fetch.clone());
        let detail = why.to_owned();
        let scope = Scope::customer(&fetch.openid).in_background();
        let given_up = self.store.write_for(scope, move |tx| {
            if !tx.finish_fetch(&owned_fetch.name)? {
                return Ok(None);
            }
            tx.record_step(&owned_fetch.openid, None, "media given up", &detail, None)?;
            bridge.notify_media_unavailable(tx, &owned_fetch, reason, random).map(Some)
        });
        match given_up.await? {
            Some(has_notice) => {
                tracing::info!(
                    openid.hash = %fetch.openid.log_hash(),
                    why,
                    "giving up on a customer's media file; the agent will not see it"
                );
                self.metrics.customer_media("failed");
                if has_notice {
                    self.work_signal
                        .notify(Lane { direction: Direction::ToIm, customer: fetch.openid.clone() });
                }
            }
            None => self.metrics.customer_media("unwanted"),
        }
        Ok(())
    }

    /// Releases a claimed fetch. Tries until the store accepts it; otherwise the fetch would wait
    /// for the next start.
    async fn release(&self, name: &MediaName) {
        loop {
            tokio::time::sleep(TICK).await;
            let name = name.clone();
            if self.store.write(move |tx| tx.reschedule_fetch(&name, Millis(0))).await.is_ok() {
                return;
            }
        }
    }
}
