//! A proxy that simulates network failures between the bridge and a platform. A failure is tied to a text and
//! affects the first request that contains it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 15\r\n\r\n<html>no</html>";
const NO_JSON: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>no</html>";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection is reset before the platform gets the request.
    ResetBefore,
    /// The platform carries out the request, then the connection is reset.
    ResetAfter,
    /// The proxy reads the request and does not answer. The platform never gets it.
    Stall,
    /// The platform carries out the request. The response breaks off before its last ten bytes.
    HalfBody,
    /// The platform carries out the request. The response arrives byte by byte.
    Drip,
    /// The proxy answers 502. The platform never gets the request.
    Gateway,
    /// The platform carries out the request. The response is replaced by an HTML page.
    NoJson,
    /// The platform carries out the request. The response arrives twice.
    Twice,
}

impl Failure {
    pub const ALL: [Self; 8] = [
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Stall,
        Self::HalfBody,
        Self::Drip,
        Self::Gateway,
        Self::NoJson,
        Self::Twice,
    ];
}

type Failures = Arc<Mutex<Vec<(String, Failure)>>>;

pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    failures: Failures,
    load: Arc<Load>,
    running: JoinSet<()>,
}

/// The number of concurrent calls, and the delay of each response.
#[derive(Default)]
struct Load {
    current: AtomicUsize,
    max: AtomicUsize,
    delay_ms: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of `base`, which has the form `http://HOST:PORT`.
    pub async fn start(base: &str) -> Self {
        let target = base.strip_prefix("http://").unwrap().parse().unwrap();
        let mut proxy = Self {
            address: SocketAddr::from(([127, 0, 0, 1], super::rig::free_port())),
            target,
            failures: Failures::default(),
            load: Arc::default(),
            running: JoinSet::new(),
        };
        proxy.open().await;
        proxy
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the first request that contains `text` fail.
    pub fn fail_request(&self, text: &str, failure: Failure) {
        self.failures.lock().unwrap().push((text.to_owned(), failure));
    }

    /// Delays every response by `delay` from now on.
    pub fn delay_answers(&self, delay: Duration) {
        self.load.delay_ms.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// The largest number of concurrent calls so far.
    pub fn max_concurrent(&self) -> usize {
        self.load.max.load(Ordering::Relaxed)
    }

    /// Closes all connections and refuses new ones.
    pub async fn close(&mut self) {
        self.running.shutdown().await;
    }

    /// Accepts connections again, at the same address.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (target, failures, load) = (self.target, Arc::clone(&self.failures), Arc::clone(&self.load));
        self.running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (failures, load) = (Arc::clone(&failures), Arc::clone(&load));
                connections.spawn(async move {
                    // A broken connection is expected here.
                    let _ = forward(client, target, failures, &load).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
    }
}

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    failures: Failures,
    load: &Load,
) -> io::Result<()> {
    while let Some(request) = read_message(&mut client).await? {
        let failure = take_failure(&failures, &String::from_utf8_lossy(&request));
        match failure {
            Some(Failure::ResetBefore) => return client.set_zero_linger(),
            Some(Failure::Stall) => {
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).await?;
                return Ok(());
            }
            Some(Failure::Gateway) => {
                client.write_all(GATEWAY).await?;
                continue;
            }
            _ => {}
        }
        load.max.fetch_max(load.current.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut server = TcpStream::connect(target).await?;
        server.write_all(&request).await?;
        let answer = read_message(&mut server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        tokio::time::sleep(Duration::from_millis(load.delay_ms.load(Ordering::Relaxed))).await;
        load.current.fetch_sub(1, Ordering::Relaxed);
        match failure {
            Some(Failure::ResetAfter) => return client.set_zero_linger(),
            Some(Failure::HalfBody) => {
                let half = answer.len() - 10;
                return client.write_all(&answer[..half]).await;
            }
            Some(Failure::Drip) => {
                client.set_nodelay(true)?;
                for byte in answer {
                    client.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            Some(Failure::NoJson) => client.write_all(NO_JSON).await?,
            Some(Failure::Twice) => client.write_all(&[answer.clone(), answer].concat()).await?,
            _ => client.write_all(&answer).await?,
        }
    }
    Ok(())
}

/// Removes and returns the failure for this request.
fn take_failure(failures: &Failures, request: &str) -> Option<Failure> {
    let mut failures = failures.lock().unwrap();
    let at = failures.iter().position(|(text, _)| request.contains(text))?;
    Some(failures.remove(at).1)
}

/// Reads one request or response with a `Content-Length`; returns `None` at the end of the connection.
async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head
            && bytes.len() >= head + content_length(&bytes[..head])
        {
            return Ok(Some(bytes));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.map_or(0, |value| value.trim().parse().unwrap())
}
