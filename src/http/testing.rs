//! A listener on its own port, and callers that send raw bytes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Limits;
use super::connections::{ConnectionLimits, Connections};
use super::peer::TrustedProxies;
use super::serve::{Stop, bind, serve};
use super::tls::Certificates;
use crate::clock::Clock;
use crate::config::Tls;
use crate::metrics::Metrics;

/// A running listener.
pub struct Host {
    /// The listener's address.
    pub address: SocketAddr,
    /// Stops the listener.
    pub stop: Stop,
    /// Ends when the listener has stopped.
    pub served: JoinHandle<()>,
}

/// Limits short enough for a test.
pub fn impatient() -> Limits {
    Limits {
        head: Duration::from_millis(300),
        body: Duration::from_millis(300),
        stalled: Duration::from_millis(300),
        handshake: Duration::from_millis(300),
        body_bytes: 1000,
        ..Limits::default()
    }
}

/// Starts a listener without TLS.
pub async fn host(router: Router, limits: Limits) -> Host {
    host_with(router, limits, None).await
}

/// Starts a listener.
pub async fn host_with(router: Router, limits: Limits, tls: Option<TlsAcceptor>) -> Host {
    let connections = connections(ConnectionLimits::shared(4096));
    host_within(router, limits, connections, tls).await
}

/// The connections of a listener with these limits.
pub fn connections(limits: ConnectionLimits) -> Connections {
    let clock = Clock::system();
    Connections::new("public", limits, TrustedProxies::default(), clock, Metrics::default())
}

/// Starts a listener within the limits of `connections`.
pub async fn host_within(
    router: Router,
    limits: Limits,
    connections: Connections,
    tls: Option<TlsAcceptor>,
) -> Host {
    let listener = bind("server.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::default();
    let served = tokio::spawn(serve(listener, tls, router, limits, connections, stop.clone()));
    Host { address, stop, served }
}

impl Host {
    /// Opens a connection.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` and reads until the server closes.
    pub async fn request(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    /// Makes a GET request and returns the whole response.
    pub async fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    }

    /// Makes a POST request and returns the whole response.
    pub async fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.request(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

/// Reads until the server closes the connection; fails if it does not, or if it resets.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut read)).await.unwrap().unwrap();
    String::from_utf8(read).unwrap()
}

/// The status and the body of a response.
pub fn parts(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// The certificate of the authority that signed [`tls`]; its key is not kept.
pub fn authority() -> PathBuf {
    data("ca.cert.pem")
}

/// A certificate for `localhost` and its key, created for these tests, valid for a hundred years.
pub fn tls() -> Tls {
    Tls { cert: data("tls.cert.pem"), key: data("tls.key.pem") }
}

/// Another certificate for `localhost`, signed with its own key.
pub fn other_tls() -> Tls {
    Tls { cert: data("other.cert.pem"), key: data("other.key.pem") }
}

/// A TLS acceptor with [`tls`].
pub fn acceptor() -> TlsAcceptor {
    Certificates::open(&tls(), Clock::system()).unwrap().acceptor().unwrap()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
