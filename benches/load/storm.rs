//! What strangers do: they open many connections without a request, and send many large bodies at once, each
//! under a query that is signed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use wechat_im_bridge::internals::lifecycle::open_files;

use super::client::{push, read_answer};
use super::measure::Measured;
use super::sink::Sink;
use super::target::Target;

const STORMS: usize = 3;
const BODIES: usize = 2_000;
const BODY_BYTES: usize = 262_144;
/// More addresses than one, because one has a share of the connections.
const ADDRESSES: usize = 16;
/// How long the bodies stand one byte before their end.
const PAUSE: Duration = Duration::from_secs(5);

/// The usual limit of open files, and what the bridge gets here.
const OPEN_FILES: u64 = 1_024;
const HALF_OPEN: usize = 1_500;
/// The pause before a stranger opens a connection anew that the bridge has closed.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// How many pushes are sent meanwhile, and the pause between two.
const PUSHES: u32 = 2_000;
const PUSH_EVERY: Duration = Duration::from_millis(5);

/// Measures both.
pub async fn measure() {
    open_files::raise_limit().unwrap();
    measure_half_open().await;
    measure_bodies().await;
}

/// Keeps 1,500 connections without a complete request open from one address, and prints how long pushes from
/// another one take, each on a connection of its own.
async fn measure_half_open() {
    let sink = Sink::start().await;
    let bridge = Target::bridge_with_open_files(&sink, OPEN_FILES).await;
    let address = bridge.address();
    for strangers in [0, HALF_OPEN] {
        let mut open = JoinSet::new();
        (0..strangers).for_each(|_| drop(open.spawn(stay_half_open(address))));
        // Until the first ones are all there.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut measured = Measured::default();
        let started = Instant::now();
        for nth in 0..PUSHES {
            let due = started + nth * PUSH_EVERY;
            tokio::time::sleep_until(due.into()).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(push().as_bytes()).await.unwrap();
            assert!(read_answer(&mut stream, &mut vec![0; 4096]).await, "a push was refused");
            measured.latencies.push(due.elapsed().as_secs_f32() * 1000.0);
        }
        measured.latencies.sort_by(f32::total_cmp);
        println!(
            "{strangers} half-open connections, {OPEN_FILES} open files: pushes p50 {:.1} ms, p99 {:.1} ms, \
             p99.9 {:.1} ms",
            measured.percentile(50.0),
            measured.percentile(99.0),
            measured.percentile(99.9)
        );
    }
}

/// Opens a connection, sends half of a head, and does so again whenever the bridge closes it.
async fn stay_half_open(bridge: SocketAddr) {
    loop {
        if let Ok(mut stream) = connect_from(Ipv4Addr::new(127, 0, 1, 1), bridge).await {
            let _ = stream.write_all(b"POST / HTTP/1.1\r\nho").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

async fn connect_from(source: Ipv4Addr, bridge: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(bridge).await
}

/// Sends 2,000 bodies of 256 KB at once, three times, and prints the memory before, meanwhile and a minute later.
async fn measure_bodies() {
    let sink = Sink::start().await;
    let bridge = Target::bridge(&sink, &[]).await;
    println!("\nmemory before {BODIES} bodies of 256 KB: {} MB", bridge.resident_mb());
    for _ in 0..STORMS {
        let standing = Arc::new(Barrier::new(BODIES));
        let strangers: Vec<_> = (0..BODIES)
            .map(|nth| tokio::spawn(send_junk(bridge.address(), nth, Arc::clone(&standing))))
            .collect();
        let mut answered = 0;
        for stranger in strangers {
            answered += usize::from(stranger.await.unwrap());
        }
        println!("the most so far: {} MB ({answered} bodies were accepted)", bridge.most_resident_mb());
        println!("right after: {} MB", bridge.resident_mb());
        tokio::time::sleep(PAUSE).await;
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    println!("a minute later: {} MB", bridge.resident_mb());
}

/// Whether the bridge answered 200. It refuses the bodies that do not fit, or closes their connections.
async fn send_junk(bridge: SocketAddr, nth: usize, standing: Arc<Barrier>) -> bool {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(nth % ADDRESSES + 1).unwrap());
    let mut stream = connect_from(source, bridge).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-length: {BODY_BYTES}\r\n\r\n",
        Target::signed_path()
    );
    let mut junk = head.into_bytes();
    junk.resize(junk.len() + BODY_BYTES - 1, b'j');
    let _ = tokio::time::timeout(PAUSE, stream.write_all(&junk)).await;
    standing.wait().await;
    let _ = stream.write_all(b"j").await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.is_ok() && answer.ends_with(b" 200")
}
