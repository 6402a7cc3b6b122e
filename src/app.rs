//! The composition root: builds store, clients, bridge, outbox and routers from a checked
//! configuration, starts them, and stops them in order. It is the only module that knows every
//! part, and it makes no decisions of its own.

mod component_status;
mod media_fetching;
mod verifiers;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinHandle;

use crate::bridge::{self, Bridge, WorkSignal, quota};
use crate::clock::{Clock, millis};
use crate::config::{self, Config, ReplyMode};
use crate::http::{Limits, ops, public, receipt, serve, tls};
use crate::im::send as im;
use crate::lifecycle::{Lifecycle, Outcome, Signals};
use crate::media::Media;
use crate::media::download::{Downloader, Rules, Timeouts};
use crate::metrics::Metrics;
use crate::outbox::{Outbox, OutboxParts, retention};
use crate::store::{Closing, Store, StoreLocation};
use crate::upstream::{Health, RateLimiter};
use crate::wechat::send as wechat;
use verifiers::{callback_verifier, secret, verifier};

/// The maximum number of outbound calls in flight in each direction.
const IN_FLIGHT: usize = 128;
/// The maximum number of `custom/send` calls a second. WeChat documents no limit; this one smooths
/// bursts.
const CUSTOM_SEND_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not zero");

/// The maximum number of uploads to WeChat a second, for the same reason.
const UPLOADS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");

/// How long the store may take to open before a warning is logged. Repeated after the same time.
const OPEN_WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// How long an operator's request may still run after all other work has ended.
const OPS_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A running bridge.
#[derive(Debug)]
pub struct Running {
    /// The address of the listener for pushes and callbacks.
    pub public: SocketAddr,
    /// The address of the operations listener; `None` if it is off.
    pub ops: Option<SocketAddr>,
    /// The life of the bridge, through which it can be stopped.
    pub lifecycle: Lifecycle,
    operations: Option<Operations>,
    closing: Closing,
    grace: Duration,
}

/// The operations listener. It keeps running while other work finishes, so that `/readyz` can
/// report it.
#[derive(Debug)]
struct Operations {
    stop: serve::Stop,
    server: JoinHandle<()>,
}

