//! Listening: binds, accepts connections up to the limit, and stops gracefully.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use super::Limits;
use super::connection::{self, ConnectionContext};
use super::connections::Connections;

/// The pause after a connection could not be accepted (usually because no file descriptors are
/// left).
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections may wait in the kernel's queue; the kernel takes its own limit if that is less
/// (`net.core.somaxconn`, usually 4,096). When the queue is full, a caller tries again only after a second,
/// so it must hold a crowd that arrives at once.
const BACKLOG: u32 = 4096;

/// Why the process cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {address}: {source}; {}", fix(source))]
pub struct BindError {
    /// The setting that holds the address.
    pub key: &'static str,
    /// Its value.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

fn fix(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => "stop the program that has this port, or set another one",
        io::ErrorKind::PermissionDenied => {
            "set a port above 1023, or give the process the right to lower ones (CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "set an address of this machine, or 0.0.0.0 or [::] for all of them"
        }
        _ => "set another address",
    }
}

/// Binds `address`, the value of the setting `key`. No request is served before [`serve`] runs. Must be called
/// within the runtime.
pub fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| BindError { key, address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart may bind while connections of the process before it are still being closed.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The signals that stop a listener.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Soft stop: accept no connections, respond to the requests in progress, close.
    pub soft: CancellationToken,
    /// Hard stop: cut the open connections. The caller cancels it when the grace period is over.
    pub hard: CancellationToken,
}

/// Serves `router` on `listener`, with TLS if an acceptor is given, within the limits of
/// `connections`. Returns after `stop`, when every connection is closed.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    connections: Connections,
    stop: Stop,
) {
    let router = router.layer(CatchPanicLayer::custom(panic_response));
    let context = ConnectionContext { router, tls, limits, soft: stop.soft.clone(), hard: stop.hard.clone() };
    let open = TaskTracker::new();
    tokio::select! {
        () = accept_all(&listener, &context, &connections, &open) => {}
        () = stop.soft.cancelled() => {}
        () = stop.hard.cancelled() => {}
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn accept_all(
    listener: &TcpListener,
    context: &ConnectionContext,
    connections: &Connections,
    open: &TaskTracker,
) {
    loop {
        let (stream, peer) = accept(listener).await;
        // While every connection processes a request, further ones wait in the kernel's queue.
        let Some(connection) = connections.admit(peer.ip()).await else { continue };
        open.spawn(connection::run(stream, context.clone(), connection));
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut logged = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The caller has already disconnected; accept the next one.
            Err(error) if is_caller_error(&error) => {}
            Err(error) => {
                if !logged {
                    tracing::error!(%error, "cannot accept connections, retrying: raise the limit of open files");
                }
                logged = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_caller_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Leaves the panic's text out, because it may quote a message. The panic hook has already written
/// it to stderr.
fn panic_response(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request ended in a panic: this is a bug; the service goes on");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

#[cfg(test)]
mod tests;
