//! The ways of several bridges to one database. Each way can be frozen: nothing passes then, and no connection ends, as
//! when a network fails.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::config::Host;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{SslMode, StoreUrl};

/// How long a connection to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most connections of one bridge. Further ones are closed.
const MAX_CONNECTIONS: usize = 64;
const BUFFER: usize = 64 * 1024;

/// Where a database's server listens.
#[derive(Clone, Debug)]
enum Server {
    Tcp(String, u16),
    Socket(PathBuf),
}

/// Why no way can lead to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// The URL is no PostgreSQL database's.
    #[error("names no PostgreSQL database")]
    NoDatabase,
    /// The URL names more than one server.
    #[error("names several servers, but the sandbox stands between its bridges and one")]
    SeveralServers,
    /// The server's certificate cannot name the address of the way.
    #[error("has sslmode=verify-full, but the sandbox stands between its bridges and the server")]
    VerifiesHost,
}

impl Server {
    /// The server that this URL names.
    fn of(url: &str) -> Result<Self, NoWay> {
        let Ok(StoreUrl::Postgres(parsed)) = StoreUrl::new(url) else { return Err(NoWay::NoDatabase) };
        if parsed.ssl_mode == SslMode::VerifyFull {
            return Err(NoWay::VerifiesHost);
        }
        let port = parsed.config.get_ports().first().copied().unwrap_or(5432);
        match parsed.config.get_hosts() {
            [Host::Tcp(host)] => Ok(Self::Tcp(host.clone(), port)),
            [Host::Unix(folder)] => Ok(Self::Socket(folder.join(format!(".s.PGSQL.{port}")))),
            [] => Err(NoWay::NoDatabase),
            _ => Err(NoWay::SeveralServers),
        }
    }
}

/// Fails if the sandbox cannot stand between a bridge and the database of this URL.
pub fn check(url: &str) -> Result<(), NoWay> {
    Server::of(url).map(drop)
}

/// The way of one bridge to the database. It closes when dropped.
#[derive(Debug)]
pub(super) struct Way {
    address: SocketAddr,
    is_frozen: watch::Sender<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Way {
    /// Opens a way to the server that `url` names.
    pub(super) async fn open(url: &str) -> io::Result<Self> {
        let server = Server::of(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (is_frozen, stop, tasks) =
            (watch::Sender::new(false), CancellationToken::new(), TaskTracker::new());
        let accepting = accept(listener, server, is_frozen.subscribe(), stop.clone(), tasks.clone());
        let stopped = stop.clone();
        tasks.spawn(async move { stopped.run_until_cancelled(accepting).await });
        Ok(Self { address, is_frozen, stop, tasks })
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// `url` so that it leads along this way. `None` if it is not a URL.
    pub(super) fn url(&self, url: &str) -> Option<String> {
        let mut url = Url::parse(url).ok()?;
        let others: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "host").collect();
        url.query_pairs_mut().clear().extend_pairs(others);
        url.set_host(Some(&self.address.ip().to_string())).ok()?;
        url.set_port(Some(self.address.port())).ok()?;
        Some(url.into())
    }

    /// Lets nothing pass, or lets everything pass again.
    pub(super) fn freeze(&self, is_frozen: bool) {
        self.is_frozen.send_replace(is_frozen);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    server: Server,
    frozen: watch::Receiver<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // One of the tasks is this one.
        if tasks.len() > MAX_CONNECTIONS {
            continue;
        }
        let (server, frozen, stop) = (server.clone(), frozen.clone(), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(connect(client, server, frozen)).await });
    }
}

/// Connects a bridge with the server. A failure ends the connection, which the bridge notices.
async fn connect(client: TcpStream, server: Server, mut frozen: watch::Receiver<bool>) -> io::Result<()> {
    until_open(&mut frozen).await?;
    client.set_nodelay(true)?;
    match server {
        Server::Tcp(host, port) => {
            let server = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await??;
            server.set_nodelay(true)?;
            join(client, server, &frozen).await;
        }
        Server::Socket(path) => {
            let server = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await??;
            join(client, server, &frozen).await;
        }
    }
    Ok(())
}

async fn join<S: AsyncRead + AsyncWrite>(client: TcpStream, server: S, frozen: &watch::Receiver<bool>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = tokio::io::split(server);
    // A failure in one direction ends the other, too.
    let _ = tokio::try_join!(
        pass(from_client, to_server, frozen.clone()),
        pass(from_server, to_client, frozen.clone())
    );
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut frozen: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        until_open(&mut frozen).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Waits until the way is not frozen.
async fn until_open(frozen: &mut watch::Receiver<bool>) -> io::Result<()> {
    frozen.wait_for(|frozen| !frozen).await.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_to_one_server_that_need_not_be_named() {
        for url in ["postgres://bridge@db.example/chat", "postgres:///chat?host=/run/postgresql"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        assert_eq!(check("sqlite://a.db"), Err(NoWay::NoDatabase));
        assert_eq!(check("postgres://b@one,two/chat"), Err(NoWay::SeveralServers));
        assert_eq!(check("postgres://b@one/chat?sslmode=verify-full"), Err(NoWay::VerifiesHost));
    }

    #[tokio::test]
    async fn a_frozen_way_lets_nothing_pass_and_ends_no_connection() {
        let folder = tempfile::tempdir().unwrap();
        let server = tokio::net::UnixListener::bind(folder.path().join(".s.PGSQL.5433")).unwrap();
        let way = Way::open(&format!("postgres:///chat?host={}&port=5433", folder.path().display())).await;
        assert!(way.is_err(), "the port is no parameter");
        let host = folder.path().to_str().unwrap().replace('/', "%2F");
        let url = format!("postgres://bridge@{host}:5433/chat?options=-csearch_path%3Da");
        let way = Way::open(&url).await.unwrap();
        let along = way.url(&url).unwrap();
        assert_eq!(along, format!("postgres://bridge@{}/chat?options=-csearch_path%3Da", way.address));

        let mut client = TcpStream::connect(way.address).await.unwrap();
        let (mut server, _) = server.accept().await.unwrap();
        let mut byte = [0];
        client.write_all(b"a").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        way.freeze(true);
        server.write_all(b"b").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), client.read(&mut byte)).await;
        assert!(early.is_err(), "{early:?}");
        way.freeze(false);
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");
        way.close().await;
        assert_eq!(client.read(&mut byte).await.unwrap_or_default(), 0, "it is closed");
    }
}
