//! The composition root: builds store, clients, bridge, outbox and routers from a checked
//! configuration, starts them, and stops them in order. It is the only module that knows every
//! part, and it makes no decisions of its own.

mod clock_watch;
mod component_status;
mod couriers;
mod disk;
mod fleet;
mod listeners;
mod live_settings;
mod media_fetching;
mod private_files;
mod settings;
mod storage;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use component_status::Inbound;
use couriers::im_courier;
pub use live_settings::{LiveSettings, Source};
use settings::{callback_verifier, verifier};
pub(crate) use storage::location as store_location;
use workers::Workers;

use crate::bridge::{self, Bridge, WorkSignal};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::body::BodyBudget;
use crate::http::peer::TrustedProxies;
use crate::http::tls::Certificates;
use crate::http::{Limits, ops, public, receipt, serve};
use crate::lifecycle::{Lifecycle, Outcome, Signals};
use crate::metrics::Metrics;
use crate::outbox::Panics;
use crate::store::Closing;

/// A running bridge.
#[derive(Debug)]
pub struct Running {
    /// The address of the listener for pushes and callbacks.
    pub public: SocketAddr,
    /// The address of the operations listener; `None` if it is off.
    pub ops: Option<SocketAddr>,
    /// The life of the bridge, through which it can be stopped.
    pub lifecycle: Lifecycle,
    /// The settings that may change while it runs.
    pub settings: LiveSettings,
    operations: Option<listeners::Operations>,
    membership: Option<fleet::Joined>,
    closing: Closing,
    grace: Duration,
}

/// Starts a bridge. Logs that it listens only after all files are valid, the ports are bound and
/// the store is open. Fails if one of these steps fails.
pub async fn start(config: Config, warnings: Vec<String>, clock: Clock) -> anyhow::Result<Running> {
    let certificates = listeners::certificates(config.server.tls.clone(), clock.clone()).await?;
    let tls = certificates.as_ref().map(Certificates::acceptor).transpose()?;
    let listener = serve::bind("server.listen", config.server.listen)?;
    let ops_listener = match config.server.ops_listen {
        Some(address) => Some(serve::bind("server.ops_listen", address)?),
        None => None,
    };
    let public = listener.local_addr()?;
    let ops = ops_listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;

    let metrics = Metrics::default();
    let (store, closing) = storage::open_store(&config.store, clock.clone(), metrics.clone()).await?;
    let media = storage::open_media(&config, &store, &clock).await?;
    let settings = LiveSettings::new(&config, warnings.clone(), certificates.clone(), clock.clone());
    let (instances, membership) = fleet::join(&store, &clock, &metrics, settings.digest()).await?;
    let work_signal = WorkSignal::new(instances.clone());
    let bridge = Bridge::new(bridge::Parts {
        settings: settings.bridge(),
        store: store.clone(),
        media: media.clone(),
        work_signal: work_signal.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    });
    let bridge = bridge.await?;

    let lifecycle = Lifecycle::default();
    let membership = membership.map(|member| fleet::start(member, &lifecycle));
    let (to_im, portrait_requests) = im_courier(&config, &bridge, &clock, &metrics)?;
    // Log this before any task starts that may log something itself.
    log_addresses(public, ops);
    let proxies = TrustedProxies::new(&config.server.trusted_proxies);
    let connections = listeners::Both::new(proxies, &clock, &metrics);
    if let Some(certificates) = certificates.clone() {
        lifecycle.spawn("certificates", certificates.watch(metrics.clone(), lifecycle.soft().clone()));
    }
    let panics = Panics::default();
    let workers = Workers {
        config: &config,
        bridge: &bridge,
        work_signal: &work_signal,
        clock: &clock,
        metrics: &metrics,
        lifecycle: &lifecycle,
        panics: &panics,
    };
    let client = workers.start(&to_im, portrait_requests)?;
    let disk = disk::start(&config, &media.files, &clock, &metrics, &lifecycle);
    let (receipt_sender, receipts) = receipt::channel();
    lifecycle.spawn("receipts", receipt::report_outcomes(receipts, bridge.clone()));

    let inbound = Inbound::new(&clock);
    let mut parts = component_status::parts(&to_im, client, &bridge, &inbound, &clock);
    parts.add("settings", settings.status());
    parts.add("lanes", component_status::lanes(panics, clock.clone()));
    parts.add("connections", component_status::connections(connections.public.clone()));
    parts.add("certificates", component_status::certificates(certificates));
    parts.add("fleet", fleet::status(instances, clock.clone()));
    parts.add("disk", Arc::new(move || disk.status()));
    let stop = serve::Stop { soft: lifecycle.soft().clone(), hard: lifecycle.hard().clone() };
    let operations = ops_listener.map(|ops_listener| {
        listeners::Operations::begin(
            ops_listener,
            ops::Ops {
                store,
                metrics: metrics.clone(),
                clock: clock.clone(),
                readiness: lifecycle.readiness().clone(),
                parts,
            },
            connections.ops,
            &lifecycle,
        )
    });
    let limits = Limits { body_bytes: config.server.body_limit, ..Limits::default() };
    let router = public::router(public::Public {
        verifier: verifier(&config, settings.reserved_senders()),
        callback_verifier: callback_verifier(&config, settings.callback_senders(), &clock),
        bridge,
        clock,
        metrics: metrics.clone(),
        url_checks: inbound.url_checks,
        push_health: inbound.pushes,
        callback_health: inbound.callbacks,
        limits,
        body_budget: BodyBudget::new(config.server.body_bytes_in_flight, config.server.body_limit, metrics),
        outcomes: receipt_sender,
        base_path: config.server.public_url.as_ref().map_or_else(String::new, |url| url.path().to_owned()),
        tasks: lifecycle.tasks().clone(),
    });
    lifecycle.spawn("public", serve::serve(listener, tls, router, limits, connections.public, stop));
    component_status::log_missing_programs(&media);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    lifecycle.readiness().set_ready();
    let grace = config.server.shutdown_grace;
    Ok(Running { public, ops, lifecycle, settings, operations, membership, closing, grace })
}

/// Logs where the bridge listens.
fn log_addresses(public: SocketAddr, ops: Option<SocketAddr>) {
    tracing::info!(
        %public,
        ops = ops.map(|ops| ops.to_string()).unwrap_or_default(),
        "listening on {public}{}",
        ops.map(|ops| format!(", operations on {ops}")).unwrap_or_default()
    );
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
        if let Some(membership) = self.membership {
            membership.leave().await;
        }
        tokio::task::spawn_blocking(|| self.closing.close()).await.context("closing the store")?;
        match outcome {
            Outcome::Failed { task, .. } => bail!("the task {task} ended unexpectedly; the log says why"),
            Outcome::Finished | Outcome::Aborted => Ok(()),
        }
    }
}
