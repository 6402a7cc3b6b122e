//! The two listeners: how many connections each may have open, the certificate of the public one, and
//! how the one for operators starts and stops.

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Tls;
use crate::http::connections::{ConnectionLimits, Connections};
use crate::http::peer::TrustedProxies;
use crate::http::tls::Certificates;
use crate::http::{Limits, ops, serve};
use crate::lifecycle::{Lifecycle, open_files};
use crate::metrics::Metrics;

/// How long an operator's request may still run after all other work has ended.
const OPS_STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The most connections of the public listener.
const CONNECTIONS: usize = 4096;
/// The most connections of the operations listener.
const OPS_CONNECTIONS: usize = 64;
/// Files that are left for everything else: the store, files being served, and outbound calls.
const OTHER_FILES: usize = 1024;

/// How many connections each listener may have open, so that files are left for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    public: usize,
    ops: usize,
}

impl Shares {
    fn of(open_files: usize) -> Self {
        let others = (open_files / 2).min(OTHER_FILES);
        let ops = (open_files / 16).clamp(1, OPS_CONNECTIONS);
        let public = open_files.saturating_sub(others + ops).clamp(1, CONNECTIONS);
        Self { public, ops }
    }
}

/// The connections of both listeners.
#[derive(Clone, Debug)]
pub(super) struct Both {
    pub public: Connections,
    pub ops: Connections,
}

impl Both {
    /// Divides the files that the process may open, and logs if they are few.
    pub(super) fn new(proxies: TrustedProxies, clock: &Clock, metrics: &Metrics) -> Self {
        let open_files = open_files::limit();
        let shares = Shares::of(open_files);
        if shares.public < CONNECTIONS {
            tracing::warn!(
                open_files,
                connections = shares.public,
                "the limit of open files allows only {} connections; raise it (ulimit -n, LimitNOFILE=) to {}",
                shares.public,
                CONNECTIONS + OPS_CONNECTIONS + OTHER_FILES
            );
        }
        let listener =
            |name, limits, proxies| Connections::new(name, limits, proxies, clock.clone(), metrics.clone());
        // Operators' programs may all come from one address.
        let ops = ConnectionLimits { total: shares.ops, per_address: shares.ops };
        Self {
            public: listener("public", ConnectionLimits::shared(shares.public), proxies),
            ops: listener("operations", ops, TrustedProxies::default()),
        }
    }
}

/// Reads the certificate, if HTTPS is configured.
pub(super) async fn certificates(tls: Option<Tls>, clock: Clock) -> anyhow::Result<Option<Certificates>> {
    let Some(tls) = tls else { return Ok(None) };
    let opening = tokio::task::spawn_blocking(move || Certificates::open(&tls, clock));
    Ok(Some(opening.await.context("reading the certificate")??))
}

/// The operations listener. It keeps running while other work finishes, so that `/readyz` can
/// report it.
#[derive(Debug)]
pub(super) struct Operations {
    stop: serve::Stop,
    server: JoinHandle<()>,
}

impl Operations {
    pub(super) fn begin(
        listener: TcpListener,
        ops: ops::Ops,
        connections: Connections,
        lifecycle: &Lifecycle,
    ) -> Self {
        let stop = serve::Stop { hard: lifecycle.hard().child_token(), ..serve::Stop::default() };
        let server =
            serve::serve(listener, None, ops::router(ops), Limits::default(), connections, stop.clone());
        Self { stop, server: tokio::spawn(server) }
    }

    pub(super) async fn end(mut self) {
        self.stop.soft.cancel();
        if tokio::time::timeout(OPS_STOP_TIMEOUT, &mut self.server).await.is_err() {
            self.stop.hard.cancel();
            let _ = self.server.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_few_files_and_a_thousand_of_many_are_left_for_other_work() {
        for (open_files, public, ops) in [
            (1024, 448, 64),
            (5184, 4096, 64),
            (5183, 4095, 64),
            (1_048_576, 4096, 64),
            (256, 112, 16),
            (2, 1, 1),
        ] {
            assert_eq!(Shares::of(open_files), Shares { public, ops }, "{open_files}");
        }
    }
}
