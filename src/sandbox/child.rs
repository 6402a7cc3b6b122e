//! Runs the bridge as a supervised child process. The supervisor starts it from a configuration
//! file, waits until it is ready, kills it on request, restarts it when it dies, and never leaves
//! it behind.
//!
//! The bridge ends when its standard input closes, which also happens when this process is killed.
//! This module knows the bridge only by its configuration and its addresses.

mod addresses;
mod ops;
mod status;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::stores::{MAIN_STORE, Stores};
pub use addresses::Addresses;
pub use ops::fetch_ops_snapshot;
pub use status::{State, Status};

/// How long the bridge may take to become ready, with room for a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the bridge may take to shut down before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// The interval at which a starting bridge is asked whether it is ready.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The delay before the bridge is restarted after it died by itself or could not be started.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// The prefix of environment variables that change the bridge's settings.
const SETTING_PREFIX: &str = "BRIDGE_";

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
    /// The URLs of its stores.
    pub stores: Stores,
    /// Called with the addresses before the first start and before each start at other addresses.
    pub on_move: Box<dyn Fn(Addresses) + Send + Sync>,
}

/// A command to the child process failed.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The folder or the process could not be created.
    #[error("cannot create the bridge's folder or process")]
    Io(#[from] io::Error),
    /// The bridge did not become ready in time, or it died before.
    #[error("the bridge did not become ready within {START_TIMEOUT:?}; its log is on stderr")]
    NotReady,
    /// The supervisor has ended.
    #[error("the bridge has been stopped")]
    Stopped,
}

