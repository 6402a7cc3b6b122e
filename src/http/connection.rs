//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connections::{OpenConnection, RequestStart, TrackedResponse};
use super::receipt::PendingReceipts;
use super::stream::ConnectionStream;
use super::{Limits, RETRY_AFTER};

/// How long a refused caller that is still sending may take to read the response.
const LINGER: Duration = Duration::from_secs(1);
/// The smallest buffer that hyper accepts.
const MIN_BUFFER_BYTES: usize = 8192;
/// The response when a head does not arrive in time.
const HEAD_TIMEOUT_RESPONSE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The settings that all connections of a listener share.
#[derive(Clone)]
pub(super) struct ConnectionContext {
    /// The routes.
    pub router: Router,
    /// The TLS acceptor; `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// The limits.
    pub limits: Limits,
    /// Soft stop: respond to the requests in progress, then close.
    pub soft: CancellationToken,
    /// Hard stop: close at once.
    pub hard: CancellationToken,
}

/// Serves `stream` until either side closes it, or until it is closed to make room.
pub(super) async fn run(stream: TcpStream, context: ConnectionContext, connection: Arc<OpenConnection>) {
    // Responses are small and callers wait for them, so collecting bytes gains nothing.
    let _ = stream.set_nodelay(true);
    let hard = context.hard.clone();
    let serving = async {
        let connection = Arc::clone(&connection);
        let Some(tls) = context.tls.clone() else { return http(stream, context, connection).await };
        match Box::pin(timeout(context.limits.handshake, tls.accept(stream))).await {
            // Boxed, so that a connection without TLS does not take the room of one with it.
            Ok(Ok(stream)) => Box::pin(http(stream, context, connection)).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake timed out"),
        }
    };
    tokio::select! {
        () = serving => {}
        () = hard.cancelled() => {}
        () = connection.told_to_close() => tracing::debug!("closed a connection to make room"),
    }
}

/// Speaks HTTP/1.1 on `stream` until either side closes it.
pub(super) async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    context: ConnectionContext,
    connection: Arc<OpenConnection>,
) {
    // Boxed, so that its memory is free while the connection lingers.
    let (mut stream, head_timed_out) = Box::pin(serve_requests(stream, context, connection)).await;
    let _ = timeout(LINGER, close_gracefully(&mut stream, head_timed_out)).await;
}

/// Answers requests until the last one. Returns the stream, and whether a head was begun and did not arrive
/// in time.
async fn serve_requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    context: ConnectionContext,
    connection: Arc<OpenConnection>,
) -> (ConnectionStream<S>, bool) {
    let ConnectionContext { router, limits, soft, .. } = context;
    let pending_receipts = PendingReceipts::default();
    let stream =
        ConnectionStream::new(stream, pending_receipts.clone(), limits.stalled, Arc::clone(&connection));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(pending_receipts.clone());
        let start = connection.begin_request(request.headers());
        let router = router.clone();
        Box::pin(async move {
            let (response, guard) = match start {
                RequestStart::Process(client, guard) => {
                    request.extensions_mut().insert(client);
                    let response = router.oneshot(request.map(Body::new)).await;
                    (response.unwrap_or_else(|never| match never {}), guard)
                }
                RequestStart::TooMany(guard) => (too_many_requests(), guard),
                // The task of this connection is about to end.
                RequestStart::Closing => std::future::pending().await,
            };
            Ok::<_, Infallible>(response.map(|body| TrackedResponse::new(body, guard)))
        })
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        // The smallest buffer that holds a head; bodies are read through it piece by piece. Thousands of
        // connections have one each.
        .max_buf_size(limits.head_bytes.max(MIN_BUFFER_BYTES))
        .serve_connection(TokioIo::new(stream), service);
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = soft.cancelled(), if !closing => {
                closing = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    // An idle connection is closed silently; a caller that has started a head gets a 408.
    let head_timed_out = ended.is_err_and(|error| error.is_timeout()) && !parts.read_buf.is_empty();
    (parts.io.into_inner(), head_timed_out)
}

/// The response to a client behind a proxy that has too many requests at once.
fn too_many_requests() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    response
}

/// Ends a connection so that the last response arrives: closing while the caller still sends would
/// reset it.
async fn close_gracefully<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    head_timed_out: bool,
) -> std::io::Result<()> {
    if head_timed_out {
        stream.write_all(HEAD_TIMEOUT_RESPONSE).await?;
    }
    stream.shutdown().await?;
    // Small, because it takes room in the task of every connection.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
