//! One open connection, as its own task sees it: whether it waits for a request, processes one, or
//! writes a response.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::table::ConnectionId;
use crate::http::peer::ClientAddress;

/// Without a complete head of a request.
const WAITING: u8 = 0;
/// A request is being processed, or its response is not yet complete.
const PROCESSING: u8 = 1;
/// The response is complete, but some of its bytes may not have left yet.
const WRITING: u8 = 2;

/// An open connection; it counts until this is dropped, so drop it after the socket.
#[derive(Debug)]
pub(in crate::http) struct OpenConnection {
    shared: Arc<Shared>,
    id: ConnectionId,
    close: CancellationToken,
    peer: IpAddr,
    is_proxy: bool,
    stage: AtomicU8,
}

/// What becomes of a request whose head is complete.
#[derive(Debug)]
pub(in crate::http) enum RequestStart {
    /// It is processed, as a request of this client; the guard is dropped when its response is complete.
    Process(ClientAddress, RequestGuard),
    /// Its client, behind a trusted proxy, has used up its share.
    TooMany(RequestGuard),
    /// The connection is being closed to make room.
    Closing,
}

impl OpenConnection {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: ConnectionId,
        close: CancellationToken,
        peer: IpAddr,
        is_proxy: bool,
    ) -> Self {
        Self { shared, id, close, peer, is_proxy, stage: AtomicU8::new(WAITING) }
    }

    /// Returns when the connection is to be closed to make room.
    pub(in crate::http) async fn told_to_close(&self) {
        self.close.cancelled().await;
    }

    /// A request with these headers arrived.
    pub(in crate::http) fn begin_request(self: &Arc<Self>, headers: &HeaderMap) -> RequestStart {
        let forwarded = if self.is_proxy { self.shared.proxies.client(headers) } else { None };
        let mut table = self.shared.table.lock();
        if !table.begin_request(self.id) {
            return RequestStart::Closing;
        }
        self.stage.store(PROCESSING, Ordering::Relaxed);
        let is_allowed = forwarded.is_none_or(|client| table.begin_forwarded(client));
        drop(table);
        let guard =
            RequestGuard { connection: Arc::clone(self), forwarded: forwarded.filter(|_| is_allowed) };
        if !is_allowed {
            self.shared.refuse();
            return RequestStart::TooMany(guard);
        }
        if forwarded.is_some() {
            self.shared.show();
        }
        RequestStart::Process(forwarded.unwrap_or_else(|| ClientAddress::of(self.peer)), guard)
    }

    /// Every byte written so far has left.
    pub(in crate::http) fn flushed(&self) {
        if self.stage.compare_exchange(WRITING, WAITING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.shared.table.lock().wait(self.id);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.shared.table.lock().remove(self.id);
        self.shared.show();
        self.shared.changed.notify_one();
    }
}

/// A request that is being processed, until its response is complete.
#[derive(Debug)]
pub(in crate::http) struct RequestGuard {
    connection: Arc<OpenConnection>,
    forwarded: Option<ClientAddress>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connection.stage.store(WRITING, Ordering::Relaxed);
        if let Some(client) = self.forwarded {
            self.connection.shared.table.lock().end_forwarded(client);
            self.connection.shared.show();
        }
    }
}

/// The body of a response, with the guard of its request.
#[derive(Debug)]
pub(in crate::http) struct TrackedResponse {
    body: Body,
    _guard: RequestGuard,
}

impl TrackedResponse {
    pub(in crate::http) fn new(body: Body, guard: RequestGuard) -> Self {
        Self { body, _guard: guard }
    }
}

impl http_body::Body for TrackedResponse {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
