//! The open connections of one listener: who may open one more, and which one is closed to make room.
//!
//! Strangers can open connections faster than they time out. Therefore one address gets a share of the
//! permits, and when no permit is left, the connection that has waited longest for a request is closed.
//! Must never close a connection whose request is being processed or whose response is being written.

mod guard;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) use guard::{OpenConnection, RequestStart, TrackedResponse};

use super::peer::{ClientAddress, TrustedProxies};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::Millis;
use table::{Admission, Table};

/// The pause between two warnings about connections that were closed or refused.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In total.
    pub total: usize,
    /// From one address that is no trusted proxy, and requests at once of one client behind one.
    pub per_address: usize,
}

impl ConnectionLimits {
    /// Allows `total` connections, of which one address may have a quarter.
    pub fn shared(total: usize) -> Self {
        Self { total, per_address: (total / 4).max(1) }
    }
}

/// The open connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listener: &'static str,
    limits: ConnectionLimits,
    proxies: TrustedProxies,
    clock: Clock,
    metrics: Metrics,
    table: Mutex<Table>,
    /// Notified when a connection was closed or waits for a request again.
    changed: Notify,
    pressure: Mutex<Pressure>,
}

/// What has happened since the last warning.
#[derive(Debug, Default)]
struct Pressure {
    warned: Option<Instant>,
    closed: u64,
    refused: u64,
}

impl Connections {
    /// Begins without connections. `listener` is the metric label.
    pub fn new(
        listener: &'static str,
        limits: ConnectionLimits,
        proxies: TrustedProxies,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        metrics.set_connection_limit(listener, limits.total);
        metrics.set_connections(listener, 0, 0);
        Self(Arc::new(Shared {
            listener,
            limits,
            proxies,
            clock,
            metrics,
            table: Mutex::new(Table::new(limits)),
            changed: Notify::new(),
            pressure: Mutex::default(),
        }))
    }

    /// Registers a connection from `peer`, and closes another one if that is necessary. Waits while every
    /// connection processes a request. `None` if the address has used up its share with requests that
    /// are being processed. Only one task may call this at a time.
    pub(super) async fn admit(&self, peer: IpAddr) -> Option<Arc<OpenConnection>> {
        let is_proxy = self.0.proxies.contains(peer);
        let address = (!is_proxy).then(|| ClientAddress::of(peer));
        loop {
            let (admission, closed) = self.0.table.lock().admit(address, self.0.clock.now());
            if closed {
                self.0.metrics.record_closed_connection(self.0.listener);
                self.0.warn_about_pressure(|pressure| pressure.closed += 1);
            }
            match admission {
                Admission::Admitted(id, close) => {
                    self.0.show();
                    return Some(Arc::new(OpenConnection::new(
                        Arc::clone(&self.0),
                        id,
                        close,
                        peer,
                        is_proxy,
                    )));
                }
                Admission::Refused => {
                    self.0.refuse();
                    return None;
                }
                Admission::Full => self.0.changed.notified().await,
            }
        }
    }

    /// Since when more than 80 % of the permits are used; `None` while they are not.
    pub fn crowded_since(&self) -> Option<Millis> {
        self.0.table.lock().crowded_since()
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.0.table.lock().open()
    }

    /// The limits.
    pub fn limits(&self) -> ConnectionLimits {
        self.0.limits
    }
}

impl Shared {
    fn show(&self) {
        // Under the lock, so that no older figure replaces a newer one.
        let table = self.table.lock();
        let (open, most) = table.usage();
        self.metrics.set_connections(self.listener, open, most);
    }

    fn refuse(&self) {
        self.metrics.record_refused_connection(self.listener);
        self.warn_about_pressure(|pressure| pressure.refused += 1);
    }

    /// Counts what happened, and logs it at most once a minute.
    fn warn_about_pressure(&self, count: impl FnOnce(&mut Pressure)) {
        let (closed, refused) = {
            let mut pressure = self.pressure.lock();
            count(&mut pressure);
            if pressure.warned.is_some_and(|warned| warned.elapsed() < WARNING_INTERVAL) {
                return;
            }
            pressure.warned = Some(Instant::now());
            (std::mem::take(&mut pressure.closed), std::mem::take(&mut pressure.refused))
        };
        let (open, busiest) = {
            let table = self.table.lock();
            (table.open(), table.busiest())
        };
        let (busiest, of_busiest) =
            busiest.map_or((String::new(), 0), |(address, count)| (address.to_string(), count));
        tracing::warn!(
            listener = self.listener,
            closed,
            refused,
            open,
            limit = self.limits.total,
            busiest,
            of_busiest,
            "connections are used up: closed idle ones to make room, or refused new ones; if the busiest \
             address is your proxy, name it in server.trusted_proxies, else block it in the firewall"
        );
    }
}

#[cfg(test)]
mod tests;
