//! Asks the running server's operations listener.
//!
//! Uses no proxy, and no configuration beyond the address: whatever else is wrong, the server can still be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ErrorWithHint;

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// More than any answer of `/readyz`.
const MAX_ANSWER_BYTES: u64 = 1_048_576;

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The address by which this machine reaches the operations listener. `listen`: what is configured; `None` if it is off.
pub(super) fn address(listen: Option<SocketAddr>) -> Result<SocketAddr, ErrorWithHint> {
    listen.filter(|address| address.port() != 0).map(reachable).ok_or_else(|| ErrorWithHint {
        problem: "server.ops_listen names no port, so that nobody can ask the server".to_owned(),
        hint: "set server.ops_listen, such as 127.0.0.1:9090".to_owned(),
    })
}

/// The address by which this machine reaches a listener on `listen`.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// The answer to a GET of `/readyz`.
pub(super) async fn readyz(address: SocketAddr) -> anyhow::Result<Answer> {
    match tokio::time::timeout(TIMEOUT, get(address)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => bail!("no server answers on {address}: {error:#}"),
        Err(_) => bail!("the server on {address} does not answer within {} seconds", TIMEOUT.as_secs()),
    }
}

async fn get(address: SocketAddr) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split([' ', '\r', '\n']).nth(1));
    let status = status.and_then(|status| status.parse().ok()).context("its answer is not HTTP")?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        for (listen, reached) in
            [("0.0.0.0:9090", "127.0.0.1:9090"), ("[::]:9090", "[::1]:9090"), ("10.0.0.7:81", "10.0.0.7:81")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reached);
        }
    }
}
