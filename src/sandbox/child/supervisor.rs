//! The task that owns the bridge's process: it starts, kills, pauses and restarts it on command, and restarts it when it
//! dies.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{Addresses, Apply, ChildError, START_TIMEOUT, Settings, State, Status, SupervisorCommand};

/// How long the bridge may take to shut down before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// The interval at which a starting bridge is asked whether it is ready.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The delay before the bridge is restarted after it died by itself or could not be started.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// The prefix of environment variables that change the bridge's settings.
const SETTING_PREFIX: &str = "BRIDGE_";

pub(super) struct Supervisor {
    pub settings: Settings,
    pub folder: TempDir,
    pub status_tx: watch::Sender<Status>,
    pub process: Option<Process>,
    /// The bridge runs as long as this is open. It is kept apart from `process`, because waiting
    /// for a process closes the process's own stdin.
    pub stdin: Option<ChildStdin>,
    /// The bridge was killed and must not be restarted.
    pub stays_dead: bool,
    /// What [`super::Child::configure`] added to the configuration.
    pub added_config: String,
    pub http: reqwest::Client,
}

impl Supervisor {
    /// Runs until it is told to stop, or until its handle is dropped.
    pub async fn run(mut self, mut command_rx: mpsc::Receiver<SupervisorCommand>) {
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
            SupervisorCommand::Configure(lines, apply, answer) => {
                self.added_config = lines;
                (answer, self.apply_config(apply).await)
            }
        };
        // Sending fails only if the caller no longer waits.
        let _ = reply_tx.send(result);
    }

    async fn apply_config(&mut self, apply: Apply) -> Result<Duration, ChildError> {
        match apply {
            Apply::Restart => {
                self.shut_down().await;
                self.restart().await
            }
            Apply::Reload => {
                self.write_config().await?;
                self.signal(Signal::HUP)?;
                Ok(Duration::ZERO)
            }
        }
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
    pub async fn start_with_retries(&mut self) -> Result<Duration, ChildError> {
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

    /// Writes the configuration file, and returns its path.
    async fn write_config(&self) -> io::Result<PathBuf> {
        let Status { addresses, store, .. } = *self.status_tx.borrow();
        let file = self.folder.path().join("config.toml");
        let store = self.settings.stores.url(self.folder.path(), store).ok_or(io::ErrorKind::NotFound)?;
        let config = (self.settings.config)(addresses, &store);
        tokio::fs::write(&file, format!("{config}{}", self.added_config)).await?;
        Ok(file)
    }

    async fn spawn(&self) -> io::Result<Process> {
        let file = self.write_config().await?;
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
