//! A way to the database over TCP that can be frozen, or lead to another server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

/// How long a frozen way waits before it looks again.
const PAUSE: Duration = Duration::from_millis(10);

/// While it is frozen nothing passes, and no connection ends.
pub struct DatabaseProxy {
    address: SocketAddr,
    target: Arc<Mutex<PathBuf>>,
    is_frozen: Arc<AtomicBool>,
}

impl DatabaseProxy {
    /// Listens, and leads to the server with this socket.
    pub async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, is_frozen) = (Arc::new(Mutex::new(socket)), Arc::new(AtomicBool::new(false)));
        let (goal, frozen) = (Arc::clone(&target), Arc::clone(&is_frozen));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, frozen) = (Arc::clone(&goal), Arc::clone(&frozen));
                client.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    wait_while(&frozen).await;
                    let socket = target.lock().unwrap().clone();
                    let Ok(server) = UnixStream::connect(socket).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        pass(from_client, to_server, Arc::clone(&frozen)),
                        pass(from_server, to_client, frozen)
                    );
                });
            }
        });
        Self { address, target, is_frozen }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn freeze(&self, is_frozen: bool) {
        self.is_frozen.store(is_frozen, Ordering::Relaxed);
    }

    /// New connections lead to the server with this socket.
    pub fn lead_to(&self, socket: PathBuf) {
        *self.target.lock().unwrap() = socket;
    }
}

async fn wait_while(is_frozen: &AtomicBool) {
    while is_frozen.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn pass(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    is_frozen: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        wait_while(&is_frozen).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