/// Starts a bridge. Logs that it listens only after all files are valid, the ports are bound and
/// the store is open. Fails if one of these steps fails.
pub async fn start(config: Config, warnings: Vec<String>, clock: Clock) -> anyhow::Result<Running> {
    let tls = match config.server.tls.clone() {
        Some(files) => Some(tokio::task::spawn_blocking(move || tls::acceptor(&files)).await??),
        None => None,
    };
    let listener = serve::bind("server.listen", config.server.listen).await?;
    let ops_listener = match config.server.ops_listen {
        Some(address) => Some(serve::bind("server.ops_listen", address).await?),
        None => None,
    };
    let public = listener.local_addr()?;
    let ops = ops_listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;

    let metrics = Metrics::default();
    let (store, closing) = open_store(&config.store, clock.clone(), metrics.clone()).await?;
    let (dir, keep) = (&config.media.dir, config.media.keep);
    let media = Media::open(&store, dir, config.server.public_url.clone(), keep, clock.clone()).await?;
    let work_signal = WorkSignal::default();
    let bridge = Bridge::new(bridge::Parts {
        settings: bridge_settings(&config),
        store: store.clone(),
        media: media.clone(),
        work_signal: work_signal.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let bridge = bridge.await?;

    let lifecycle = Lifecycle::default();
    let to_im = Arc::new(im_courier(&config, &bridge, &clock, &metrics)?);
    // Log this before any task starts that may log something itself.
    tracing::info!(
        %public,
        ops = ops.map(|ops| ops.to_string()).unwrap_or_default(),
        "listening on {public}{}",
        ops.map(|ops| format!(", operations on {ops}")).unwrap_or_default()
    );
    let (to_wechat, client) = wechat_courier(&config, &store, &media, &clock, &metrics, &lifecycle)?;
    let outbox = Outbox::new(
        OutboxParts {
            store: store.clone(),
            bridge: bridge.clone(),
            to_im: Arc::clone(&to_im) as Arc<_>,
            to_wechat: Arc::new(to_wechat),
            work_signal: work_signal.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            in_flight: IN_FLIGHT,
        },
        lifecycle.soft().clone(),
    );
    lifecycle.spawn("outbox", outbox.run());
    media_fetching::start(&config, &bridge, client.clone(), &work_signal, &clock, &metrics, &lifecycle)?;
    start_typing(client.clone(), &bridge, &metrics, &lifecycle);
    let retention =
        retention::run(store.clone(), bridge.clone(), work_signal, metrics.clone(), lifecycle.soft().clone());
    lifecycle.spawn("retention", retention);
    let backfill = im::BackfillWorker::new(to_im.clone(), store.clone(), bridge.clone(), clock.clone());
    lifecycle.spawn("backfill", backfill.run(lifecycle.soft().clone()));
    let (receipt_sender, receipts) = receipt::channel();
    lifecycle.spawn("receipts", receipt::report_outcomes(receipts, bridge.clone()));

    let stop = serve::Stop { soft: lifecycle.soft().clone(), hard: lifecycle.hard().clone() };
    let operations = ops_listener.map(|ops_listener| {
        Operations::begin(
            ops_listener,
            ops::Ops {
                store,
                metrics: metrics.clone(),
                clock: clock.clone(),
                readiness: lifecycle.readiness().clone(),
                im: component_status::im(&to_im, bridge.clone()),
                wechat: component_status::wechat(client, bridge.clone()),
                media: component_status::media(media.clone()),
            },
            &lifecycle,
        )
    });
    let limits = Limits {
        body_bytes: config.server.body_limit,
        connections: connection_limit(Limits::default().connections),
        ..Limits::default()
    };
    let router = public::router(public::Public {
        verifier: verifier(&config),
        callback_verifier: callback_verifier(&config, &clock),
        bridge,
        clock,
        metrics,
        limits,
        outcomes: receipt_sender,
        base_path: config.server.public_url.as_ref().map_or_else(String::new, |url| url.path().to_owned()),
        tasks: lifecycle.tasks().clone(),
    });
    lifecycle.spawn("public", serve::serve(listener, tls, router, limits, stop));
    component_status::log_missing_programs(&media);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    lifecycle.readiness().set_ready();
    let grace = config.server.shutdown_grace;
    Ok(Running { public, ops, lifecycle, operations, closing, grace })
}

impl Running {
    /// Waits for a signal or a failed task, then stops the bridge.
    pub async fn until_stopped(self, signals: Signals) -> anyhow::Result<()> {
        self.lifecycle.wait_for_signal(signals).await;
        self.stop().await
    }

    /// Stops the bridge: takes no new requests, finishes running work within the grace period, and
    /// closes the store. Fails if a task ended unexpectedly.
    pub async fn stop(self) -> anyhow::Result<()> {
        let outcome = self.lifecycle.drain(self.grace).await;
        if let Some(operations) = self.operations {
            operations.end().await;
        }
        tokio::task::spawn_blocking(|| self.closing.close()).await.context("closing the store")?;
        match outcome {
            Outcome::Failed { task, .. } => bail!("the task {task} ended unexpectedly; the log says why"),
            Outcome::Finished | Outcome::Aborted => Ok(()),
        }
    }
}

impl Operations {
    fn begin(listener: tokio::net::TcpListener, ops: ops::Ops, lifecycle: &Lifecycle) -> Self {
        let stop = serve::Stop { hard: lifecycle.hard().child_token(), ..serve::Stop::default() };
        let server = serve::serve(listener, None, ops::router(ops), Limits::default(), stop.clone());
        Self { stop, server: tokio::spawn(server) }
    }

    async fn end(mut self) {
        self.stop.soft.cancel();
        if tokio::time::timeout(OPS_STOP_TIMEOUT, &mut self.server).await.is_err() {
            self.stop.hard.cancel();
            let _ = self.server.await;
        }
    }
}

async fn open_store(
    url: &config::StoreUrl,
    clock: Clock,
    metrics: Metrics,
) -> anyhow::Result<(Store, Closing)> {
    let location = match url {
        config::StoreUrl::SqliteFile(path) => StoreLocation::File(path.clone()),
        config::StoreUrl::SqliteMemory => StoreLocation::Memory,
        config::StoreUrl::Postgres => bail!("store.url: this version does not support PostgreSQL"),
    };
    let mut opening = tokio::task::spawn_blocking(move || Store::open(&location, clock, metrics));
    loop {
        if let Ok(opened) = tokio::time::timeout(OPEN_WARNING_INTERVAL, &mut opening).await {
            return Ok(opened??);
        }
        tracing::warn!("still opening the store: its disk is slow, or a migration is running");
    }
}

/// The requested number of connections, or fewer if the process may not open enough files for them,
/// its own calls and the store.
fn connection_limit(requested: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let allowed = open_files.and_then(|limits| limits.split_whitespace().next()?.parse::<usize>().ok());
    allowed.map_or(requested, |allowed| requested.min((allowed / 2).max(64)))
}

fn bridge_settings(config: &Config) -> bridge::Settings {
    bridge::Settings {
        agents: config.im.agents.clone(),
        texts: config.texts.clone(),
        acknowledge: config.wechat.acknowledge,
        session_idle_ms: millis(config.wechat.session_idle),
        limits: quota::Limits {
            messages: config.wechat.message_quota.sends,
            message_window_ms: millis(config.wechat.message_quota.window),
            event_messages: config.wechat.event_quota.sends,
            event_window_ms: millis(config.wechat.event_quota.window),
        },
        reply: config.wechat.reply,
        on_unsubscribe: config.im.on_unsubscribe,
        may_fetch: config.wechat.app_id.is_some() && config.wechat.app_secret.is_some(),
    }
}

fn im_courier(
    config: &Config,
    bridge: &Bridge,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<im::ImCourier> {
    let signer = im::usersig::Signer::new(
        config.im.sdk_app_id.get(),
        secret(&config.im.secret_key),
        config.im.admin.clone(),
        config.im.usersig_expire.as_secs(),
        clock.clone(),
    );
    let client = im::Client::new(
        im::http_client().context("the HTTP client for IM")?,
        config.im.api_base.url().clone(),
        signer,
        im::CALL_TIMEOUT,
    )?;
    Ok(im::ImCourier {
        client: Arc::new(client),
        accounts: bridge.accounts().clone(),
        media_inspector: im::MediaInspector::new(bridge.media().clone(), bridge.store().clone()),
        rate_limiter: Arc::new(RateLimiter::new(config.im.rate_per_second)),
        clock: clock.clone(),
        metrics: metrics.clone(),
        health: Health::default(),
        unknown_agents: im::UnknownAgents::default(),
        message_lifetime_s: config.im.message_lifetime.as_secs(),
    })
}

type WechatClient = Option<Arc<wechat::Client>>;

fn wechat_courier(
    config: &Config,
    store: &Store,
    media: &Media,
    clock: &Clock,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(wechat::WechatCourier, WechatClient)> {
    let client = match (&config.wechat.app_id, &config.wechat.app_secret) {
        (Some(app_id), Some(app_secret)) => {
            let base = config.wechat.api_base.url().clone();
            let http = wechat::http_client().context("the HTTP client for WeChat")?;
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
            let client = wechat::Client::new(http, base, tokens, clock.clone());
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
        media_uploader: attachments(config, store, media, metrics)?,
        rate_limiter: Arc::new(RateLimiter::new(CUSTOM_SEND_PER_SECOND)),
        metrics: metrics.clone(),
        not_allowed,
    };
    Ok((courier, client))
}

/// Starts the task that sends typing signals, where the account can call WeChat at all.
fn start_typing(client: WechatClient, bridge: &Bridge, metrics: &Metrics, lifecycle: &Lifecycle) {
    if let Some(client) = client {
        let stop = lifecycle.soft().clone();
        lifecycle.spawn("typing", wechat::typing::run(client, bridge.clone(), metrics.clone(), stop));
    }
}

fn media_rules(config: &Config) -> Rules {
    Rules {
        allow_hosts: config.media.allow_hosts.clone(),
        allow_http: config.media.allow_http,
        allow_private: config.media.allow_private,
    }
}

fn attachments(
    config: &Config,
    store: &Store,
    media: &Media,
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
    let rate_limiter = Arc::new(RateLimiter::new(UPLOADS_PER_SECOND));
    Ok(wechat::MediaUploader { source, rate_limiter, upload_locks: wechat::UploadLocks::default() })
}
