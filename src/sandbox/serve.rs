//! Serves a simulated platform's router on loopback, with connections that can be cut on purpose.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Marks a response that must never be sent: its connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub struct CutConnection;

/// A response that closes the connection instead of being sent.
pub fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(CutConnection);
    response
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

impl Served {
    /// Serves `router` on `listener` until stopped or dropped.
    pub fn start(listener: TcpListener, router: Router) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, router, stop.clone(), tasks.clone()));
        Ok(Self { address, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, cuts every connection and waits until they are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Served {
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
                    tracing::warn!(%error, "a simulated platform could not accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
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
                            Err(Cut)
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
        let router =
            Router::new().route("/cut", get(|| async { cut() })).route("/ok", get(|| async { "ok" }));
        let served = Served::start(listener, router).unwrap();
        let base = format!("http://{}", served.address());
        assert!(reqwest::get(format!("{base}/cut")).await.unwrap_err().is_request());
        assert_eq!(reqwest::get(format!("{base}/ok")).await.unwrap().text().await.unwrap(), "ok");
        served.stop().await;
    }
}
