//! The bridge as a process of its own, supervised: started from a configuration file, waited for, killed on purpose,
//! started again when it dies, and never left behind.
//!
//! It ends when its standard input closes, which happens also when this process is killed. It is known by its
//! configuration and its addresses alone.

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

/// How long the bridge may take until it is ready, on a loaded machine.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end in order before it is killed.
const GRACE: Duration = Duration::from_secs(8);
/// How often a starting bridge is asked whether it is ready.
const ASK: Duration = Duration::from_millis(20);
/// A bridge that died by itself is started again after this.
const PAUSE: Duration = Duration::from_millis(500);
/// Ports below those that the system hands out by itself, so that no client's socket takes a dead bridge's port.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Variables that begin so would change the bridge's settings.
const SETTING: &str = "BRIDGE_";

/// Writes the configuration of a bridge at these addresses, with a store at this URL.
pub type Configure = Box<dyn Fn(Addresses, &str) -> String + Send + Sync>;

/// What is needed to start a bridge.
pub struct Settings {
    /// The binary.
    pub program: PathBuf,
    /// Variables that it gets; no other `BRIDGE_*` variable of this process reaches it.
    pub environment: Vec<(String, String)>,
    /// Its configuration.
    pub config: Configure,
    /// Told each time before it is started at other addresses.
    pub moved: Box<dyn Fn(Addresses) + Send + Sync>,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub public: SocketAddr,
    pub ops: SocketAddr,
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    /// It answered that it is ready, this long after its start.
    Running {
        pid: u32,
        after: Duration,
    },
    Dead,
}

/// What may be looked at from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    pub addresses: Addresses,
    /// How often it was started again.
    pub restarts: u32,
    /// The store that it works on.
    pub store: &'static str,
}

/// The bridge did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("the bridge's folder or process cannot be made")]
    Io(#[from] io::Error),
    #[error("the bridge did not become ready within {START:?}; its log is on stderr")]
    NotReady,
    #[error("the bridge has been stopped")]
    Stopped,
}

enum Order {
    /// SIGKILL, and start again on the same store.
    Kill(oneshot::Sender<Result<Duration, Failed>>),
    /// End in order, and start on the store of this name.
    Store(&'static str, oneshot::Sender<Result<Duration, Failed>>),
    /// End in order, and remove the folder.
    End(oneshot::Sender<()>),
}

/// The handle of the supervised bridge; when it is dropped the process ends.
pub struct Child {
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Order>,
    folder: PathBuf,
}

/// The store that the bridge starts on.
pub const MAIN_STORE: &str = "bridge";

impl Child {
    /// Starts the bridge on a store in a folder of its own, which only this user can read, and waits until it is ready.
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

    /// Where the process stands; changes can be waited for.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The name of the store that it works on.
    pub fn store(&self) -> &'static str {
        self.status.borrow().store
    }

    /// The folder of its store; gone once it has been stopped.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// `kill -9`, and a start on the same store. How long the new process took until it was ready.
    pub async fn kill(&self) -> Result<Duration, Failed> {
        self.order(Order::Kill).await
    }

    /// Ends the bridge in order and starts it on another store of the same folder. How long that start took.
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

    /// Ends the bridge in order, kills it if that takes too long, and removes its folder.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        // Where nobody takes the order, it has ended already.
        if self.orders.send(Order::End(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

impl Addresses {
    /// Two that are free now.
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
    /// Open as long as the bridge is to run; held here, since waiting for a process closes its own.
    stdin: Option<ChildStdin>,
    http: reqwest::Client,
}

impl Supervisor {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let Some(process) = &mut self.process else {
                // Also while it cannot be started, an order or the end must not wait.
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

    /// Nothing is left when the answer comes.
    fn close(self, answer: oneshot::Sender<()>) {
        self.tell(State::Dead);
        drop(self.folder);
        // Whoever ordered it may have gone.
        let _ = answer.send(());
    }

    async fn obey(&mut self, order: Order) {
        let (answer, started) = match order {
            Order::End(_) => return,
            Order::Kill(answer) => {
                if let Some(mut process) = self.process.take() {
                    // It may have died by itself meanwhile.
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
        // Whoever ordered it may have gone.
        let _ = answer.send(started);
    }

    async fn start_again(&mut self) -> Result<Duration, Failed> {
        self.told.send_modify(|status| status.restarts += 1);
        self.bring_up().await
    }

    /// Starts it; at other addresses if those that it had are taken.
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

    /// Ends it in order; kills it if that takes too long.
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

/// What the running bridge says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `ok`, `degraded` or `unavailable`; nothing where it does not answer.
    pub ready: Option<String>,
    /// The text of `/metrics`.
    pub metrics: Option<String>,
}

/// Asks the bridge's operations listener; each answer is waited for a second at most.
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
