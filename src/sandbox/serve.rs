//! Serves the router of a simulated platform on loopback. A response can be damaged and a
//! connection can be cut on purpose.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router};
use futures_util::{StreamExt as _, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::instance::Instance;
use crate::clock::Clock;

/// The most concurrent connections. Further ones are closed.
const MAX_CONNECTIONS: usize = 4_096;

/// Marks a response that must not be sent. The server closes the connection instead.
#[derive(Clone, Copy, Debug)]
struct CutConnection;

/// A response, with its body in one piece so that watchers can show it.
#[derive(Debug)]
pub struct SimulatedResponse {
    /// The response to send.
    pub response: Response,
    /// The part of the body that is sent, in one piece.
    pub body: Bytes,
}

impl SimulatedResponse {
    /// Creates a response with a complete body.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { response, body }
    }

    /// Creates a response with JSON for people at a terminal: indented, with a final line break.
    pub fn pretty_json(status: StatusCode, value: &Value) -> Self {
        Self::new(status, "application/json", format!("{value:#}\n"))
    }

    /// Creates a response that closes the connection instead of sending anything.
    pub fn cut_connection() -> Self {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(CutConnection);
        Self { response, body: Bytes::new() }
    }

    /// The HTTP status. `None` if the connection is cut instead.
    pub fn status(&self) -> Option<u16> {
        let is_cut = self.response.extensions().get::<CutConnection>().is_some();
        (!is_cut).then(|| self.response.status().as_u16())
    }

    /// Announces the whole body, sends half of it, and breaks the connection.
    pub fn with_half_body(mut self) -> Self {
        let first = self.body.slice(..self.body.len() / 2);
        let half = first.clone();
        let broken = async {
            // Let the server write the first half before it meets the error.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("response cut off on purpose"))
        };
        let body = stream::once(async { Ok(half) }).chain(stream::once(broken));
        self.response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        *self.response.body_mut() = Body::from_stream(body);
        Self { response: self.response, body: first }
    }
}

/// Makes every response of `router` show the time of `clock` in its `Date`, as a platform's does.
pub fn with_date(router: Router, clock: Clock) -> Router {
    router.layer(axum::middleware::map_response(move |mut response: Response| {
        let seconds = u64::try_from(clock.now().seconds()).unwrap_or_default();
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(date)) {
            response.headers_mut().insert(header::DATE, date);
        }
        std::future::ready(response)
    }))
}

/// The answer to a request that only asks for the time.
pub async fn only_date() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Serves `router` at `count` further addresses. A handler finds in the request's extensions which [`Instance`] came.
pub(super) async fn entrances(ip: IpAddr, router: &Router, count: usize) -> std::io::Result<Vec<Server>> {
    let mut servers = Vec::with_capacity(count);
    for index in 0..count {
        let listener = TcpListener::bind((ip, 0)).await?;
        servers.push(Server::start(listener, router.clone().layer(Extension(Instance::at(index))))?);
    }
    Ok(servers)
}

/// A running server. It stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The error that makes the server close a connection.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
struct ConnectionCut;

impl Server {
    /// Serves `router` on `listener` until it is stopped or dropped.
    pub fn start(listener: TcpListener, router: Router) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, router, stop.clone(), tasks.clone()));
        Ok(Self { address, stop, tasks })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening, cuts every connection and waits until all are closed.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "a simulated platform could not accept a connection; it tries again in 50 ms"
                    );
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        if tasks.len() > MAX_CONNECTIONS {
            continue;
        }
        let _ = stream.set_nodelay(true);
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            let service =
                hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let router = router.clone();
                    async move {
                        let response =
                            router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
                        if response.extensions().get::<CutConnection>().is_some() {
                            Err(ConnectionCut)
                        } else {
                            Ok(response)
                        }
                    }
                });
            let builder = Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    #[tokio::test]
    async fn a_cut_connection_sends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let router = Router::new()
            .route("/cut", get(|| async { SimulatedResponse::cut_connection().response }))
            .route("/ok", get(|| async { "ok" }));
        let server = Server::start(listener, router).unwrap();
        let base = format!("http://{}", server.address());
        assert!(crate::http_client::get(format!("{base}/cut")).await.unwrap_err().is_request());
        assert_eq!(crate::http_client::get(format!("{base}/ok")).await.unwrap().text().await.unwrap(), "ok");
        server.stop().await;
    }
}
