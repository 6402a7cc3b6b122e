//! Runs the bridge as a supervised child process. The supervisor starts it from a configuration
//! file, waits until it is ready, kills it on request, restarts it when it dies, and never leaves
//! it behind.
//!
//! The bridge ends when its standard input closes, which also happens when this process is killed.
//! This module knows the bridge only by its configuration and its addresses.

mod addresses;
mod ops;
mod status;
mod supervisor;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::stores::{MAIN_STORE, Stores};
pub use addresses::Addresses;
pub use ops::fetch_ops_snapshot;
pub use status::{State, Status};
use supervisor::Supervisor;

/// How long the bridge may take to become ready, with room for a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// Add these lines to the configuration, in place of those that were added before.
    Configure(String, Apply, oneshot::Sender<Result<Duration, ChildError>>),
    /// Shut down and remove the folder.
    Stop(oneshot::Sender<()>),
}

/// How the bridge gets a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// It is shut down and started with it.
    Restart,
    /// SIGHUP tells it to read the file again.
    Reload,
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
            added_config: String::new(),
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

    /// Gives the bridge these further lines of configuration instead of those that it got here before. Returns how long a
    /// new process took to become ready.
    pub async fn configure(&self, lines: &str, apply: Apply) -> Result<Duration, ChildError> {
        let lines = lines.to_owned();
        self.send_command(|reply_tx| SupervisorCommand::Configure(lines, apply, reply_tx)).await
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