/// A command to the supervisor. Each holds the channel for the result.
enum SupervisorCommand {
    /// Send SIGKILL and restart on the same store.
    Kill(oneshot::Sender<Result<Duration, ChildError>>),
    /// Send SIGKILL and do not restart.
    KeepDead(oneshot::Sender<Result<Duration, ChildError>>),
    /// Start after `KeepDead`.
    Revive(oneshot::Sender<Result<Duration, ChildError>>),
    /// Send SIGSTOP.
    Pause(oneshot::Sender<Result<Duration, ChildError>>),
    /// Send SIGCONT.
    Resume(oneshot::Sender<Result<Duration, ChildError>>),
    /// Shut down and start on the store of this name.
    ChangeStore(&'static str, oneshot::Sender<Result<Duration, ChildError>>),
    /// Shut down and remove the folder.
    Stop(oneshot::Sender<()>),
}

/// The handle of the supervised bridge. The process ends when the handle is dropped.
pub struct Child {
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<SupervisorCommand>,
    folder: PathBuf,
}

impl Child {
    /// Creates a folder that only this user can read, starts the bridge on a store in it, and waits
    /// until the bridge is ready.
    pub async fn start(settings: Settings) -> Result<Self, ChildError> {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix("wechat-im-bridge-sandbox-").permissions(private).tempdir()?;
        let addresses = Addresses::free()?;
        let status = Status { state: State::Starting, addresses, restarts: 0, store: MAIN_STORE };
        let (status_tx, status_rx) = watch::channel(status);
        let (commands, command_rx) = mpsc::channel(1);
        let path = folder.path().to_owned();
        let mut supervisor = Supervisor {
            http: crate::http_client::loopback().build().map_err(io::Error::other)?,
            settings,
            folder,
            status_tx,
            process: None,
            stdin: None,
            stays_dead: false,
        };
        (supervisor.settings.on_move)(addresses);
        supervisor.start_with_retries().await?;
        tokio::spawn(supervisor.run(command_rx));
        Ok(Self { status: status_rx, commands, folder: path })
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
    pub async fn kill(&self) -> Result<Duration, ChildError> {
        self.send_command(SupervisorCommand::Kill).await
    }

    /// Shuts the bridge down and starts it on another store of the same folder. Returns how long
    /// the new process took to become ready.
    pub async fn change_store(&self, name: &'static str) -> Result<Duration, ChildError> {
        self.send_command(|reply_tx| SupervisorCommand::ChangeStore(name, reply_tx)).await
    }

    /// Kills the bridge with SIGKILL. It stays dead until [`Self::revive`].
    pub async fn keep_dead(&self) -> Result<(), ChildError> {
        self.send_command(SupervisorCommand::KeepDead).await.map(drop)
    }

    /// Starts the bridge again after [`Self::keep_dead`]; otherwise does nothing.
    pub async fn revive(&self) -> Result<(), ChildError> {
        self.send_command(SupervisorCommand::Revive).await.map(drop)
    }

    /// Stops the bridge with SIGSTOP until [`Self::resume`].
    pub async fn pause(&self) -> Result<(), ChildError> {
        self.send_command(SupervisorCommand::Pause).await.map(drop)
    }

    /// Lets the bridge go on with SIGCONT; does nothing if it is not paused.
    pub async fn resume(&self) -> Result<(), ChildError> {
        self.send_command(SupervisorCommand::Resume).await.map(drop)
    }

    /// Shuts the bridge down and starts it on the same store. Returns how long the new process took to become ready.
    pub async fn restart(&self) -> Result<Duration, ChildError> {
        self.change_store(self.store()).await
    }

    async fn send_command(
        &self,
        make_command: impl FnOnce(oneshot::Sender<Result<Duration, ChildError>>) -> SupervisorCommand,
    ) -> Result<Duration, ChildError> {
        let (reply_tx, reply_rx) = oneshot::channel();
        self.commands.send(make_command(reply_tx)).await.map_err(|_| ChildError::Stopped)?;
        reply_rx.await.map_err(|_| ChildError::Stopped)?
    }

    /// Shuts the bridge down, kills it if that takes too long, and removes its folder.
    pub async fn stop(&self) {
        let (reply_tx, reply_rx) = oneshot::channel();
        // Sending fails only if the supervisor has already ended.
        if self.commands.send(SupervisorCommand::Stop(reply_tx)).await.is_ok() {
            let _ = reply_rx.await;
        }
    }
}

struct Supervisor {
    settings: Settings,
    folder: TempDir,
    status_tx: watch::Sender<Status>,
    process: Option<Process>,
    /// The bridge runs as long as this is open. It is kept apart from `process`, because waiting
    /// for a process closes the process's own stdin.
    stdin: Option<ChildStdin>,
    /// The bridge was killed and must not be restarted.
    stays_dead: bool,
    http: reqwest::Client,
}

impl Supervisor {
    async fn run(mut self, mut command_rx: mpsc::Receiver<SupervisorCommand>) {
        loop {
            let Some(process) = &mut self.process else {
                // No process is running. Wait before the restart, but accept commands meanwhile.
                let command = tokio::time::timeout(RESTART_DELAY, command_rx.recv()).await;
                match command {
                    Ok(None) => return,
                    Ok(Some(SupervisorCommand::Stop(answer))) => return self.finish(answer),
                    Ok(Some(command)) => self.execute(command).await,
                    Err(_) if self.stays_dead => {}
                    Err(_) => {
                        let _ = self.restart().await;
                    }
                }
                continue;
            };
            tokio::select! {
                _ = process.wait() => {
                    self.process = None;
                    self.set_state(State::Dead);
                }
                command = command_rx.recv() => match command {
                    Some(SupervisorCommand::Stop(answer)) => {
                        self.shut_down().await;
                        return self.finish(answer);
                    }
                    Some(command) => self.execute(command).await,
                    None => return self.shut_down().await,
                },
            }
        }
    }

    /// Removes the folder before it confirms the stop.
    fn finish(self, reply_tx: oneshot::Sender<()>) {
        self.set_state(State::Dead);
        drop(self.folder);
        // Sending fails only if the caller no longer waits.
        let _ = reply_tx.send(());
    }

    async fn execute(&mut self, command: SupervisorCommand) {
        let (reply_tx, result) = match command {
            SupervisorCommand::Stop(_) => return,
            SupervisorCommand::Kill(answer) => {
                self.kill().await;
                (answer, self.restart().await)
            }
            SupervisorCommand::KeepDead(answer) => {
                self.kill().await;
                self.stays_dead = true;
                (answer, Ok(Duration::ZERO))
            }
            SupervisorCommand::Revive(answer) => {
                let was_dead = std::mem::take(&mut self.stays_dead);
                (answer, if was_dead { self.restart().await } else { Ok(Duration::ZERO) })
            }
            SupervisorCommand::Pause(answer) => (answer, self.pause()),
            SupervisorCommand::Resume(answer) => (answer, self.resume()),
            SupervisorCommand::ChangeStore(name, answer) => {
                self.shut_down().await;
                self.status_tx.send_modify(|status| status.store = name);
                (answer, self.restart().await)
            }
        };
        // Sending fails only if the caller no longer waits.
        let _ = reply_tx.send(result);
    }

