//! Sends pushes: each after the answer to the one before (closed loop), on schedule without waiting
//! for answers (open loop), or as a burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::customers::openid;
use super::measure::{Measured, unix_micros, unix_s};
use super::target::Target;

/// Number of customers that write.
const CUSTOMERS: u64 = 5_000;
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A load to send.
pub struct Load {
    connections: usize,
    kind: LoadKind,
}

#[derive(Clone, Copy)]
enum LoadKind {
    Closed(Duration),
    Get(Duration),
    Open { per_second: f64, time: Duration },
    Burst(u64),
}

impl Load {
    pub fn closed(connections: usize, time: Duration) -> Self {
        Self { connections, kind: LoadKind::Closed(time) }
    }

    pub fn get(connections: usize, time: Duration) -> Self {
        Self { connections, kind: LoadKind::Get(time) }
    }

    pub fn open(connections: usize, per_second: f64, time: Duration) -> Self {
        Self { connections, kind: LoadKind::Open { per_second, time } }
    }

    pub fn burst(connections: usize, messages: u64) -> Self {
        Self { connections, kind: LoadKind::Burst(messages) }
    }

    pub async fn run(&self, target: &Target) -> Measured {
        let started = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..self.connections)
            .map(|nth| {
                tokio::spawn(run_connection(
                    target.address(),
                    self.kind,
                    nth,
                    self.connections,
                    Arc::clone(&sent),
                ))
            })
            .collect();
        let mut measured = Measured::default();
        for task in tasks {
            let (latencies, failed) = task.await.unwrap();
            measured.latencies.extend(latencies);
            measured.failed += failed;
        }
        measured.time = started.elapsed();
        measured.latencies.sort_by(f32::total_cmp);
        measured
    }
}

async fn run_connection(
    address: std::net::SocketAddr,
    kind: LoadKind,
    nth: usize,
    connections: usize,
    sent: Arc<AtomicU64>,
) -> (Vec<f32>, u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let started = Instant::now();
    let (mut latencies, mut failed, mut round) = (Vec::new(), 0, 0_u32);
    let mut buffer = vec![0; 4096];
    loop {
        let due = match kind {
            LoadKind::Closed(time) | LoadKind::Get(time) if started.elapsed() >= time => break,
            LoadKind::Burst(messages) if sent.fetch_add(1, Ordering::Relaxed) >= messages => break,
            LoadKind::Open { per_second, time } => {
                let gap = connections as f64 / per_second;
                let at = gap * (f64::from(round) + nth as f64 / connections as f64);
                if at >= time.as_secs_f64() {
                    break;
                }
                round += 1;
                let due = started + Duration::from_secs_f64(at);
                tokio::time::sleep_until(due.into()).await;
                // Measure from the scheduled time, or a server that stalls would hide its delay.
                due
            }
            _ => Instant::now(),
        };
        let request = if matches!(kind, LoadKind::Get(_)) { Target::get_request() } else { push() };
        stream.write_all(request.as_bytes()).await.unwrap();
        if read_answer(&mut stream, &mut buffer).await {
            latencies.push(due.elapsed().as_secs_f32() * 1000.0);
        } else {
            failed += 1;
        }
    }
    (latencies, failed)
}

/// A text message of one of the customers, as a signed request.
pub fn push() -> String {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let sent_at = unix_micros();
    let customer = openid(id.wrapping_mul(2_654_435_761) % CUSTOMERS);
    let body = format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{customer}]]>\
         </FromUserName><CreateTime>{}</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content><![CDATA[is this in stock, in size M? sent at {sent_at}]]></Content>\
         <MsgId>{}</MsgId></xml>",
        unix_s(),
        24_300_000_000_000_000 + id
    );
    format!(
        "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}",
        Target::signed_path(),
        body.len()
    )
}

/// Reads one answer and returns whether its status is 200.
pub async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(&buffer[..filled]));
        filled += read;
        let head = &buffer[..filled];
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&head[..end]).unwrap();
        let length = text
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            })
            .unwrap_or(0);
        if filled >= end + 4 + length {
            return text.starts_with("HTTP/1.1 200");
        }
    }
}
