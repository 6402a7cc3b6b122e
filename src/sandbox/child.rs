//! Runs the bridge as a supervised child process. The supervisor starts it from a configuration
//! file, waits until it is ready, kills it on request, restarts it when it dies, and never leaves
//! it behind.
//!
//! The bridge ends when its standard input closes, which also happens when this process is killed.
//! This module knows the bridge only by its configuration and its addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long the bridge may take to become ready, with room for a loaded machine.
const START: Duration = Duration::from_secs(20);
/// How long the bridge may take to shut down before it is killed.
const GRACE: Duration = Duration::from_secs(8);
/// The interval at which a starting bridge is asked whether it is ready.
const ASK: Duration = Duration::from_millis(20);
/// The delay before the bridge is restarted after it died by itself or could not be started.
const PAUSE: Duration = Duration::from_millis(500);
/// The ports for the bridge. They lie below the system's ephemeral ports, so that no client socket
/// takes the port of a dead bridge.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// The prefix of environment variables that change the bridge's settings.
const SETTING: &str = "BRIDGE_";

/// Writes the configuration of a bridge with these addresses and this store URL.
pub type Configure = Box<dyn Fn(Addresses, &str) -> String + Send + Sync>;

/// The settings of the child process.
pub struct Settings {
    /// The bridge's binary.
    pub program: PathBuf,
    /// Environment variables for the bridge. It inherits no other `BRIDGE_*` variable of this
    /// process.
    pub environment: Vec<(String, String)>,
    /// Writes the configuration file.
    pub config: Configure,
    /// Called with the addresses before the first start and before each start at other addresses.
    pub moved: Box<dyn Fn(Addresses) + Send + Sync>,
}

/// The bridge's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The public listener.
    pub public: SocketAddr,
    /// The operations listener.
    pub ops: SocketAddr,
}

/// The state of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process was started and is not ready yet.
    Starting,
    /// The process is ready.
    Running {
        /// The process id.
        pid: u32,
        /// The time from its start until it was ready.
        after: Duration,
    },
    /// No process is running.
    Dead,
}

/// The published status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state of the process.
    pub state: State,
    /// The bridge's listeners.
    pub addresses: Addresses,
    /// The number of restarts.
    pub restarts: u32,
    /// The name of the current store.
    pub store: &'static str,
}

/// A command to the child process failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The folder or the process could not be created.
    #[error("cannot create the bridge's folder or process")]
    Io(#[from] io::Error),
    /// The bridge did not become ready in time, or it died before.
    #[error("the bridge did not become ready within {START:?}; its log is on stderr")]
    NotReady,
    /// The supervisor has ended.
    #[error("the bridge has been stopped")]
    Stopped,
}

/// A command to the supervisor. Each holds the channel for the result.
enum Order {
    /// Send SIGKILL and restart on the same store.
    Kill(oneshot::Sender<Result<Duration, Failed>>),
    /// Shut down and start on the store of this name.
    Store(&'static str, oneshot::Sender<Result<Duration, Failed>>),
    /// Shut down and remove the folder.
    End(oneshot::Sender<()>),
}

/// The handle of the supervised bridge. The process ends when the handle is dropped.
pub struct Child {
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Order>,
    folder: PathBuf,
}

/// The name of the store on which the bridge starts.
pub const MAIN_STORE: &str = "bridge";

impl Child {
    /// Creates a folder that only this user can read, starts the bridge on a store in it, and waits
    /// until the bridge is ready.
    pub async fn start(settings: Settings) -> Result<Self, Failed> {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix("wechat-im-bridge-sandbox-").permissions(private).tempdir()?;
        let addresses = Addresses::free()?;
        let status = Status { state: State::Starting, addresses, restarts: 0, store: MAIN_STORE };
        let (told, watched) = watch::channel(status);
        let (orders, ordered) = mpsc::channel(1);
        let path = folder.path().to_owned();
        let mut supervisor = Supervisor {
            http: reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?,
            settings,
            folder,
            told,
            process: None,
            stdin: None,
        };
        (supervisor.settings.moved)(addresses);
        supervisor.bring_up().await?;
        tokio::spawn(supervisor.run(ordered));
        Ok(Self { status: watched, orders, folder: path })
    }

    /// Subscribes to the status of the process.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The name of the current store.
    pub fn store(&self) -> &'static str {
        self.status.borrow().store
    }

    /// The folder of the store. [`Child::stop`] removes it.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Kills the bridge with SIGKILL and restarts it on the same store. Returns how long the new
    /// process took to become ready.
    pub async fn kill(&self) -> Result<Duration, Failed> {
        self.order(Order::Kill).await
    }

