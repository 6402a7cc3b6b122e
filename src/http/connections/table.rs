//! The bookkeeping of open connections, without I/O: counts, shares, and the order in which waiting
//! connections are closed.

use std::collections::{BTreeMap, HashMap};

use tokio_util::sync::CancellationToken;

use super::ConnectionLimits;
use crate::http::peer::ClientAddress;
use crate::model::Millis;

/// Identifies one connection of a table.
pub(super) type ConnectionId = u64;
/// The order in which connections began to wait: the smallest waits longest.
type Order = u64;

/// Whether a connection may be opened.
#[derive(Debug)]
pub(super) enum Admission {
    /// Yes. The token is cancelled when it is to be closed to make room.
    Admitted(ConnectionId, CancellationToken),
    /// No: all connections of its address process requests.
    Refused,
    /// Not yet: every permit is used, or still being freed.
    Full,
}

#[derive(Debug)]
struct Entry {
    address: Option<ClientAddress>,
    /// Set while it has no complete head of a request.
    waiting: Option<Order>,
    close: CancellationToken,
}

/// The use that one address makes of the listener.
#[derive(Debug, Default)]
struct Usage {
    /// Connections that are not about to be closed, and requests behind a trusted proxy.
    used: usize,
    waiting: BTreeMap<Order, ConnectionId>,
}

#[derive(Debug)]
pub(super) struct Table {
    limits: ConnectionLimits,
    next: u64,
    entries: HashMap<ConnectionId, Entry>,
    waiting: BTreeMap<Order, ConnectionId>,
    addresses: HashMap<ClientAddress, Usage>,
    /// How many addresses have this use, so that the largest is known at once.
    by_use: BTreeMap<usize, usize>,
    /// The number of connections that were told to close but are not closed yet.
    closing: usize,
    crowded_since: Option<Millis>,
}

impl Table {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            next: 0,
            entries: HashMap::new(),
            waiting: BTreeMap::new(),
            addresses: HashMap::new(),
            by_use: BTreeMap::new(),
            closing: 0,
            crowded_since: None,
        }
    }

    /// Admits a connection if there is room, and returns whether another one was told to close.
    /// `address` is `None` for a trusted proxy, which has no share of its own.
    pub(super) fn admit(&mut self, address: Option<ClientAddress>, now: Millis) -> (Admission, bool) {
        let mut closed = false;
        if let Some(address) = address
            && self.used_by(address) >= self.limits.per_address
        {
            let oldest =
                self.addresses.get(&address).and_then(|usage| usage.waiting.values().next().copied());
            let Some(oldest) = oldest else { return (Admission::Refused, false) };
            self.close(oldest);
            closed = true;
        }
        if self.entries.len() >= self.limits.total {
            if self.closing == 0
                && let Some(oldest) = self.waiting.values().next().copied()
            {
                self.close(oldest);
                closed = true;
            }
            return (Admission::Full, closed);
        }
        let (id, close) = (self.next_number(), CancellationToken::new());
        self.entries.insert(id, Entry { address, waiting: None, close: close.clone() });
        self.change_use(address, 1);
        self.wait(id);
        // More than 80 %.
        if self.crowded_since.is_none() && self.entries.len() * 5 > self.limits.total * 4 {
            self.crowded_since = Some(now);
        }
        (Admission::Admitted(id, close), closed)
    }

    /// Forgets a closed connection.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.stop_waiting(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        if entry.close.is_cancelled() {
            self.closing -= 1;
        } else {
            self.change_use(entry.address, -1);
        }
        // Less than 70 %, so that the status does not flap.
        if self.entries.len() * 10 < self.limits.total * 7 || self.entries.is_empty() {
            self.crowded_since = None;
        }
    }

    /// A head is complete: the connection is not closed from now on. False if it was told to close
    /// before.
    pub(super) fn begin_request(&mut self, id: ConnectionId) -> bool {
        self.stop_waiting(id);
        self.entries.get(&id).is_some_and(|entry| !entry.close.is_cancelled())
    }

    /// The connection waits for a request, as the youngest.
    pub(super) fn wait(&mut self, id: ConnectionId) {
        let order = self.next_number();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.waiting = Some(order);
        self.waiting.insert(order, id);
        if let Some(usage) = entry.address.and_then(|address| self.addresses.get_mut(&address)) {
            usage.waiting.insert(order, id);
        }
    }

    /// Counts a request of a client behind a trusted proxy. False if the client has used up its share.
    pub(super) fn begin_forwarded(&mut self, client: ClientAddress) -> bool {
        let is_allowed = self.used_by(client) < self.limits.per_address;
        if is_allowed {
            self.change_use(Some(client), 1);
        }
        is_allowed
    }

    /// Ends a request that [`Self::begin_forwarded`] allowed.
    pub(super) fn end_forwarded(&mut self, client: ClientAddress) {
        self.change_use(Some(client), -1);
    }

    pub(super) fn open(&self) -> usize {
        self.entries.len()
    }

    /// The open connections, and the largest use of one address.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.entries.len(), self.by_use.keys().next_back().copied().unwrap_or(0))
    }

    /// The address with the largest use. Looks at all addresses.
    pub(super) fn busiest(&self) -> Option<(ClientAddress, usize)> {
        self.addresses.iter().map(|(address, usage)| (*address, usage.used)).max_by_key(|(_, used)| *used)
    }

    pub(super) fn crowded_since(&self) -> Option<Millis> {
        self.crowded_since
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn used_by(&self, address: ClientAddress) -> usize {
        self.addresses.get(&address).map_or(0, |usage| usage.used)
    }

    fn close(&mut self, id: ConnectionId) {
        self.stop_waiting(id);
        let Some(entry) = self.entries.get(&id) else { return };
        entry.close.cancel();
        let address = entry.address;
        self.closing += 1;
        self.change_use(address, -1);
    }

    fn stop_waiting(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(order) = entry.waiting.take() else { return };
        self.waiting.remove(&order);
        if let Some(usage) = entry.address.and_then(|address| self.addresses.get_mut(&address)) {
            usage.waiting.remove(&order);
        }
    }

    fn change_use(&mut self, address: Option<ClientAddress>, by: isize) {
        let Some(address) = address else { return };
        let usage = self.addresses.entry(address).or_default();
        let (before, after) = (usage.used, usage.used.saturating_add_signed(by));
        usage.used = after;
        if after == 0 {
            self.addresses.remove(&address);
        }
        if let Some(count) = self.by_use.get_mut(&before) {
            *count -= 1;
            if *count == 0 {
                self.by_use.remove(&before);
            }
        }
        if after > 0 {
            *self.by_use.entry(after).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
impl Table {
    /// Forgets each connection.
    pub(super) fn clear(&mut self) {
        let ids: Vec<ConnectionId> = self.entries.keys().copied().collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.waiting.is_empty()
            && self.addresses.is_empty()
            && self.by_use.is_empty()
            && self.closing == 0
    }
}
