//! The clients of both platforms' APIs, and the couriers that use them.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::settings::{media_rules, secret};
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::config::{Config, ReplyMode};
use crate::fleet::Fleet;
use crate::im::send as im;
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::media::download::{Downloader, Timeouts};
use crate::metrics::Metrics;
use crate::model::OpenId;
use crate::store::Store;
use crate::upstream::{Health, RateLimiter};
use crate::wechat::send as wechat;

/// The maximum number of `custom/send` calls a second. WeChat documents no limit; this one smooths
/// bursts.
const CUSTOM_SEND_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not zero");

/// The maximum number of uploads to WeChat a second, for the same reason.
const UPLOADS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");

/// The courier to IM, and the requests to show customers' profiles, for [`im::show_portraits`].
pub(super) fn im_courier(
    config: &Config,
    bridge: &Bridge,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<im::ImCourier>, mpsc::Receiver<OpenId>)> {
    let signer = im::usersig::Signer::new(
        config.im.sdk_app_id.get(),
        secret(&config.im.secret_key),
        config.im.admin.clone(),
        config.im.usersig_expire.as_secs(),
        clock.clone(),
    );
    let fleet = bridge.work_signal().fleet();
    let client = im::Client::new(
        im::http_client(fleet.is_alone()).context("the HTTP client for IM")?,
        config.im.api_base.url().clone(),
        signer,
        im::CALL_TIMEOUT,
    )?
    .with_lease(fleet.lease());
    let (portraits, portrait_requests) = im::Portraits::new();
    let courier = im::ImCourier {
        bridge: bridge.clone(),
        client: Arc::new(client),
        accounts: bridge.accounts().clone(),
        media_inspector: im::MediaInspector::new(bridge.media().clone(), bridge.store().clone()),
        rate_limiter: Arc::new(RateLimiter::shared(config.im.rate_per_second, fleet.share())),
        clock: clock.clone(),
        metrics: metrics.clone(),
        health: Health::default(),
        unknown_agents: im::UnknownAgents::default(),
        portraits,
        searches: im::Searches::default(),
        message_lifetime_s: config.im.message_lifetime.as_secs(),
    };
    Ok((Arc::new(courier), portrait_requests))
}

/// The client of WeChat's API; `None` without AppID and AppSecret.
pub(super) type WechatClient = Option<Arc<wechat::Client>>;

pub(super) fn wechat_courier(
    config: &Config,
    bridge: &Bridge,
    clock: &Clock,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(wechat::WechatCourier, WechatClient)> {
    let (store, media, fleet) = (bridge.store(), bridge.media(), bridge.work_signal().fleet());
    let client = match (&config.wechat.app_id, &config.wechat.app_secret) {
        (Some(app_id), Some(app_secret)) => {
            let base = config.wechat.api_base.url().clone();
            let http = wechat::http_client(fleet.is_alone()).context("the HTTP client for WeChat")?;
            let credentials = wechat::Credentials { app_id: app_id.clone(), secret: secret(app_secret) };
            let tokens = Arc::new(wechat::TokenHolder::new(
                http.clone(),
                base.clone(),
                credentials,
                Arc::new(wechat::DatabaseTokenStore::new(store.clone())),
                clock.clone(),
                wechat::token::Settings::default(),
            ));
            // Without pushes only media need a token. It is then fetched when the first medium
            // arrives.
            if config.wechat.reply != ReplyMode::Passive {
                lifecycle.spawn("access token", Arc::clone(&tokens).renew_loop(lifecycle.soft().clone()));
            }
            let client = wechat::Client::new(http, base, tokens, clock.clone()).with_lease(fleet.lease());
            let must_push = config.wechat.reply == ReplyMode::Push;
            Some(Arc::new(if must_push { client.must_push() } else { client }))
        }
        _ => None,
    };
    let not_allowed = match config.wechat.reply {
        ReplyMode::Push => wechat::NotAllowed::Refuse,
        ReplyMode::Auto | ReplyMode::Passive => wechat::NotAllowed::Hold,
    };
    let courier = wechat::WechatCourier {
        client: client.clone().filter(|_| config.wechat.reply != ReplyMode::Passive),
        media_uploader: attachments(config, store, media, fleet, metrics)?,
        rate_limiter: Arc::new(RateLimiter::shared(CUSTOM_SEND_PER_SECOND, fleet.share())),
        metrics: metrics.clone(),
        not_allowed,
        bridge: bridge.clone(),
        refused_accounts: wechat::RefusedAccounts::default(),
    };
    Ok((courier, client))
}

/// Starts the task that reads what WeChat tells of customers, where the account may push: one that may not has no such
/// API either.
pub(super) fn start_user_info(
    client: WechatClient,
    bridge: &Bridge,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) {
    if let Some(client) = client.filter(|_| bridge.configured_reply_mode() != ReplyMode::Passive) {
        let stop = lifecycle.soft().clone();
        lifecycle.spawn("user info", wechat::user_info::run(client, bridge.clone(), metrics.clone(), stop));
    }
}

/// Starts the task that sends typing signals, where the account can call WeChat at all.
pub(super) fn start_typing(client: WechatClient, bridge: &Bridge, metrics: &Metrics, lifecycle: &Lifecycle) {
    if let Some(client) = client {
        let stop = lifecycle.soft().clone();
        lifecycle.spawn("typing", wechat::typing::run(client, bridge.clone(), metrics.clone(), stop));
    }
}

fn attachments(
    config: &Config,
    store: &Store,
    media: &Media,
    fleet: &Fleet,
    metrics: &Metrics,
) -> anyhow::Result<wechat::MediaUploader> {
    let source = wechat::MediaSource {
        downloader: Downloader::new(media_rules(config), Timeouts::default())
            .context("the HTTP client for media")?,
        media: media.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        max_bytes: config.media.max_bytes,
    };
    let rate_limiter = Arc::new(RateLimiter::shared(UPLOADS_PER_SECOND, fleet.share()));
    Ok(wechat::MediaUploader { source, rate_limiter, upload_locks: wechat::UploadLocks::default() })
}
