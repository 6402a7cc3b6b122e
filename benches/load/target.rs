//! The measured server: the real binary or a bare axum server, each in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::metrics::Metrics;
use wechat_im_bridge::internals::model::{Direction, ImUserId, MessageKind, Move, OpenId, OutboundCall};
use wechat_im_bridge::internals::sandbox::wechat::crypto;
use wechat_im_bridge::internals::store::{
    Customer, NewMessage, Settlement, Store, StoreError, StoreLocation, Tx,
};

use super::customers::openid;
use super::measure::unix_s;
use super::sink::Sink;

const TOKEN: &str = "BridgeToken2024";

pub struct Target {
    address: SocketAddr,
    operations: Option<SocketAddr>,
    child: Child,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    pub async fn bridge(sink: &Sink, settings: &[(&str, &str)]) -> Self {
        Self::bridge_in(tempfile::tempdir_in(base_folder()).unwrap(), sink, settings).await
    }

    pub async fn bridge_in(folder: tempfile::TempDir, sink: &Sink, settings: &[(&str, &str)]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_wechat-im-bridge")), folder, sink, settings).await
    }

    /// Starts it with a limit of open files that it cannot raise.
    pub async fn bridge_with_open_files(sink: &Sink, open_files: u64) -> Self {
        let mut command = Command::new("sh");
        let run = format!("ulimit -n {open_files} && exec \"$@\"");
        command.args(["-c", &run, "sh", env!("CARGO_BIN_EXE_wechat-im-bridge")]);
        Self::start(command, tempfile::tempdir_in(base_folder()).unwrap(), sink, &[]).await
    }

    async fn start(
        mut command: Command,
        folder: tempfile::TempDir,
        sink: &Sink,
        settings: &[(&str, &str)],
    ) -> Self {
        let config = folder.path().join("config.toml");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n[wechat]\ntoken = \"{TOKEN}\"\n\
             [im]\nsdk_app_id = 1400000000\nsecret_key = \"{}\"\napi_base = \"{}\"\n[store]\nurl = \"sqlite://{}\"\n\
             [log]\nlevel = \"wechat_im_bridge::app=info\"\n",
            "0".repeat(64),
            sink.base,
            folder.path().join("bridge.db").display()
        );
        std::fs::write(&config, text).unwrap();
        command.arg("serve").arg("--config").arg(&config).envs(settings.iter().copied());
        let target = Self::spawn(command, Some(folder)).await;
        let answer = wechat_im_bridge::internals::http_client::get(format!(
            "http://{}{}",
            target.address,
            Self::get_path()
        ))
        .await
        .unwrap();
        assert_eq!(answer.text().await.unwrap(), "5577006791947779410");
        target
    }

    pub async fn bare() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("bare-server");
        Self::spawn(command, None).await
    }

    async fn spawn(mut command: Command, folder: Option<tempfile::TempDir>) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (addresses, lines) = tokio::task::spawn_blocking(move || {
            let line = lines
                .find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on ")))
                .unwrap()
                .unwrap();
            let rest = line.split("listening on ").nth(1).unwrap();
            let address = |text: &str| text.split([',', ' ']).next().unwrap().parse::<SocketAddr>().unwrap();
            let operations = rest.split("operations on ").nth(1).map(address);
            ((address(rest), operations), lines)
        })
        .await
        .unwrap();
        // Drain the rest of the log, or a full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        let (address, operations) = addresses;
        Self { address, operations, child, _folder: folder }
    }

    /// Stops it in order.
    pub fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A path with a query that is signed now.
    pub fn signed_path() -> String {
        let (timestamp, nonce) = (unix_s().to_string(), "987654321");
        let signature = crypto::sign(&[TOKEN, &timestamp, nonce]);
        format!("/?signature={signature}&timestamp={timestamp}&nonce={nonce}")
    }

    fn get_path() -> String {
        format!("{}&echostr=5577006791947779410", Self::signed_path())
    }

    pub fn get_request() -> String {
        format!("GET {} HTTP/1.1\r\nhost: bench\r\n\r\n", Self::get_path())
    }

    /// Resident memory, in whole megabytes.
    pub fn resident_mb(&self) -> u64 {
        self.status_mb("VmRSS:")
    }

    /// The most resident memory so far, in whole megabytes.
    pub fn most_resident_mb(&self) -> u64 {
        self.status_mb("VmHWM:")
    }

    /// CPU time, user and system, what it wrote to the disk (the log of the store and its pages), and what it asked of
    /// the store. On SQLite each commit is one sync, and the checkpoints that follow are two each.
    pub fn used(&self) -> Used {
        let process = format!("/proc/{}", self.child.id());
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
        // The name of the program, in brackets, may contain spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
        let io = std::fs::read_to_string(format!("{process}/io")).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        // A tick of the kernel's accounts is 10 ms on every Linux.
        let metrics = self.metrics();
        let metric = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map_or(0.0, |value| value.parse().unwrap())
        };
        Used {
            cpu_ms: ticks * 10.0,
            written_pages: written.parse::<f64>().unwrap() / 4096.0,
            commits: metric("wechat_im_bridge_commit_seconds_count"),
            statements: metric("wechat_im_bridge_store_statements_total"),
            trips: metric("wechat_im_bridge_store_trips_total"),
        }
    }

    /// Waits until it owns between `least` and `most` of the shards.
    pub async fn until_it_owns(&self, least: u32, most: u32) {
        let owned = || {
            let metrics = self.metrics();
            let line = metrics.lines().find_map(|line| line.strip_prefix("wechat_im_bridge_shards_owned "));
            line.map_or(0, |owned| owned.parse().unwrap())
        };
        while !(least..=most).contains(&owned()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// What the bridge counts.
    fn metrics(&self) -> String {
        let Some(operations) = self.operations else { return String::new() };
        let mut stream = TcpStream::connect(operations).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {operations}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn status_mb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

/// What a server has used so far.
#[derive(Clone, Copy)]
pub struct Used {
    cpu_ms: f64,
    written_pages: f64,
    commits: f64,
    statements: f64,
    trips: f64,
}

impl Used {
    /// What it used since `earlier` for each of `count` messages.
    pub fn per_message(self, earlier: Self, count: usize) -> String {
        let of = |now: f64, earlier: f64| (now - earlier) / count as f64;
        format!(
            "{:.3} ms of CPU, {:.2} pages of 4 KB written, {:.3} commits, {:.2} statements, {:.3} trips",
            of(self.cpu_ms, earlier.cpu_ms),
            of(self.written_pages, earlier.written_pages),
            of(self.commits, earlier.commits),
            of(self.statements, earlier.statements),
            of(self.trips, earlier.trips)
        )
    }
}

/// Reads each body and answers `success`.
pub fn bare_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        #[expect(clippy::print_stderr, reason = "the bridge's own log goes there too")]
        {
            eprintln!("listening on {}", listener.local_addr().unwrap());
        }
        let router = Router::new().route("/", post(|_: Bytes| async { "success" }));
        axum::serve(listener, router).await.unwrap();
    });
}

