//! A TCP proxy between the bridge and a platform, with every trouble that a network has. Troubles are tied to words:
//! the first request whose body has them suffers.

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
pub enum Trouble {
    /// Reset before the platform sees it.
    ResetBefore,
    /// Carried out, then reset.
    ResetAfter,
    /// Taken, and nothing more; the platform never sees it.
    Stall,
    /// Carried out; half of the answer's body, then the end.
    HalfBody,
    /// Carried out; the answer byte by byte.
    Drip,
    /// 502; the platform never sees it.
    Gateway,
    /// Carried out; the answer is replaced by a page.
    NoJson,
    /// Carried out; the answer comes twice.
    Twice,
}

impl Trouble {
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

type Troubles = Arc<Mutex<Vec<(String, Trouble)>>>;

pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    troubles: Troubles,
    load: Arc<Load>,
    running: JoinSet<()>,
}

/// Calls under way at once, and how long each is held.
#[derive(Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
    hold_ms: AtomicU64,
}

impl Proxy {
    /// In front of `base` (`http://HOST:PORT`).
    pub async fn start(base: &str) -> Self {
        let target = base.strip_prefix("http://").unwrap().parse().unwrap();
        let mut proxy = Self {
            address: SocketAddr::from(([127, 0, 0, 1], super::rig::port())),
            target,
            troubles: Troubles::default(),
            load: Arc::default(),
            running: JoinSet::new(),
        };
        proxy.open().await;
        proxy
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first request with these words suffers it.
    pub fn trouble(&self, words: &str, trouble: Trouble) {
        self.troubles.lock().unwrap().push((words.to_owned(), trouble));
    }

    /// Every answer comes this much later.
    pub fn hold(&self, time: Duration) {
        self.load.hold_ms.store(time.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// The most calls that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.load.most.load(Ordering::Relaxed)
    }

    /// Connections are refused and cut from now on.
    pub async fn close(&mut self) {
        self.running.shutdown().await;
    }

    /// The same address answers again.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (target, troubles, load) = (self.target, Arc::clone(&self.troubles), Arc::clone(&self.load));
        self.running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (troubles, load) = (Arc::clone(&troubles), Arc::clone(&load));
                connections.spawn(async move {
                    // A broken connection is what this is for.
                    let _ = carry(client, target, troubles, &load).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, troubles: Troubles, load: &Load) -> io::Result<()> {
    while let Some(request) = message(&mut client).await? {
        let trouble = taken(&troubles, &String::from_utf8_lossy(&request));
        match trouble {
            Some(Trouble::ResetBefore) => return client.set_zero_linger(),
            Some(Trouble::Stall) => {
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).await?;
                return Ok(());
            }
            Some(Trouble::Gateway) => {
                client.write_all(GATEWAY).await?;
                continue;
            }
            _ => {}
        }
        load.most.fetch_max(load.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut server = TcpStream::connect(target).await?;
        server.write_all(&request).await?;
        let answer = message(&mut server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        tokio::time::sleep(Duration::from_millis(load.hold_ms.load(Ordering::Relaxed))).await;
        load.now.fetch_sub(1, Ordering::Relaxed);
        match trouble {
            Some(Trouble::ResetAfter) => return client.set_zero_linger(),
            Some(Trouble::HalfBody) => {
                let half = answer.len() - 10;
                return client.write_all(&answer[..half]).await;
            }
            Some(Trouble::Drip) => {
                client.set_nodelay(true)?;
                for byte in answer {
                    client.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            Some(Trouble::NoJson) => client.write_all(NO_JSON).await?,
            Some(Trouble::Twice) => client.write_all(&[answer.clone(), answer].concat()).await?,
            _ => client.write_all(&answer).await?,
        }
    }
    Ok(())
}

fn taken(troubles: &Troubles, request: &str) -> Option<Trouble> {
    let mut troubles = troubles.lock().unwrap();
    let at = troubles.iter().position(|(words, _)| request.contains(words))?;
    Some(troubles.remove(at).1)
}

/// One request or answer with a length; `None` at the end of the connection.
async fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head
            && bytes.len() >= head + length(&bytes[..head])
        {
            return Ok(Some(bytes));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.map_or(0, |value| value.trim().parse().unwrap())
}
