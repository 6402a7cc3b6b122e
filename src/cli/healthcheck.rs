//! `healthcheck`: whether the running server accepts pushes, for containers and supervisors.
//!
//! Reads no more of the configuration than where the server answers operators: a file that a running server does not use
//! because it has a fault must not make that server look ill.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::output::print;
use super::{Error, ErrorWithHint, runtime};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// More than the first line of an answer.
const MAX_LINE_BYTES: u64 = 1024;

/// `ops_listen`: the address of the operations listener; `None` if it is off.
pub(super) fn run(ops_listen: Option<SocketAddr>) -> Result<(), Error> {
    let Some(listen) = ops_listen.filter(|address| address.port() != 0) else {
        let problem = "server.ops_listen names no port, so that nobody can ask whether the server is ready";
        let hint = "set server.ops_listen, such as 127.0.0.1:9090";
        return Err(ErrorWithHint { problem: problem.to_owned(), hint: hint.to_owned() }.into());
    };
    let address = reachable(listen);
    let asked = runtime()?.block_on(async { tokio::time::timeout(TIMEOUT, status(address)).await });
    let found = match asked {
        Ok(Ok(200)) => return print(&format!("ready: http://{address}/readyz answers 200\n")),
        Ok(Ok(status)) => format!("the server is not ready: http://{address}/readyz answers {status}"),
        Ok(Err(error)) => format!("no server answers on {address}: {error:#}"),
        Err(_) => format!("the server on {address} does not answer within {} seconds", TIMEOUT.as_secs()),
    };
    let hint = format!("the server's log and http://{address}/readyz say why");
    Err(ErrorWithHint { problem: found, hint }.into())
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

/// The status of `/readyz`.
async fn status(address: SocketAddr) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_LINE_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    status.and_then(|status| status.parse().ok()).context("its answer is not HTTP")
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
