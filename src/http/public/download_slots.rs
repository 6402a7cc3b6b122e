//! How many downloads of media may run at once: of one link, from one address, and in total.
//!
//! A link can be passed on to anyone, so neither one link nor one caller may use up all slots.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use super::text;
use crate::http::RETRY_AFTER;
use crate::http::peer::ClientAddress;

/// Of one medium: its client opens a few connections for a video, and several agents may look at once.
const OF_ONE_LINK: usize = 8;
/// From one address: an office of agents, each of whose browsers opens six connections.
const FROM_ONE_ADDRESS: usize = 48;
/// In total: far below the number of connections, because each download also holds an open file.
const IN_TOTAL: usize = 256;

/// What has too many downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The link: 503.
    Link,
    /// The address: 429.
    Address,
    /// All of them together: 503.
    Server,
}

impl Full {
    /// The metric label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Server => "server",
        }
    }
}

impl IntoResponse for Full {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Link | Self::Server => StatusCode::SERVICE_UNAVAILABLE,
            Self::Address => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut response = text(status, "too many downloads at once");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        response
    }
}

/// The running downloads. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct DownloadSlots(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    total: usize,
    links: HashMap<String, usize>,
    addresses: HashMap<ClientAddress, usize>,
}

/// The slot of one download, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct DownloadSlot {
    slots: DownloadSlots,
    link: String,
    client: Option<ClientAddress>,
}

impl DownloadSlots {
    /// Takes a slot for a download of the medium `link`. Without a `client` its address is not limited.
    pub(super) fn begin(&self, link: &str, client: Option<ClientAddress>) -> Result<DownloadSlot, Full> {
        let mut running = self.0.lock();
        if running.total >= IN_TOTAL {
            return Err(Full::Server);
        }
        if client.is_some_and(|client| running.addresses.get(&client).is_some_and(|n| *n >= FROM_ONE_ADDRESS))
        {
            return Err(Full::Address);
        }
        if running.links.get(link).is_some_and(|running| *running >= OF_ONE_LINK) {
            return Err(Full::Link);
        }
        running.total += 1;
        *running.links.entry(link.to_owned()).or_insert(0) += 1;
        if let Some(client) = client {
            *running.addresses.entry(client).or_insert(0) += 1;
        }
        drop(running);
        Ok(DownloadSlot { slots: self.clone(), link: link.to_owned(), client })
    }
}

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        let mut running = self.slots.0.lock();
        running.total -= 1;
        release(&mut running.links, &self.link);
        if let Some(client) = &self.client {
            release(&mut running.addresses, client);
        }
    }
}

fn release<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_an_address_and_the_server_have_so_many_slots_and_get_them_back() {
        let slots = DownloadSlots::default();
        let client = |last: u8| Some(ClientAddress::of([192, 0, 2, last].into()));
        let one_link: Vec<_> = (0..OF_ONE_LINK).map(|_| slots.begin("a", client(1)).unwrap()).collect();
        assert_eq!(slots.begin("a", client(2)).unwrap_err(), Full::Link);
        let rest = FROM_ONE_ADDRESS - OF_ONE_LINK;
        let one_address: Vec<_> =
            (0..rest).map(|n| slots.begin(&n.to_string(), client(1)).unwrap()).collect();
        assert_eq!(slots.begin("b", client(1)).unwrap_err(), Full::Address);
        let rest = IN_TOTAL - FROM_ONE_ADDRESS;
        let all: Vec<_> = (0..rest).map(|n| slots.begin(&format!("c{n}"), None).unwrap()).collect();
        assert_eq!(slots.begin("b", client(2)).unwrap_err(), Full::Server);
        drop((one_link, one_address, all));
        assert!(slots.begin("a", client(1)).is_ok());
        assert!(slots.0.lock().links.is_empty() && slots.0.lock().addresses.is_empty(), "nothing is left");
        assert_eq!(slots.0.lock().total, 0);
    }
}
