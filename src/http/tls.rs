//! HTTPS on the public listener: a TLS acceptor whose certificate is read anew when its files change.
//!
//! A pair of files that cannot be used never replaces one that can. No error contains key material.

mod files;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::clock::calendar::rfc3339;
use crate::config::Tls;
use crate::metrics::Metrics;
use crate::model::Millis;
use files::{Pair, Stamp};

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long before its end a certificate counts as a problem, in milliseconds: 14 days.
const WARNING_MS: i64 = 14 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Why the public listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("server.{key}: cannot read {path}: {source}; name a PEM file that this user may read")]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file does not contain the expected object.
    #[error("server.{key}: {path} holds no {what} in PEM form; {fix}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The expected object.
        what: &'static str,
        /// What the operator should do.
        fix: &'static str,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("server.tls_cert, server.tls_key: {0}; give the certificate's own key, and the chain leaf first")]
    Unfit(tokio_rustls::rustls::Error),
}

/// What is wrong with the certificate, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// Since when.
    pub since: Millis,
    /// What it is.
    pub why: String,
}

/// The certificate of the public listener. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    tls: Tls,
    pair: Pair,
    /// The files that were read last.
    stamp: Stamp,
    /// Files that cannot be used, seen once. A renewal writes one file after the other, so that they are
    /// judged when they have not changed until the next look.
    suspect: Option<Stamp>,
    /// Why the files as they are now cannot be used, and since when.
    broken: Option<CertificateProblem>,
}

impl State {
    fn read(tls: &Tls) -> Result<Self, TlsError> {
        let stamp = Stamp::of(tls);
        Ok(Self { tls: tls.clone(), pair: Pair::read(tls)?, stamp, suspect: None, broken: None })
    }
}

impl Certificates {
    /// Reads both files. Blocks. Fails if they cannot be used.
    pub fn open(tls: &Tls, clock: Clock) -> Result<Self, TlsError> {
        let state = RwLock::new(State::read(tls)?);
        Ok(Self(Arc::new(Inner { clock, state })))
    }

    /// Whether these are the files.
    pub fn are(&self, tls: &Tls) -> bool {
        self.0.state.read().tls == *tls
    }

    /// Uses other files from now on. Blocks. Fails if they cannot be used; those before them then stay in use.
    pub fn replace(&self, tls: &Tls) -> Result<(), TlsError> {
        let state = State::read(tls)?;
        *self.0.state.write() = state;
        Ok(())
    }

    /// An acceptor that always uses the newest certificate.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unfit)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again whenever they change, and at SIGHUP, until `stop`.
    pub async fn watch(self, metrics: Metrics, stop: CancellationToken) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned: Option<Millis> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(()) = async { hangup.as_mut()?.recv().await } => {}
                () = stop.cancelled() => return,
            }
            let certificates = self.clone();
            // Files on a slow disk must not block the runtime.
            let _ = tokio::task::spawn_blocking(move || certificates.refresh()).await;
            metrics.set_certificate_end(self.end().map_or(0, Millis::seconds));
            let now = self.0.clock.now();
            if self.is_ending() && warned.is_none_or(|warned| now.since(warned) >= DAY_MS) {
                tracing::warn!(
                    "the TLS certificate {}; renew the files server.tls_cert and server.tls_key",
                    self.ends_when()
                );
                warned = Some(now);
            }
        }
    }

    /// What is wrong: the changed files cannot be used, or the certificate ends within 14 days.
    pub fn problem(&self) -> Option<CertificateProblem> {
        if let Some(broken) = &self.0.state.read().broken {
            return Some(broken.clone());
        }
        let since = self.end().filter(|_| self.is_ending())?.plus(-WARNING_MS);
        Some(CertificateProblem { since, why: format!("the certificate {}", self.ends_when()) })
    }

    /// Why callers refuse the certificate at this time: it has ended, or does not hold yet.
    pub fn untimely(&self) -> Option<String> {
        let begin = self.0.state.read().pair.not_before;
        if let Some(begin) = begin.filter(|begin| begin.since(self.0.clock.now()) > 0) {
            return Some(format!("does not hold before {}", rfc3339(begin.seconds())));
        }
        let end = self.end().filter(|end| end.since(self.0.clock.now()) < 0)?;
        Some(format!("has ended at {}", rfc3339(end.seconds())))
    }

    /// The names for which the certificate is, if `host` is none of them.
    pub fn other_names(&self, host: &str) -> Option<Vec<String>> {
        self.0.state.read().pair.other_names(host)
    }

    /// Reads the files if they have changed. Blocks.
    fn refresh(&self) {
        let tls = self.0.state.read().tls.clone();
        let stamp = Stamp::of(&tls);
        if stamp == self.0.state.read().stamp {
            return;
        }
        let read = Pair::read(&tls);
        let mut state = self.0.state.write();
        if state.tls != tls {
            return;
        }
        let is_suspect = state.suspect.replace(stamp) == Some(stamp);
        match read {
            Ok(pair) => {
                tracing::info!("read the changed TLS certificate; new connections use it");
                (state.pair, state.stamp, state.broken) = (pair, stamp, None);
            }
            Err(_) if !is_suspect => {}
            Err(error) => {
                state.stamp = stamp;
                tracing::error!(%error, "cannot use the changed TLS certificate; the one before it stays in use");
                let since = state.broken.as_ref().map_or(self.0.clock.now(), |broken| broken.since);
                state.broken = Some(CertificateProblem { since, why: error.to_string() });
            }
        }
    }

    fn end(&self) -> Option<Millis> {
        self.0.state.read().pair.not_after
    }

    fn is_ending(&self) -> bool {
        self.end().is_some_and(|end| end.since(self.0.clock.now()) < WARNING_MS)
    }

    fn ends_when(&self) -> String {
        let left_ms = self.end().map_or(0, |end| end.since(self.0.clock.now()));
        match left_ms / DAY_MS {
            _ if left_ms < 0 => "has ended".to_owned(),
            0 => "ends today".to_owned(),
            days => format!("ends in {days} days"),
        }
    }
}

#[derive(Debug)]
struct Resolver(Certificates);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.0.state.read().pair.key))
    }
}

#[cfg(test)]
mod tests;