    async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Killing fails only if the process has died meanwhile.
            let _ = process.kill().await;
        }
        self.set_state(State::Dead);
    }

    fn pause(&self) -> Result<Duration, ChildError> {
        let State::Running { pid, startup_time } = self.status_tx.borrow().state else {
            return Err(ChildError::NotReady);
        };
        self.signal(Signal::STOP)?;
        self.set_state(State::Paused { pid, startup_time });
        Ok(Duration::ZERO)
    }

    fn resume(&self) -> Result<Duration, ChildError> {
        let State::Paused { pid, startup_time } = self.status_tx.borrow().state else {
            return Ok(Duration::ZERO);
        };
        self.signal(Signal::CONT)?;
        self.set_state(State::Running { pid, startup_time });
        Ok(Duration::ZERO)
    }

    /// Sends a signal to the process. The process is not reaped before this returns, so the id is still its own.
    fn signal(&self, signal: Signal) -> Result<(), ChildError> {
        let id =
            self.process.as_ref().and_then(Process::id).and_then(|id| Pid::from_raw(id.try_into().ok()?));
        rustix::process::kill_process(id.ok_or(ChildError::NotReady)?, signal).map_err(io::Error::from)?;
        Ok(())
    }

    async fn restart(&mut self) -> Result<Duration, ChildError> {
        self.status_tx.send_modify(|status| status.restarts += 1);
        self.start_with_retries().await
    }

    /// Starts the bridge, in up to three attempts. After a failure it picks other addresses,
    /// because the old ones may be taken.
    async fn start_with_retries(&mut self) -> Result<Duration, ChildError> {
        for tries_left in (0..3).rev() {
            let began = Instant::now();
            self.set_state(State::Starting);
            match self.start_once(began).await {
                Ok(startup_time) => return Ok(startup_time),
                Err(error) if tries_left == 0 => {
                    self.set_state(State::Dead);
                    return Err(error);
                }
                Err(_) => {
                    let addresses = Addresses::free()?;
                    self.status_tx.send_modify(|status| status.addresses = addresses);
                    (self.settings.on_move)(addresses);
                }
            }
        }
        Err(ChildError::NotReady)
    }

    async fn start_once(&mut self, began: Instant) -> Result<Duration, ChildError> {
        let mut process = self.spawn().await?;
        self.stdin = process.stdin.take();
        let url = format!("http://{}/readyz", self.status_tx.borrow().addresses.ops);
        let ready = async {
            while !self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
                tokio::time::sleep(READY_POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            ready = tokio::time::timeout(START_TIMEOUT, ready) => ready.map_err(|_| ChildError::NotReady)?,
            _ = process.wait() => return Err(ChildError::NotReady),
        }
        let startup_time = began.elapsed();
        let pid = process.id().ok_or(ChildError::NotReady)?;
        self.process = Some(process);
        self.set_state(State::Running { pid, startup_time });
        Ok(startup_time)
    }

    async fn spawn(&self) -> io::Result<Process> {
        let Status { addresses, store, .. } = *self.status_tx.borrow();
        let file = self.folder.path().join("config.toml");
        let store = self.settings.stores.url(self.folder.path(), store).ok_or(io::ErrorKind::NotFound)?;
        tokio::fs::write(&file, (self.settings.config)(addresses, &store)).await?;
        let mut command = Command::new(&self.settings.program);
        command.args(["serve", "--while-stdin", "--config"]).arg(&file).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(SETTING_PREFIX) {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn()
    }

    /// Shuts the process down. Kills it if that takes too long.
    async fn shut_down(&mut self) {
        // A paused process could not shut down.
        let _ = self.resume();
        let Some(mut process) = self.process.take() else { return };
        self.stdin = None;
        if tokio::time::timeout(STOP_TIMEOUT, process.wait()).await.is_err() {
            let _ = process.kill().await;
        }
    }

    fn set_state(&self, state: State) {
        self.status_tx.send_modify(|status| status.state = state);
    }
}