/// A folder on a real disk: the system's temporary folder is often in memory.
fn base_folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder with a store of `customers` customers and `stored` delivered messages of theirs, one customer after the
/// other, the last of them a day ago.
pub async fn folder_with_messages(customers: u64, stored: u64) -> tempfile::TempDir {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let folder = tempfile::tempdir_in(base_folder()).unwrap();
    let place = StoreLocation::File(folder.path().join("bridge.db"));
    let clock = Clock::movable();
    clock.advance(-DAY_MS);
    let (store, closing) = Store::open(&place, clock, Metrics::default()).unwrap();
    for chunk in 0..stored / 1_000 {
        store
            .write(move |tx| {
                for nth in chunk * 1_000..(chunk + 1) * 1_000 {
                    store_message(tx, OpenId::new(openid(nth % customers)).unwrap(), nth)?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }
    drop(store);
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    folder
}

/// Stores a delivered message of a customer who is met for the first time or again.
fn store_message(tx: &Tx<'_>, openid: OpenId, nth: u64) -> Result<(), StoreError> {
    let agent = ImUserId::new("user1").ok();
    let customer = tx.customer(&openid)?.unwrap_or_else(|| Customer::new(openid.clone()));
    let number = customer.next_seq;
    tx.put_customer(&Customer {
        imported: true,
        agent: agent.clone(),
        active_at: tx.now(),
        next_seq: number + 1,
        ..customer
    })?;
    let source = format!("m:{}:{openid}:gh_bridge000001", 14_300_000_000_000_000 + nth);
    tx.record_dedup(&source, Some("Transferring you to a customer service agent, please wait."))?;
    let id = tx.add(&NewMessage {
        direction: Direction::ToIm,
        kind: MessageKind::Message,
        openid,
        agent,
        calls: vec![OutboundCall::TextToAgent("is this in stock, in size M or L or XL?".repeat(3))],
        msg_seq: number,
        msg_random: 1,
        source,
        erase: false,
    })?;
    let pending = tx.pending_call(id)?;
    tx.record_attempt(&pending)?;
    let delivered = Settlement { took_ms: Some(20), ..Settlement::default() };
    tx.settle(id, Move::Deliver, &delivered).map(|_| ())
}
