//! Listening: binds, accepts connections up to the limit, and stops gracefully.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use super::Limits;
use super::connection::{self, ConnectionContext};

/// The pause after a connection could not be accepted (usually because no file descriptors are
/// left).
const PAUSE: Duration = Duration::from_millis(100);

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

/// Binds `address`, the value of the setting `key`. No request is served before [`serve`] runs.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { key, address, source })
}

/// The signals that stop a listener.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Soft stop: accept no connections, respond to the requests in progress, close.
    pub soft: CancellationToken,
    /// Hard stop: cut the open connections. The caller cancels it when the grace period is over.
    pub hard: CancellationToken,
}

/// Serves `router` on `listener`, with TLS if an acceptor is given. Returns after `stop`, when
/// every connection is closed.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: Stop,
) {
    let router = router.layer(CatchPanicLayer::custom(panic_response));
    let context = ConnectionContext { router, tls, limits, soft: stop.soft.clone(), hard: stop.hard.clone() };
    let open = TaskTracker::new();
    tokio::select! {
        () = accept_all(&listener, &context, &open) => {}
        () = stop.soft.cancelled() => {}
        () = stop.hard.cancelled() => {}
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn accept_all(listener: &TcpListener, context: &ConnectionContext, open: &TaskTracker) {
    let permits = Arc::new(Semaphore::new(context.limits.connections));
    // The semaphore is never closed, so this always gets a permit.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let stream = accept(listener).await;
        let context = context.clone();
        open.spawn(async move {
            connection::run(stream, context).await;
            drop(permit);
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let mut logged = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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