    /// Shuts the bridge down and starts it on another store of the same folder. Returns how long
    /// the new process took to become ready.
    pub async fn change_store(&self, name: &'static str) -> Result<Duration, Failed> {
        self.order(|answer| Order::Store(name, answer)).await
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<Duration, Failed>>) -> Order,
    ) -> Result<Duration, Failed> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| Failed::Stopped)?;
        answered.await.map_err(|_| Failed::Stopped)?
    }

    /// Shuts the bridge down, kills it if that takes too long, and removes its folder.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        // Sending fails only if the supervisor has already ended.
        if self.orders.send(Order::End(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

impl Addresses {
    /// Picks two addresses that are free now.
    fn free() -> io::Result<Self> {
        let listeners = [Self::listener()?, Self::listener()?];
        Ok(Self { public: listeners[0].local_addr()?, ops: listeners[1].local_addr()? })
    }

    fn listener() -> io::Result<TcpListener> {
        let mut tries = 0;
        loop {
            let port = rand::rng().random_range(PORTS);
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Err(error) if tries == 100 => return Err(error),
                Err(_) => tries += 1,
                listener => return listener,
            }
        }
    }
}

struct Supervisor {
    settings: Settings,
    folder: TempDir,
    told: watch::Sender<Status>,
    process: Option<Process>,
    /// The bridge runs as long as this is open. It is kept apart from `process`, because waiting
    /// for a process closes the process's own stdin.
    stdin: Option<ChildStdin>,
    http: reqwest::Client,
}

impl Supervisor {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let Some(process) = &mut self.process else {
                // No process is running. Wait before the restart, but accept commands meanwhile.
                let order = tokio::time::timeout(PAUSE, orders.recv()).await;
                match order {
                    Ok(None) => return,
                    Ok(Some(Order::End(answer))) => return self.close(answer),
                    Ok(Some(order)) => self.obey(order).await,
                    Err(_) => {
                        let _ = self.start_again().await;
                    }
                }
                continue;
            };
            tokio::select! {
                _ = process.wait() => {
                    self.process = None;
                    self.tell(State::Dead);
                }
                order = orders.recv() => match order {
                    Some(Order::End(answer)) => {
                        self.end().await;
                        return self.close(answer);
                    }
                    Some(order) => self.obey(order).await,
                    None => return self.end().await,
                },
            }
        }
    }

    /// Removes the folder before it confirms the stop.
    fn close(self, answer: oneshot::Sender<()>) {
        self.tell(State::Dead);
        drop(self.folder);
        // Sending fails only if the caller no longer waits.
        let _ = answer.send(());
    }

    async fn obey(&mut self, order: Order) {
        let (answer, started) = match order {
            Order::End(_) => return,
            Order::Kill(answer) => {
                if let Some(mut process) = self.process.take() {
                    // Killing fails only if the process has died meanwhile.
                    let _ = process.kill().await;
                }
                self.tell(State::Dead);
                (answer, self.start_again().await)
            }
            Order::Store(name, answer) => {
                self.end().await;
                self.told.send_modify(|status| status.store = name);
                (answer, self.start_again().await)
            }
        };
        // Sending fails only if the caller no longer waits.
        let _ = answer.send(started);
    }

    async fn start_again(&mut self) -> Result<Duration, Failed> {
        self.told.send_modify(|status| status.restarts += 1);
        self.bring_up().await
    }

    /// Starts the bridge, in up to three attempts. After a failure it picks other addresses,
    /// because the old ones may be taken.
    async fn bring_up(&mut self) -> Result<Duration, Failed> {
        for tries_left in (0..3).rev() {
            let began = Instant::now();
            self.tell(State::Starting);
            match self.start_once(began).await {
                Ok(after) => return Ok(after),
                Err(error) if tries_left == 0 => {
                    self.tell(State::Dead);
                    return Err(error);
                }
                Err(_) => {
                    let addresses = Addresses::free()?;
                    self.told.send_modify(|status| status.addresses = addresses);
                    (self.settings.moved)(addresses);
                }
            }
        }
        Err(Failed::NotReady)
    }

    async fn start_once(&mut self, began: Instant) -> Result<Duration, Failed> {
        let mut process = self.spawn().await?;
        self.stdin = process.stdin.take();
        let url = format!("http://{}/readyz", self.told.borrow().addresses.ops);
        let ready = async {
            while !self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::time::sleep(ASK).await;
            }
        };
        tokio::select! {
            ready = tokio::time::timeout(START, ready) => ready.map_err(|_| Failed::NotReady)?,
            _ = process.wait() => return Err(Failed::NotReady),
        }
        let after = began.elapsed();
        let pid = process.id().ok_or(Failed::NotReady)?;
        self.process = Some(process);
        self.tell(State::Running { pid, after });
        Ok(after)
    }

    async fn spawn(&self) -> io::Result<Process> {
        let Status { addresses, store, .. } = *self.told.borrow();
        let file = self.folder.path().join("config.toml");
        let store = format!("sqlite://{}", self.folder.path().join(store).with_extension("db").display());
        tokio::fs::write(&file, (self.settings.config)(addresses, &store)).await?;
        let mut command = Command::new(&self.settings.program);
        command.args(["serve", "--while-stdin", "--config"]).arg(&file).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(SETTING) {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn()
    }

    /// Shuts the process down. Kills it if that takes too long.
    async fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        self.stdin = None;
        if tokio::time::timeout(GRACE, process.wait()).await.is_err() {
            let _ = process.kill().await;
        }
    }

    fn tell(&self, state: State) {
        self.told.send_modify(|status| status.state = state);
    }
}

/// The answers of the bridge's operations listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The status from `/readyz`: `ok`, `degraded` or `unavailable`. `None` if it does not answer.
    pub ready: Option<String>,
    /// The text of `/metrics`. `None` if it does not answer.
    pub metrics: Option<String>,
}

/// Queries the bridge's operations listener. Waits at most one second for each answer.
pub async fn ask(http: &reqwest::Client, ops: SocketAddr) -> Said {
    let get = async |path: &str| {
        let request = http.get(format!("http://{ops}/{path}")).timeout(Duration::from_secs(1));
        request.send().await.ok()?.text().await.ok()
    };
    let ready = get("readyz").await.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    Said {
        ready: ready.and_then(|ready| ready["status"].as_str().map(str::to_owned)),
        metrics: get("metrics").await,
    }
}
