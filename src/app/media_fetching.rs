//! Starts the tasks that download customers' media in the background.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Context as _;

use super::couriers::WechatClient;
use super::settings::media_rules;
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::media::download::{Downloader, Timeouts};
use crate::metrics::Metrics;
use crate::outbox::Panics;
use crate::outbox::fetch::Fetcher;
use crate::upstream::RateLimiter;
use crate::wechat::send as wechat;

/// The maximum number of `media/get` calls a second. A burst of pictures is downloaded over some
/// seconds.
const MEDIA_GET_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not zero");

/// Starts the fetcher, and the sweeper that deletes old files.
pub(super) fn start(
    config: &Config,
    bridge: &Bridge,
    client: WechatClient,
    clock: &Clock,
    metrics: &Metrics,
    panics: &Panics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let provider = wechat::MediaDownloader {
        client,
        downloader: Downloader::new(media_rules(config), Timeouts::default())
            .context("the HTTP client for media")?,
        rate_limiter: Arc::new(RateLimiter::shared(
            MEDIA_GET_PER_SECOND,
            bridge.work_signal().fleet().share(),
        )),
        metrics: metrics.clone(),
        timeouts: wechat::Timeouts::default(),
    };
    let fetcher = Fetcher {
        store: bridge.store().clone(),
        bridge: bridge.clone(),
        media: bridge.media().clone(),
        provider: Arc::new(provider),
        work_signal: bridge.work_signal().clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        panics: panics.clone(),
        panic_counts: Arc::default(),
        max_bytes: config.media.max_bytes,
    };
    let sweeper = bridge.media().sweeper.clone();
    lifecycle.spawn("media sweeper", sweeper.run(lifecycle.soft().clone()));
    lifecycle.spawn("media fetcher", fetcher.run(lifecycle.soft().clone()));
    Ok(())
}
