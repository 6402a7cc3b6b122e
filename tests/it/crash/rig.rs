//! A bridge as a child process between the simulated platforms. Its store outlives the process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::sandbox::im::{AgentClient, ImSim, Settings as ImSettings};
use wechat_im_bridge::internals::sandbox::wechat::{Phone, Settings as WechatSettings, WechatSim};

use super::moved_time::MovedTime;
use super::oracle::Stored;
use crate::child;
use crate::cluster::{self, Schema};
use crate::database::Database;
use crate::world::{CALLBACK_TOKEN, SDK_APP_ID, SECRET_KEY, eventually, openid};

/// The time within which the bridge works again after a crash, on a machine that is free.
pub const RECOVERY_TARGET: Duration = Duration::from_secs(2);
/// The time limit for an event that is due within seconds. It is long enough for a loaded machine.
pub const TIMEOUT: Duration = Duration::from_secs(45);

/// The time that a recovery may take now: 2 seconds, and as many times that as there are more processes that want to run
/// than cores.
pub fn recovery_limit() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let runnable: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    RECOVERY_TARGET.mul_f64((runnable / f64::from(u32::try_from(cores).unwrap())).max(1.0))
}

/// Waits until a process has exited by itself; kills it if it does not in time, and returns `None`.
pub async fn end_of(mut child: Child) -> Option<ExitStatus> {
    let mut status = None;
    eventually(TIMEOUT, async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    status
}

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// Returns a free port below the system's ephemeral ports, so that no client's socket takes the port of a
/// bridge that was killed.
pub fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % 20_000).unwrap();
    loop {
        let port = 10_000 + (start + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Limits the bridges that run at once in all tests, because more would slow each other down and distort the
/// figures.
static PERMITS: Semaphore = Semaphore::const_new(4);

pub struct Rig {
    pub wechat: WechatSim,
    pub im: Arc<ImSim>,
    /// `None`: the time is the system's.
    pub time: Option<MovedTime>,
    pub folder: TempDir,
    /// `None`: the store is in SQLite's file.
    schema: Option<Schema>,
    pub public: u16,
    pub ops: u16,
    environment: Vec<(&'static str, String)>,
    /// A shell script that starts the bridge with `exec "$@"`, and whether it runs in a mount namespace of
    /// its own. `$DIR` is the rig's folder.
    wrapper: Option<(&'static str, bool)>,
    child: Option<Child>,
    _permit: SemaphorePermit<'static>,
}

impl Rig {
    /// Starts the platforms and writes a configuration. The bridge does not run yet.
    pub async fn new() -> Self {
        Self::with_schema(cluster::is_chosen().then(cluster::empty_schema).flatten()).await
    }

    /// The same with a store in SQLite's file, whatever was chosen.
    pub async fn on_sqlite() -> Self {
        Self::with_schema(None).await
    }

    /// The same with a store in this schema.
    pub async fn with_schema(schema: Option<Schema>) -> Self {
        Self::with_time(schema, None).await
    }

    /// The same with a time that the test moves.
    pub async fn with_time(schema: Option<Schema>, time: Option<MovedTime>) -> Self {
        let clock = time.as_ref().map_or_else(Clock::system, |time| time.clock.clone());
        let permit = PERMITS.acquire().await.unwrap();
        let wechat = WechatSettings {
            token: "wechattoken".into(),
            attempts: 3,
            retry_pause: Duration::from_millis(300),
            ..WechatSettings::default()
        };
        let mut im = ImSettings::new(SDK_APP_ID, SECRET_KEY, "user0");
        im.callback_token = Some(CALLBACK_TOKEN.into());
        let wechat = WechatSim::start(wechat, clock.clone()).await.unwrap();
        let im = Arc::new(ImSim::start(im, clock).await.unwrap());
        im.import("user1").unwrap();
        let (public, ops) = (free_port(), free_port());
        wechat.connect(&format!("http://127.0.0.1:{public}/"));
        im.connect(format!("http://127.0.0.1:{public}/imcallback"));
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Self {
            wechat,
            im,
            time,
            folder,
            schema,
            public,
            ops,
            environment: Vec::new(),
            wrapper: None,
            child: None,
            _permit: permit,
        };
        let (im_base, wechat_base) = (rig.im.base_url(), rig.wechat.base_url().to_owned());
        rig.set("BRIDGE_IM__API_BASE", im_base);
        rig.set("BRIDGE_WECHAT__API_BASE", wechat_base);
        rig.write_config();
        rig
    }

    fn write_config(&self) {
        let settings = self.wechat.settings();
        let text = format!(
            r#"
            [server]
            listen = "127.0.0.1:{public}"
            ops_listen = "127.0.0.1:{ops}"
            [wechat]
            token = "{token}"
            app_id = "{app_id}"
            app_secret = "{app_secret}"
            account_id = "{account_id}"
            [im]
            sdk_app_id = {SDK_APP_ID}
            secret_key = "{SECRET_KEY}"
            callback_token = "{CALLBACK_TOKEN}"
            [desk]
            # The oracle compares single messages; the tests of bursts switch it on.
            merge_below = 0
            [store]
            url = "{store}"
            "#,
            public = self.public,
            ops = self.ops,
            token = settings.token,
            app_id = settings.app_id,
            app_secret = settings.app_secret,
            account_id = settings.account_id,
            store = self.store_url(),
        );
        std::fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Sets an environment variable for the bridges that start from now on.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.into()));
    }

    /// Starts the bridges from now on through this script.
    pub fn wrap(&mut self, script: &'static str, own_mounts: bool) {
        self.wrapper = Some((script, own_mounts));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// SQLite's file.
    pub fn store(&self) -> PathBuf {
        self.path("bridge.db")
    }

    /// The store is in this schema from now on. The configuration stays as it is.
    pub fn read_from(&mut self, schema: Schema) {
        self.schema = Some(schema);
    }

    fn store_url(&self) -> String {
        match &self.schema {
            Some(schema) => schema.url(),
            None => format!("sqlite://{}", self.store().display()),
        }
    }

    /// The bridge's database, to read it.
    pub fn database(&self) -> Database {
        self.try_database().unwrap()
    }

    fn try_database(&self) -> Result<Database, String> {
        match &self.schema {
            Some(schema) => Ok(Database::in_schema(schema)),
            None => Database::to_read(&self.store()),
        }
    }

    /// A command that runs the binary with this rig's environment.
    pub fn command(&self) -> Command {
        let bridge = env!("CARGO_BIN_EXE_wechat-im-bridge");
        let arguments: &[&str] = match &self.wrapper {
            None => &[bridge],
            Some((script, false)) => &["sh", "-c", script, "sh", bridge],
            Some((script, true)) => &["unshare", "-m", "sh", "-c", script, "sh", bridge],
        };
        let mut command = Command::new(arguments[0]);
        command.args(&arguments[1..]);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        child::without_settings(&mut command);
        command.env("DIR", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the bridge. With `kill_at`, the bridge kills itself at that fail point.
    pub fn spawn(&mut self, kill_at: Option<&str>) {
        assert!(self.child.is_none(), "the last bridge still runs");
        let log = File::options().append(true).create(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::null()).stderr(log);
        if let Some(point) = kill_at {
            command.env("BRIDGE_KILL_AT", point);
        }
        let time = self.time.as_mut();
        self.child = Some(match time {
            Some(time) => time.spawn(command),
            None => command.spawn().unwrap(),
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills the bridge with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the bridge has exited by itself.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let child = self.child.take().unwrap();
        let status = end_of(child).await;
        status.unwrap_or_else(|| panic!("the bridge still runs; its log:\n{}", self.log()))
    }

    /// Sends SIGTERM and waits until the bridge has exited.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait_for_exit().await
    }

    /// Whether the bridge has exited by itself.
    pub fn has_exited(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// The last lines of the bridges' log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    pub fn readyz(&self) -> String {
        format!("http://127.0.0.1:{}/readyz", self.ops)
    }

    /// Waits until the public port accepts connections. It sends no request, so that the bridge reaches no
    /// fail point.
    pub async fn wait_until_listening(&self) {
        let connects = async || tokio::net::TcpStream::connect(("127.0.0.1", self.public)).await.is_ok();
        assert!(eventually(TIMEOUT, connects).await, "the bridge does not listen:\n{}", self.log());
    }

    /// Waits until the public port accepts connections or the bridge has exited.
    pub async fn wait_until_listening_or_ended(&mut self) {
        let public = self.public;
        let is_over = eventually(TIMEOUT, async || {
            self.has_exited() || tokio::net::TcpStream::connect(("127.0.0.1", public)).await.is_ok()
        });
        assert!(is_over.await, "the bridge does not listen:\n{}", self.log());
    }

    /// Waits until `/readyz` answers 200, and returns how long that took.
    pub async fn wait_until_ready(&mut self) -> Duration {
        let started = Instant::now();
        let url = self.readyz();
        let http = wechat_im_bridge::internals::http_client::loopback().timeout(TIMEOUT).build().unwrap();
        let mut exit_status = None;
        let ready = eventually(TIMEOUT, async || {
            exit_status = self.child.as_mut().unwrap().try_wait().unwrap();
            exit_status.is_some() || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
        });
        let ready = ready.await && exit_status.is_none();
        assert!(
            ready,
            "the bridge is not ready; exit status {exit_status:?}\n{}\n{}",
            self.threads(),
            self.log()
        );
        started.elapsed()
    }

    /// The state of each thread of the bridge, as far as the system shows it.
    fn threads(&self) -> String {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.pid())) else { return String::new() };
        let describe = |task: std::fs::DirEntry| {
            let columns = ["comm", "wchan", "syscall", "stat"].map(|name| {
                std::fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned()
            });
            columns.join(" | ")
        };
        tasks.flatten().map(describe).collect::<Vec<_>>().join("\n")
    }

    /// Starts the bridge, waits until it is ready, and returns how long that took.
    pub async fn start(&mut self) -> Duration {
        self.spawn(None);
        self.wait_until_ready().await
    }

    /// Waits until no message waits. It reads the running bridge's store, because `/readyz` may be a second
    /// old.
    pub async fn wait_until_idle(&self) {
        let is_idle =
            eventually(TIMEOUT, async || self.waiting_count().is_ok_and(|waiting| waiting == 0)).await;
        assert!(is_idle, "{:?} messages still wait\n{}", self.waiting_count(), self.log());
    }

    fn waiting_count(&self) -> Result<i64, String> {
        self.try_database()?.try_value("SELECT count(*) FROM message WHERE state IN (0, 1)", &[])
    }

    /// Waits until `count` agents' messages are stored. Those whose callback was lost are found by the
    /// backfill, at the latest in its next round.
    pub async fn wait_until_answers_are_stored(&self, count: usize) {
        let sql = "SELECT count(*) FROM message WHERE direction = 1 AND kind = 0";
        let stored_count = || self.try_database()?.try_value::<i64>(sql, &[]);
        let all = eventually(2 * TIMEOUT, async || {
            stored_count().is_ok_and(|stored| usize::try_from(stored) == Ok(count))
        });
        assert!(all.await, "{:?} of {count} answers are stored\n{}", stored_count(), self.log());
    }

    /// Waits until no message waits, stops the bridge, and reads its store.
    pub async fn stop_and_read_store(&mut self) -> Stored {
        self.wait_until_idle().await;
        let status = self.terminate().await;
        assert!(status.success(), "{status}\n{}", self.log());
        Stored::read(&self.database())
    }

    /// A customer who follows the account, and whose follow event the bridge did not receive.
    pub fn follower(&self, name: &str) -> Phone {
        let phone = self.wechat.customer(&openid(name));
        phone.set_following(true);
        phone
    }

    pub fn agent(&self) -> AgentClient {
        self.im.agent("user1").unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
